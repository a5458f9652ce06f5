namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Which shader multiplies two matrices, by their shape and the device. C [batches, M, N] is the product over K; a batch offset of 0 means that all batches share the operand.
/// </summary>
internal readonly record struct MatMulLaunch(bool TransposeA, bool TransposeB, MatMulPrecision Precision, int Batches, int M, int N, int K, bool SharesA, bool SharesB)
{
    // What keeps a large device busy: two workgroups on each of 132 multiprocessors. Devices do not tell how many they have; a small one only gets longer queues.
    private const int BusyGroups = 264;

    private const int MostSplits = 16;

    // How many elements lie in a pack.
    private const int Pack = 8;

    // What writing and adding a part of such a tile takes, in steps along K: ten times as much as where multiplying takes ten times as long.
    private const double SumOfMatrixTile = 3;

    // Multiplications from which a product gets a pipeline of its own, with its row lengths as constants: some tens of microseconds on a fast device.
    private const long WorthAPipeline = 1L << 30;

    private readonly record struct LargeTiles(Tiles Tiles, uint PitchA, uint PitchB);

    private readonly record struct Tiles(uint M, uint N, uint K, uint TilesM, uint TilesN, uint Batches, uint Splits, uint SplitLength, uint BatchA, uint BatchB)
    {
        public long Groups => (long)TilesM * TilesN * Batches * Splits;
    }

    private readonly record struct MatrixTiles(Tiles Tiles, uint RestA, uint RestB);

    private readonly record struct Operand(uint Rows, uint Columns, uint AllRows, uint Packs, uint Count);

    private readonly record struct FewRowsColumns(uint Vectors, uint K, uint ColumnGroups, uint Batches, uint Splits, uint SplitLength, uint BatchA, uint BatchB);

    private readonly record struct NoBarriers(uint M, uint N, uint K, uint RowGroups, uint ColumnGroups, uint Batches, uint BatchA, uint BatchB);

    private readonly record struct Sum(uint Count, uint Splits);

    /// <summary>What a workgroup of the kernel for matrix units computes, how deep at once, and what of it a subgroup does.</summary>
    private readonly record struct MatrixKernel(int M, int N, int K, int SubgroupM, int SubgroupN)
    {
        /// <summary>The one for everybody: two workgroups on a multiprocessor of NVIDIA's hide each other's barriers.</summary>
        public static MatrixKernel Default => new(128, 128, 32, 64, 64);

        /// <summary>Those that were fastest for some shape somewhere.</summary>
        public static MatrixKernel[] Others { get; } =
        [
            new(192, 128, 64, 96, 32), new(128, 256, 32, 64, 64),
        ];

        public string Name => $"{M}x{N}x{K}";

        private int Invocations(DeviceTraits device) => M / SubgroupM * (N / SubgroupN) * device.SubgroupSize;

        /// <summary>Whether every invocation loads as much as the others, and shared memory holds the slices with their padding, and the results on their way to memory.</summary>
        public bool Fits(bool transposeA, bool transposeB, uint parts, DeviceTraits device)
        {
            int invocations = Invocations(device), packsA = (transposeA ? M : K) / Pack, packsB = (transposeB ? K : N) / Pack;
            int slices = (int)parts * ((transposeA ? K : M) * (packsA + 1) + (transposeB ? N : K) * (packsB + 1)), results = invocations / device.SubgroupSize * 16 * (SubgroupN / 4 + 1);
            return invocations <= device.WorkgroupInvocations && 16 * Math.Max(slices, results) <= device.SharedMemoryBytes && invocations % packsA == 0 && invocations % packsB == 0
                && M * K / Pack % invocations == 0 && N * K / Pack % invocations == 0;
        }

        public uint[] Constants(DeviceTraits device) => [(uint)Invocations(device), (uint)device.SubgroupSize, (uint)M, (uint)N, (uint)K, (uint)SubgroupM, (uint)SubgroupN];
    }

    /// <summary>How B is held.</summary>
    public DType TypeB { get; init; }

    private uint BatchA => SharesA ? 0 : (uint)((long)M * K);

    private uint BatchB => SharesB ? 0 : (uint)((long)K * N);

    // Whether each row is a multiple of four elements, as the matrix lies in memory: loads of 16 bytes are aligned then, in every batch.
    private bool IsWholeA => (TransposeA ? M : K) % 4 == 0;

    private bool IsWholeB => (TransposeB ? K : N) % 4 == 0;

    private bool IsWholeC => N % 4 == 0;

    public Launch? Plan(DeviceTraits device)
    {
        if ((long)Batches * M * N == 0)
            return Launch.Nothing;
        if (TypeB.IsCompact())
        {
            if (device.IsCpu || TransposeA || K == 0 || K % FewRowsLaunch.PackLength(TypeB) != 0)
                return null;
            return Batches == 1 ? FewRows(Slot.In(0), Slot.In(1)).Plan(device) : null;
        }
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
        if (plan.M <= FewRowsLaunch.MostSums && !plan.TransposeA && plan.IsWholeB && plan.K >= 4)
        {
            if (!plan.TransposeB)
                return plan.OfFewRowsColumns(a, b);
            if (plan.IsWholeA)
                return plan.FewRows(a, b).InRegisters(device);
        }
        if (plan.FitsMatrixUnits(device))
            return plan.OnMatrixUnits(a, b, device);
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
        Dispatch product = Dispatch.Linear(
            "matmul_tile", tiles.Groups, [a, b, Target(tiles.Splits)], new LargeTiles(tiles, pitchA, pitchB),
            [.. layout, TransposeA ? 1u : 0, TransposeB ? 1u : 0, isConstant ? pitchA : 0, isConstant ? pitchB : 0]);
        return Summed(tiles.Splits, DType.F32, [product]);
    }

    /// <summary>A product of matrices of 16 bits as they lie in memory; null where matrix units do not take them so.</summary>
    public Launch? OfNarrow(DType result, DeviceTraits device) => (long)Batches * M * N == 0 ? Launch.Nothing : OfNarrow(MatrixKernel.Default, result, device);

    /// <summary>The same by other kernels.</summary>
    public IReadOnlyList<Alternative> OthersOfNarrow(DType result, DeviceTraits device)
    {
        var others = new List<Alternative>();
        foreach (MatrixKernel kernel in MatrixKernel.Others)
        {
            if (OfNarrow(kernel, result, device) is { } launch)
                others.Add(new Alternative(kernel.Name, launch));
        }
        return others;
    }

    private Launch? OfNarrow(MatrixKernel kernel, DType result, DeviceTraits device)
    {
        int rowOfA = TransposeA ? M : K, rowOfB = TransposeB ? K : N;
        bool hasUnits = TypeB == DType.F16 ? device.HasHalfMatrixUnits : device.HasMatrixUnits;
        if (!hasUnits || M < kernel.M || N < kernel.N || K < kernel.K || (rowOfA | rowOfB | K | N) % Pack != 0 || !kernel.Fits(TransposeA, TransposeB, 1, device))
            return null;
        Tiles tiles = Divide(kernel.M, kernel.N, kernel.K, SumOfMatrixTile);
        return Summed(tiles.Splits, result, [Product(kernel, tiles, Slot.In(0), Slot.In(1), Target(tiles.Splits), 0, 0, (uint)rowOfA, (uint)rowOfB, 1, tiles.Splits == 1 ? result : DType.F32, device)]);
    }

    private Dispatch Product(
        MatrixKernel kernel, Tiles tiles, Slot a, Slot b, Slot c, uint restA, uint restB, uint pitchA, uint pitchB, uint parts, DType result, DeviceTraits device)
    {
        return Dispatch.Linear(
            TypeB == DType.F16 ? "matmul_cooperative_half" : "matmul_cooperative", tiles.Groups, [a, b, c], new MatrixTiles(tiles, restA, restB),
            [.. kernel.Constants(device), TransposeA ? 1u : 0, TransposeB ? 1u : 0, pitchA, pitchB, parts, result.ShaderCode()]);
    }

    private bool FitsMatrixUnits(DeviceTraits device) =>
        (Precision is MatMulPrecision.Bfloat16 or MatMulPrecision.Bfloat16x3) && device.HasMatrixUnits && M >= MatrixKernel.Default.M && N >= MatrixKernel.Default.N && K >= MatrixKernel.Default.K && M % Pack == 0 && N % Pack == 0;

    /// <summary>Both operands are rounded into scratch memory, with their inner axis filled up to whole slices, and multiplied there.</summary>
    private Launch OnMatrixUnits(Slot a, Slot b, DeviceTraits device)
    {
        uint parts = Precision == MatMulPrecision.Bfloat16x3 ? 2u : 1;
        MatrixKernel kernel = MatrixKernel.Default;
        MatMulLaunch padded = this with { K = (K + kernel.K - 1) / kernel.K * kernel.K };
        (Dispatch first, Operand left) = Rounded(a, 0, TransposeA ? (K, M) : (M, K), TransposeA, SharesA, parts);
        (Dispatch second, Operand right) = Rounded(b, 1, TransposeB ? (N, K) : (K, N), !TransposeB, SharesB, parts);
        Tiles tiles = padded.Divide(kernel.M, kernel.N, kernel.K, SumOfMatrixTile) with
        {
            BatchA = SharesA ? 0 : left.AllRows * left.Packs * Pack,
            BatchB = SharesB ? 0 : right.AllRows * right.Packs * Pack,
        };
        Dispatch product = padded.Product(
            kernel, tiles, Slot.ScratchIn(0), Slot.ScratchIn(1), Target(tiles.Splits, scratch: 2), left.Count * Pack, right.Count * Pack, left.Packs * Pack, right.Packs * Pack, parts, DType.F32, device);
        return Summed(tiles.Splits, DType.F32, [first, second, product], 16L * parts * left.Count, 16L * parts * right.Count);
    }

    private (Dispatch Dispatch, Operand Operand) Rounded(Slot x, int scratch, (int Rows, int Columns) extents, bool rowsAreInner, bool isShared, uint parts)
    {
        (int rows, int columns) = extents;
        int slice = rowsAreInner ? MatrixKernel.Default.K : 1, pitch = rowsAreInner ? Pack : MatrixKernel.Default.K;
        uint allRows = (uint)((rows + slice - 1) / slice * slice), packs = (uint)((columns + pitch - 1) / pitch * pitch / Pack);
        uint count = checked((uint)((isShared ? 1L : Batches) * allRows * packs));
        var operand = new Operand((uint)rows, (uint)columns, allRows, packs, count);
        return (Dispatch.Linear("matmul_operand", (count + 255) / 256, [x, Slot.ScratchOut(scratch)], operand, 256, parts, columns % Pack == 0 ? 1u : 0), operand);
    }

    private Launch InTiles(Slot a, Slot b)
    {
        int side = (long)Batches * ((M + 63) / 64) * ((N + 63) / 64) >= BusyGroups / 2 ? 64 : 32;
        Tiles tiles = Divide(side, side);
        return Summed(
            tiles.Splits, DType.F32,
            [Dispatch.Linear("matmul", tiles.Groups, [a, b, Target(tiles.Splits)], tiles, 256, (uint)side, TransposeA ? 1u : 0, TransposeB ? 1u : 0)]);
    }

    /// <summary>The tiles of the product, and its parts along the inner axis where the tiles alone would not keep the device busy.</summary>
    private Tiles Divide(int rows, int columns, int slice = 16, double sumOfTile = 0.2)
    {
        int tilesM = (M + rows - 1) / rows, tilesN = (N + columns - 1) / columns;
        (int splits, int length) = Split((long)tilesM * tilesN * Batches, slice, sumOfTile);
        return new Tiles((uint)M, (uint)N, (uint)K, (uint)tilesM, (uint)tilesN, (uint)Batches, (uint)splits, (uint)length, BatchA, BatchB);
    }

    private FewRowsLaunch FewRows(Slot a, Slot b) => new(a, b, M, N, K, TypeB) { Batches = Batches, BatchA = BatchA, SharesB = SharesB };

    private Launch OfFewRowsColumns(Slot a, Slot b)
    {
        const int vectorsWide = 8;
        int groups = (N / 4 + vectorsWide - 1) / vectorsWide, splits = Math.Clamp(BusyGroups / (groups * Batches), 1, Math.Clamp(K / 256, 1, MostSplits));
        int length = (K + splits - 1) / splits;
        splits = (K + length - 1) / length;
        var scalars = new FewRowsColumns((uint)N / 4, (uint)K, (uint)groups, (uint)Batches, (uint)splits, (uint)length, BatchA, BatchB / 4);
        return Summed(
            (uint)splits, DType.F32, [Dispatch.Linear("matmul_few_rows_columns", (long)groups * Batches * splits, [a, b, Target((uint)splits)], scalars, 256, (uint)M)]);
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
    /// beginning and end, and, where there are parts, writing and adding them, <paramref name="sumOfTile"/> for each part of each tile.
    /// </summary>
    private (int Splits, int Length) Split(long tiles, int slice, double sumOfTile)
    {
        int best = 1;
        double least = double.PositiveInfinity;
        for (int splits = 1; splits <= Math.Clamp(K / 256, 1, MostSplits); splits++)
        {
            double waves = Math.Ceiling((double)tiles * splits / BusyGroups), cost = waves * ((double)K / splits + 64);
            if (splits > 1)
                cost += 16 + sumOfTile * tiles * splits;
            if (cost < least)
                (best, least) = (splits, cost);
        }
        int length = Math.Max(slice, ((K + best - 1) / best + slice - 1) / slice * slice);
        return (Math.Max(1, (K + length - 1) / length), length);
    }

    private static Slot Target(uint splits, int scratch = 0) => splits == 1 ? Slot.Out(0) : Slot.ScratchOut(scratch);

    /// <summary>A product whose parts along the inner axis, where there is more than one, are added afterwards; they lie in the scratch behind that of <paramref name="product"/>.</summary>
    private Launch Summed(uint splits, DType result, IReadOnlyList<Dispatch> product, params IReadOnlyList<long> scratch)
    {
        if (splits == 1)
            return new Launch(product, scratch);
        long count = (long)Batches * M * N;
        Dispatch sum = SumOfParts(Slot.ScratchIn(scratch.Count), Slot.Out(0), count, splits, result);
        return new Launch([.. product, sum], [.. scratch, splits * count * sizeof(float)]);
    }

    /// <summary>The sum of <paramref name="parts"/> tensors of float32 that lie behind each other.</summary>
    public static Dispatch SumOfParts(Slot from, Slot to, long count, uint parts, DType result) => Dispatch.Linear(
        "matmul_sum_splits", ElementwiseLaunch.Groups(count), [from, to], new Sum((uint)count, parts),
        [ElementwiseLaunch.Workgroup, .. Elements.Codes((int)(count % 4), DType.F32, result) ?? throw new NotSupportedException($"{count} elements are no whole quads.")]);
}
