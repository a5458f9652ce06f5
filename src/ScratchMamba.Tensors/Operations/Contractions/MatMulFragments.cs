namespace ScratchMamba.Tensors.Operations;

/// <summary>Products of operands in the order in which matrix units hold them.</summary>
internal readonly partial record struct MatMulLaunch
{
    // What a workgroup of matmul_fragments takes; blocks of matrix units, and blocks of such a tile along a side.
    private const int FragmentTile = 64, Block = 16, TileBlocks = FragmentTile / Block;

    // What a workgroup of matmul_of_fragments computes.
    private const int ProductTile = 128;

    private const int FragmentBytes = 512;

    private readonly record struct Fragments(uint Rows, uint Columns, uint TilesOuter, uint TilesInner, uint Batches)
    {
        public uint Blocks => Batches * TilesOuter * TilesInner * TileBlocks * TileBlocks;
    }

    private readonly record struct OfFragmentsScalars(
        uint M, uint N, uint OuterA, uint OuterB, uint TilesM, uint TilesN, uint Batches, uint Splits, uint SplitBlocks, uint BatchA, uint BatchB, uint RestA, uint RestB);

    /// <summary>Both operands are put into the order of matrix units in scratch memory, those of float32 as two parts each, and multiplied there.</summary>
    private Launch OfFragments(Slot a, Slot b, DType type, DType result)
    {
        uint parts = type == DType.F32 ? 2u : 1;
        // What registers hold of a subgroup's sums beside two blocks under way of each part: with 64 × 64 and two parts, one block under way, 4096³ took 919 instead of 859 µs.
        int subgroupM = 64, subgroupN = parts == 2 ? 32 : 64;
        (Dispatch first, Fragments left) = Fragmented(a, 0, TransposeA, isRight: false, M, SharesA, parts);
        (Dispatch second, Fragments right) = Fragmented(b, 1, !TransposeB, isRight: true, N, SharesB, parts);
        uint inner = left.TilesInner * TileBlocks;
        Tiles tiles = (this with { K = (int)inner * Block }).Divide(ProductTile, ProductTile, FragmentTile, SumOfMatrixTile);
        var scalars = new OfFragmentsScalars(
            tiles.M, tiles.N, left.TilesOuter * TileBlocks, right.TilesOuter * TileBlocks, tiles.TilesM, tiles.TilesN, tiles.Batches, tiles.Splits, tiles.SplitLength / Block,
            SharesA ? 0 : left.TilesOuter * TileBlocks * inner, SharesB ? 0 : right.TilesOuter * TileBlocks * inner, left.Blocks, right.Blocks);
        Dispatch product = Dispatch.Linear(
            "matmul_of_fragments", tiles.Groups, [Slot.ScratchIn(0), Slot.ScratchIn(1), Target(tiles.Splits, scratch: 2)], scalars,
            (uint)(ProductTile / subgroupM * (ProductTile / subgroupN) * 32), ProductTile, ProductTile, (uint)subgroupM, (uint)subgroupN, inner, parts, (tiles.Splits == 1 ? result : DType.F32).ShaderCode());
        return Summed(tiles.Splits, result, [first, second, product], (long)parts * FragmentBytes * left.Blocks, (long)parts * FragmentBytes * right.Blocks);
    }

    private (Dispatch Dispatch, Fragments Fragments) Fragmented(Slot x, int scratch, bool innerFirst, bool isRight, int outer, bool isShared, uint parts)
    {
        static uint TilesOf(int extent) => (uint)((extent + FragmentTile - 1) / FragmentTile);
        (int rows, int columns) = innerFirst ? (K, outer) : (outer, K);
        var fragments = new Fragments((uint)rows, (uint)columns, TilesOf(outer), TilesOf(K), isShared ? 1 : (uint)Batches);
        Dispatch dispatch = Dispatch.Linear(
            "matmul_fragments", (long)fragments.TilesOuter * fragments.TilesInner * fragments.Batches, [x, Slot.ScratchOut(scratch)], fragments,
            128, innerFirst ? 1u : 0, isRight ? 1u : 0, columns % Pack == 0 ? 1u : 0, parts);
        return (dispatch, fragments);
    }
}
