namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Which shader multiplies two matrices, by their shape and the device. C [batches, M, N] is the product over K; a batch offset of 0 means that all batches share the operand.
/// </summary>
internal readonly record struct MatMulLaunch(bool TransposeA, bool TransposeB, int Batches, int M, int N, int K, bool SharesA, bool SharesB)
{
    // What keeps a large device busy: two workgroups on each of 132 multiprocessors. Devices do not tell how many they have; a small one only gets longer queues.
    private const int BusyGroups = 264;

    private const int MostSplits = 16;

    // Multiplications from which a product gets a pipeline of its own, with its row lengths as constants: some tens of microseconds on a fast device.
    private const long WorthAPipeline = 1L << 30;

    private readonly record struct LargeTiles(Tiles Tiles, uint PitchA, uint PitchB);

    private readonly record struct Tiles(uint M, uint N, uint K, uint TilesM, uint TilesN, uint Batches, uint Splits, uint SplitLength, uint BatchA, uint BatchB)
    {
        public long Groups => (long)TilesM * TilesN * Batches * Splits;
    }

    private readonly record struct FewRows(uint N, uint Vectors, uint Batches, uint BatchA, uint BatchB);

    private readonly record struct FewRowsColumns(uint Vectors, uint K, uint ColumnGroups, uint Batches, uint Splits, uint SplitLength, uint BatchA, uint BatchB);

    private readonly record struct NoBarriers(uint M, uint N, uint K, uint RowGroups, uint ColumnGroups, uint Batches, uint BatchA, uint BatchB);

    private readonly record struct Sum(uint Count, uint Splits);

    private uint BatchA => SharesA ? 0 : (uint)((long)M * K);

    private uint BatchB => SharesB ? 0 : (uint)((long)K * N);

    // Whether each row is a multiple of four elements, as the matrix lies in memory: loads of 16 bytes are aligned then, in every batch.
    private bool IsWholeA => (TransposeA ? M : K) % 4 == 0;

    private bool IsWholeB => (TransposeB ? K : N) % 4 == 0;

    private bool IsWholeC => N % 4 == 0;

    public Launch Plan(DeviceTraits device)
    {
        if ((long)Batches * M * N == 0)
            return Launch.Nothing;
        if (N == 1 && M > 1)
        {
            // Columns are rows: Cᵀ = Bᵀ · Aᵀ, and a vector lies in memory as its transpose does.
            return Dispatches(this with { TransposeA = false, TransposeB = !TransposeA, M = 1, N = M, SharesA = SharesB, SharesB = SharesA }, swapped: true, device);
        }
        return Dispatches(M == 1 ? this with { TransposeA = false } : this, swapped: false, device);
    }

    private static Launch Dispatches(MatMulLaunch plan, bool swapped, DeviceTraits device)
    {
        Slot a = Slot.In(swapped ? 1 : 0), b = Slot.In(swapped ? 0 : 1);
        if (device.IsCpu)
            return plan.WithoutBarriers(a, b);
        if (plan.M <= 8 && !plan.TransposeA && plan.IsWholeB && plan.K >= 4)
        {
            if (!plan.TransposeB)
                return plan.OfFewRowsColumns(a, b);
            if (plan.IsWholeA)
                return plan.OfFewRows(a, b, device);
        }
        if (plan.IsWholeA && plan.IsWholeB && plan.IsWholeC && plan.M >= 64 && plan.N >= 128 && plan.K >= 16)
            return plan.InLargeTiles(a, b);
        return plan.InTiles(a, b);
    }

    private Launch InLargeTiles(Slot a, Slot b)
    {
        // A transposed needs no transposition on the way to shared memory, which leaves room for a larger tile.
        bool isLarge = TransposeA && M >= 128;
        Tiles tiles = Divide(isLarge ? 128 : 64, 128);
        uint pitchA = (uint)(TransposeA ? M : K), pitchB = (uint)(TransposeB ? K : N);
        bool isConstant = (long)Batches * M * N * K >= WorthAPipeline;
        uint[] layout = isLarge ? [128, 128, 128, 8, 16, 4, 2] : [128, 64, 128, 8, 8, 8, 2];
        return Summed(tiles.Splits, Dispatch.Linear(
            "matmul_tile", tiles.Groups, [a, b, Target(tiles.Splits)], new LargeTiles(tiles, pitchA, pitchB),
            [.. layout, TransposeA ? 1u : 0, TransposeB ? 1u : 0, isConstant ? pitchA : 0, isConstant ? pitchB : 0]));
    }

    private Launch InTiles(Slot a, Slot b)
    {
        int side = (long)Batches * ((M + 63) / 64) * ((N + 63) / 64) >= BusyGroups / 2 ? 64 : 32;
        Tiles tiles = Divide(side, side);
        return Summed(tiles.Splits, Dispatch.Linear(
            "matmul", tiles.Groups, [a, b, Target(tiles.Splits)], tiles, 256, (uint)side, TransposeA ? 1u : 0, TransposeB ? 1u : 0));
    }

    /// <summary>The tiles of the product, and its parts along the inner axis where the tiles alone would not keep the device busy.</summary>
    private Tiles Divide(int rows, int columns)
    {
        int tilesM = (M + rows - 1) / rows, tilesN = (N + columns - 1) / columns;
        (int splits, int length) = Split((long)tilesM * tilesN * Batches);
        return new Tiles((uint)M, (uint)N, (uint)K, (uint)tilesM, (uint)tilesN, (uint)Batches, (uint)splits, (uint)length, BatchA, BatchB);
    }

    private Launch OfFewRows(Slot a, Slot b, DeviceTraits device)
    {
        uint workgroup = (uint)Math.Max(64, device.SubgroupSize);
        long rowsOfB = (long)N * Batches, each = workgroup / device.SubgroupSize;
        return Dispatch.Linear(
            "matmul_few_rows", (rowsOfB + each - 1) / each, [a, b, Slot.Out(0)], new FewRows((uint)N, (uint)K / 4, (uint)Batches, BatchA / 4, BatchB / 4), workgroup, (uint)M);
    }

    private Launch OfFewRowsColumns(Slot a, Slot b)
    {
        const int vectorsWide = 8;
        int groups = (N / 4 + vectorsWide - 1) / vectorsWide, splits = Math.Clamp(BusyGroups / (groups * Batches), 1, Math.Clamp(K / 256, 1, MostSplits));
        int length = (K + splits - 1) / splits;
        splits = (K + length - 1) / length;
        var scalars = new FewRowsColumns((uint)N / 4, (uint)K, (uint)groups, (uint)Batches, (uint)splits, (uint)length, BatchA, BatchB / 4);
        return Summed((uint)splits, Dispatch.Linear("matmul_few_rows_columns", (long)groups * Batches * splits, [a, b, Target((uint)splits)], scalars, 256, (uint)M));
    }

    private Launch WithoutBarriers(Slot a, Slot b)
    {
        const uint workgroup = 8;
        uint rows = M == 1 ? 1u : M <= 8 ? 4u : 16u;
        uint rowGroups = ((uint)M + rows - 1) / rows, columnGroups = ((uint)N + 4 * workgroup - 1) / (4 * workgroup);
        return Dispatch.Linear(
            "matmul_no_barriers", (long)rowGroups * columnGroups * Batches, [a, b, Slot.Out(0)],
            new NoBarriers((uint)M, (uint)N, (uint)K, rowGroups, columnGroups, (uint)Batches, BatchA, BatchB),
            workgroup, rows, TransposeA ? 1u : 0, TransposeB ? 1u : 0, IsWholeA ? 1u : 0, IsWholeB ? 1u : 0, IsWholeC ? 1u : 0);
    }

    /// <summary>
    /// Into how many parts the inner axis is divided, and the length of each. The cost is counted in steps along K: what the fullest multiprocessor takes, some steps for a tile's
    /// beginning and end, and, where there are parts, writing and adding them.
    /// </summary>
    private (int Splits, int Length) Split(long tiles)
    {
        int best = 1;
        double least = double.PositiveInfinity;
        for (int splits = 1; splits <= Math.Clamp(K / 256, 1, MostSplits); splits++)
        {
            double waves = Math.Ceiling((double)tiles * splits / BusyGroups), cost = waves * ((double)K / splits + 64);
            if (splits > 1)
                cost += 16 + 0.2 * tiles * splits;
            if (cost < least)
                (best, least) = (splits, cost);
        }
        // The length is a multiple of every kernel's slice.
        int length = Math.Max(16, ((K + best - 1) / best + 15) / 16 * 16);
        return (Math.Max(1, (K + length - 1) / length), length);
    }

    private static Slot Target(uint splits) => splits == 1 ? Slot.Out(0) : Slot.ScratchOut(0);

    /// <summary>A product whose parts along the inner axis are added afterwards, where there is more than one.</summary>
    private Launch Summed(uint splits, Dispatch product)
    {
        if (splits == 1)
            return product;
        long count = (long)Batches * M * N;
        var sum = new Sum((uint)count, splits);
        return new Launch(
            [product, Dispatch.Linear("matmul_sum_splits", (count + 255) / 256, [Slot.ScratchIn(0), Slot.Out(0)], sum, 256)], splits * count * sizeof(float));
    }
}
