namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Which shader multiplies two matrices, by their shape and the device. C [batches, M, N] is the product over K; a batch offset of 0 means that all batches share the operand.
/// </summary>
internal readonly record struct MatMulLaunch(bool TransposeA, bool TransposeB, MatMulPrecision Precision, int Batches, int M, int N, int K, bool SharesA, bool SharesB)
{
    // What keeps a large device busy: two workgroups on each of 132 multiprocessors. Devices do not tell how many they have; a small one only gets longer queues.
    private const int BusyGroups = 264;

    private const int MostSplits = 16;

    // Matrix units cut off what does not fit a sum. Three products over 4096 in one sum err by 1.4e-5, in two by 9e-6; each step's products in a sum of their own by 4e-6, at half the speed.
    private const int LongestExactSum = 2048;

    // How many elements lie in a pack.
    private const int Pack = 8;

    // What writing and adding a part of such a tile takes, in steps along K: ten times as much as where multiplying takes ten times as long.
    private const double SumOfMatrixTile = 3;

    // What a tile of 160 rows takes, in those of 128; it pays where rounds of tiles are fewer by more. On an H200, TFLOP/s: 16384×3352×768 279 instead of 256, 16384×1536×768 278 instead of 257,
    // but 16384×768×3352 276 instead of 284.
    private const double HighTile = 1.06;

    // What a tile's beginning and end take, and what another pass does.
    private const int StepsOfTile = 64, StepsOfSum = 16;

    // Columns of the product for which turning A first pays, and rows for which turning B does: the operand is read and written once, and the product becomes the fastest of the four. On an
    // H200 4096³ in float32 takes 2.86 ms instead of 3.04 (A·B) and 2.92 instead of 3.28 (A·Bᵀ), in bfloat16 0.454 instead of 0.480 (A·Bᵀ), everything counted; with 3352 columns nothing is gained.
    private const int WorthTurning = 4096;

    // Multiplications from which another pass over an operand of 16 bits pays: its beginning and end take as long as it saves.
    private const long WorthAPass = 1L << 33;

    // The code of a type that nothing is held in.
    private const uint NoAddend = 255;

    // Multiplications from which a product gets a pipeline of its own, with its row lengths as constants: some tens of microseconds on a fast device.
    private const long WorthAPipeline = 1L << 30;

    private readonly record struct LargeTiles(Tiles Tiles, uint PitchA, uint PitchB);

    private readonly record struct Tiles(uint M, uint N, uint K, uint TilesM, uint TilesN, uint Batches, uint Splits, uint SplitLength, uint BatchA, uint BatchB)
    {
        public long Groups => (long)TilesM * TilesN * Batches * Splits;
    }

    private readonly record struct MatrixTiles(Tiles Tiles, uint RestA, uint RestB);

    private readonly record struct Brought(uint Rows, uint Columns, uint Lines, uint Packs, uint Count);

    /// <summary>Where an operand lies, how long its rows are, how many elements there are from one matrix to the next, and from rounded parts to rests.</summary>
    private readonly record struct Operand(Slot Slot, uint Pitch, uint Batch, uint Rest = 0);

    private readonly record struct FewRowsColumns(uint Vectors, uint K, uint ColumnGroups, uint Batches, uint Splits, uint SplitLength, uint BatchA, uint BatchB);

    private readonly record struct NoBarriers(uint M, uint N, uint K, uint RowGroups, uint ColumnGroups, uint Batches, uint BatchA, uint BatchB);

    private readonly record struct StreamSum(uint M, uint N, uint TilesM, uint TilesN, uint Slices, uint GroupSlices);

    private readonly record struct Sum(uint Count, uint Splits, uint Columns);

    /// <summary>What is added to the product: a matrix of its shape, or a row that is added to each of its rows.</summary>
    internal readonly record struct Addition(Slot Slot, DType Type, bool IsRow);

    /// <summary>What a workgroup of the kernel for matrix units computes, how deep at once, and what of it a subgroup does.</summary>
    private readonly record struct MatrixKernel(int M, int N, int K, int SubgroupM, int SubgroupN)
    {
        /// <summary>The one for everybody: two workgroups on a multiprocessor of NVIDIA's hide each other's barriers.</summary>
        public static MatrixKernel Default => new(128, 128, 32, 64, 64);

        /// <summary>The one for matrices of 8 × 8, as many to a subgroup.</summary>
        public static MatrixKernel OfSmallMatrices => new(64, 64, 16, 32, 32);

        /// <summary>The one for operands in two parts, which take twice the shared memory.</summary>
        public static MatrixKernel InParts => new(128, 128, 16, 64, 64);

        /// <summary>One whose subgroups do more with what they read, all that registers hold; for A as it lies in memory along the inner axis.</summary>
        public static MatrixKernel High => new(160, 128, 32, 80, 64);

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

    /// <summary>What is added to the product; null for nothing.</summary>
    public Addition? Addend { get; init; }

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
            return Batches == 1 && Addend is not { IsRow: true } ? FewRows(Slot.In(0), Slot.In(1)).Plan(device) : null;
        }
        if (N == 1 && M > 1 && Addend is not { IsRow: true })
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
            if (plan.IsWholeA && (plan.Addend is null || (plan.Batches == 1 && !plan.Addend.Value.IsRow)))
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
        (MatMulLaunch plan, Operand left, Operand right, List<Dispatch> passes, List<long> scratch) = Turned(a, b, !TransposeA && N >= WorthTurning, TransposeB && M >= WorthTurning, DType.F32);
        // A transposed needs no transposition on the way to shared memory, which leaves room for a larger tile.
        bool isLarge = plan.TransposeA && M >= 128;
        Tiles tiles = Divide(isLarge ? 128 : 64, 128) with { BatchA = left.Batch, BatchB = right.Batch };
        bool isConstant = (long)Batches * M * N * K >= WorthAPipeline;
        uint[] layout = isLarge ? [128, 128, 128, 8, 16, 4, 2] : [128, 64, 128, 8, 8, 8, 2];
        Dispatch product = Dispatch.Linear(
            "matmul_tile", tiles.Groups, [left.Slot, right.Slot, Target(tiles.Splits, scratch.Count), AddendSlot], new LargeTiles(tiles, left.Pitch, right.Pitch),
            [.. layout, plan.TransposeA ? 1u : 0, plan.TransposeB ? 1u : 0, isConstant ? left.Pitch : 0, isConstant ? right.Pitch : 0, .. AddendCodes(tiles.Splits)]);
        return Summed(tiles.Splits, DType.F32, [.. passes, product], scratch);
    }

    /// <summary>The product of operands that are turned first, or of those as they lie in memory.</summary>
    private (MatMulLaunch Plan, Operand A, Operand B, List<Dispatch> Passes, List<long> ScratchBytes) Turned(Slot a, Slot b, bool turnA, bool turnB, DType type)
    {
        var passes = new List<Dispatch>();
        var scratch = new List<long>();
        Operand left = turnA ? Bring(a, M, K, isTurned: true, SharesA, type, type, 1, 1, passes, scratch) : new(a, (uint)(TransposeA ? M : K), BatchA);
        Operand right = turnB ? Bring(b, N, K, isTurned: true, SharesB, type, type, 1, 1, passes, scratch) : new(b, (uint)(TransposeB ? K : N), BatchB);
        return (this with { TransposeA = TransposeA || turnA, TransposeB = TransposeB && !turnB }, left, right, passes, scratch);
    }

    /// <summary>Adds a pass that writes an operand of so many rows and columns in lines of whole packs, a multiple of <paramref name="slice"/> of them, into scratch memory of its own.</summary>
    private Operand Bring(Slot x, int rows, int columns, bool isTurned, bool isShared, DType from, DType to, uint parts, int slice, List<Dispatch> passes, List<long> scratch)
    {
        const int workgroup = 256, side = 64;
        int lines = isTurned ? columns : rows, length = isTurned ? rows : columns, packs = (length + Pack - 1) / Pack;
        lines = (lines + slice - 1) / slice * slice;
        long batches = isShared ? 1 : Batches, count = batches * lines * packs;
        long groups = isTurned ? batches * ((lines + side - 1) / side) * ((packs * Pack + side - 1) / side) : (count + workgroup - 1) / workgroup;
        uint code = Elements.Codes(columns, from) is [uint found] ? found : throw new NotSupportedException($"{columns} elements are no whole quads.");
        passes.Add(Dispatch.Linear(
            "matmul_operand", groups, [x, Slot.ScratchOut(scratch.Count)], new Brought((uint)rows, (uint)columns, (uint)lines, (uint)packs, checked((uint)count)),
            workgroup, code, to.ShaderCode(), parts, isTurned ? 1u : 0));
        scratch.Add(parts * count * Pack * to.Size());
        return new Operand(Slot.ScratchIn(scratch.Count - 1), (uint)(packs * Pack), isShared ? 0 : checked((uint)((long)lines * packs * Pack)), checked((uint)(count * Pack)));
    }

    /// <summary>A product of matrices of 16 bits as they lie in memory; null where matrix units do not take them so.</summary>
    public Launch? OfNarrow(DType result, DeviceTraits device)
    {
        if ((long)Batches * M * N == 0)
            return Launch.Nothing;
        if (TypeB == DType.F16 && device.HalfMatrixSide == 8)
            return OfNarrow(MatrixKernel.OfSmallMatrices, result, device);
        bool isHigh = !TransposeA && HighTile * Rounds(MatrixKernel.High) < Rounds(MatrixKernel.Default);
        return (isHigh ? OfNarrow(MatrixKernel.High, result, device) : null) ?? OfNarrow(MatrixKernel.Default, result, device);
    }

    private double Rounds(MatrixKernel kernel) => Math.Ceiling((double)Batches * ((M + kernel.M - 1) / kernel.M) * ((N + kernel.N - 1) / kernel.N) / BusyGroups);

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
        // A processor's driver makes matrix units of sums over subgroups, which are slow.
        bool hasUnits = (TypeB == DType.F16 ? device.HalfMatrixSide > 0 : device.HasMatrixUnits) && !device.IsCpu;
        if (!hasUnits || M < kernel.M || N < kernel.N || K < kernel.K || (rowOfA | rowOfB | K | N) % Pack != 0)
            return null;
        bool isLarge = (long)M * N * K >= WorthAPass, turnsB = TransposeB && isLarge && M >= WorthTurning;
        bool turnsA = !TransposeA && turnsB && N >= WorthTurning && M % Pack == 0 && kernel == MatrixKernel.Default;
        if (!kernel.Fits(TransposeA || turnsA, TransposeB && !turnsB, 1, device))
            return null;
        (MatMulLaunch plan, Operand left, Operand right, List<Dispatch> passes, List<long> scratch) = Turned(Slot.In(0), Slot.In(1), turnsA, turnsB, TypeB);
        return plan.Product(kernel, left, right, 1, result, passes, scratch, device);
    }

    private Launch Product(MatrixKernel kernel, Operand a, Operand b, uint parts, DType result, List<Dispatch> passes, List<long> scratch, DeviceTraits device)
    {
        Tiles tiles = Divide(kernel.M, kernel.N, kernel.K, SumOfMatrixTile, parts == 1 ? 1 : (K + LongestExactSum - 1) / LongestExactSum) with { BatchA = a.Batch, BatchB = b.Batch };
        long tileCount = (long)tiles.TilesM * tiles.TilesN;
        int slices = K / kernel.K, streamed = (int)((tileCount * slices + BusyGroups - 1) / BusyGroups);
        bool isStream = parts == 1 && Batches == 1 && K % kernel.K == 0 && CostOfStream(tileCount) < Cost(tileCount, (int)tiles.Splits, SumOfMatrixTile);
        // Where tiles are moved back inside the matrix, two would add to the same results.
        bool isInTurn = parts == 2 && tiles.Splits > 1 && Addend is null && tileCount * Batches >= BusyGroups && M % kernel.M == 0 && N % kernel.N == 0;
        if (isStream)
            tiles = tiles with { Splits = 1, SplitLength = (uint)streamed };
        bool isWhole = !isStream && (isInTurn || tiles.Splits == 1);
        Slot target = isWhole ? Slot.Out(0) : Slot.ScratchOut(scratch.Count);
        long groups = isStream ? BusyGroups : isInTurn ? tiles.Groups / tiles.Splits : tiles.Groups;
        Dispatch product = Dispatch.Linear(
            TypeB == DType.F16 ? "matmul_cooperative_half" : "matmul_cooperative", groups, [a.Slot, b.Slot, target, AddendSlot], new MatrixTiles(tiles, a.Rest, b.Rest),
            [
                .. kernel.Constants(device), TransposeA ? 1u : 0, TransposeB ? 1u : 0, a.Pitch, b.Pitch, parts, (isWhole ? result : DType.F32).ShaderCode(),
                TypeB == DType.F16 ? (uint)device.HalfMatrixSide : 16, .. AddendCodes(isWhole ? 1u : 2), isInTurn ? 1u : 0, isStream ? 1u : 0,
            ]);
        if (!isStream)
            return Summed(tiles.Splits, result, [.. passes, product], !isWhole, scratch);
        Dispatch sum = Dispatch.Linear(
            "matmul_sum_streams", ElementwiseLaunch.Groups((long)M * N), [Slot.ScratchIn(scratch.Count), Slot.Out(0), AddendSlot],
            new StreamSum((uint)M, (uint)N, tiles.TilesM, tiles.TilesN, (uint)slices, (uint)streamed),
            [ElementwiseLaunch.Workgroup, result.ShaderCode(), .. AddendCodes(splits: 1), (uint)kernel.M, (uint)kernel.N]);
        return new Launch([.. passes, product, sum], [.. scratch, (BusyGroups + tileCount) * kernel.M * kernel.N * sizeof(float)]);
    }

    private bool FitsMatrixUnits(DeviceTraits device) =>
        (Precision is MatMulPrecision.Bfloat16 or MatMulPrecision.Bfloat16x3) && device.HasMatrixUnits && M >= MatrixKernel.Default.M && N >= MatrixKernel.Default.N && K >= MatrixKernel.Default.K && M % Pack == 0 && N % Pack == 0;

    /// <summary>Both operands are rounded into scratch memory, with their inner axis outermost and filled up to whole slices, and multiplied there.</summary>
    private Launch OnMatrixUnits(Slot a, Slot b, DeviceTraits device)
    {
        uint parts = Precision == MatMulPrecision.Bfloat16x3 ? 2u : 1;
        MatrixKernel kernel = parts == 2 ? MatrixKernel.InParts : MatrixKernel.Default;
        MatMulLaunch plan = this with { K = (K + kernel.K - 1) / kernel.K * kernel.K, TransposeA = true, TransposeB = false };
        var passes = new List<Dispatch>();
        var scratch = new List<long>();
        (int rows, int columns) = TransposeA ? (K, M) : (M, K);
        Operand left = Bring(a, rows, columns, !TransposeA, SharesA, DType.F32, DType.BF16, parts, kernel.K, passes, scratch);
        (rows, columns) = TransposeB ? (N, K) : (K, N);
        Operand right = Bring(b, rows, columns, TransposeB, SharesB, DType.F32, DType.BF16, parts, kernel.K, passes, scratch);
        return plan.Product(kernel, left, right, parts, DType.F32, passes, scratch, device);
    }

    private Launch InTiles(Slot a, Slot b)
    {
        int side = (long)Batches * ((M + 63) / 64) * ((N + 63) / 64) >= BusyGroups / 2 ? 64 : 32;
        Tiles tiles = Divide(side, side);
        return Summed(
            tiles.Splits, DType.F32,
            [Dispatch.Linear("matmul", tiles.Groups, [a, b, Target(tiles.Splits), AddendSlot], tiles, [256, (uint)side, TransposeA ? 1u : 0, TransposeB ? 1u : 0, .. AddendCodes(tiles.Splits)])]);
    }

    /// <summary>The tiles of the product, and its parts along the inner axis where the tiles alone would not keep the device busy.</summary>
    private Tiles Divide(int rows, int columns, int slice = 16, double sumOfTile = 0.2, int leastSplits = 1)
    {
        int tilesM = (M + rows - 1) / rows, tilesN = (N + columns - 1) / columns;
        (int splits, int length) = Split((long)tilesM * tilesN * Batches, slice, sumOfTile, leastSplits);
        return new Tiles((uint)M, (uint)N, (uint)K, (uint)tilesM, (uint)tilesN, (uint)Batches, (uint)splits, (uint)length, BatchA, BatchB);
    }

    private FewRowsLaunch FewRows(Slot a, Slot b) => new(a, b, M, N, K, TypeB) { Batches = Batches, BatchA = BatchA, SharesB = SharesB, Precision = Precision, Residual = Addend?.Slot };

    private Launch OfFewRowsColumns(Slot a, Slot b)
    {
        const int vectorsWide = 8;
        int groups = (N / 4 + vectorsWide - 1) / vectorsWide, splits = Math.Clamp(BusyGroups / (groups * Batches), 1, Math.Clamp(K / 256, 1, MostSplits));
        int length = (K + splits - 1) / splits;
        splits = (K + length - 1) / length;
        bool isSummed = splits > 1 || Addend is not null;
        var scalars = new FewRowsColumns((uint)N / 4, (uint)K, (uint)groups, (uint)Batches, (uint)splits, (uint)length, BatchA, BatchB / 4);
        return Summed(
            (uint)splits, DType.F32, [Dispatch.Linear("matmul_few_rows_columns", (long)groups * Batches * splits, [a, b, isSummed ? Slot.ScratchOut(0) : Slot.Out(0)], scalars, 256, (uint)M)], isSummed);
    }

    private Launch WithoutBarriers(Slot a, Slot b)
    {
        const uint workgroup = 8;
        uint rows = M == 1 ? 1u : M <= 8 ? 4u : 16u;
        uint rowGroups = ((uint)M + rows - 1) / rows, columnGroups = ((uint)N + 4 * workgroup - 1) / (4 * workgroup);
        return Dispatch.Linear(
            "matmul_no_barriers", (long)rowGroups * columnGroups * Batches, [a, b, Slot.Out(0), AddendSlot],
            new NoBarriers((uint)M, (uint)N, (uint)K, rowGroups, columnGroups, (uint)Batches, BatchA, BatchB),
            [workgroup, rows, TransposeA ? 1u : 0, TransposeB ? 1u : 0, IsWholeA ? 1u : 0, IsWholeB ? 1u : 0, IsWholeC ? 1u : 0, .. AddendCodes(splits: 1)]);
    }

    /// <summary>
    /// What a product in parts along the inner axis costs, in steps along K: what the fullest multiprocessor takes, some steps for a tile's beginning and end, and, where there are parts,
    /// writing and adding them, <paramref name="sumOfTile"/> for each part of each tile.
    /// </summary>
    private double Cost(long tiles, int splits, double sumOfTile) =>
        Math.Ceiling((double)tiles * splits / BusyGroups) * ((double)K / splits + StepsOfTile) + (splits > 1 ? StepsOfSum + sumOfTile * tiles * splits : 0);

    /// <summary>The same of a product whose tiles are made by workgroups that each take as much of them as every other.</summary>
    private double CostOfStream(long tiles) => ((double)tiles * K + StepsOfTile * (tiles + BusyGroups)) / BusyGroups + StepsOfSum + SumOfMatrixTile * (tiles + BusyGroups);

    /// <summary>Into how many parts the inner axis is divided, and the length of each.</summary>
    private (int Splits, int Length) Split(long tiles, int slice, double sumOfTile, int leastSplits)
    {
        int best = leastSplits;
        double least = double.PositiveInfinity;
        for (int splits = leastSplits; splits <= Math.Max(leastSplits, Math.Clamp(K / 256, 1, MostSplits)); splits++)
        {
            double cost = Cost(tiles, splits, sumOfTile);
            if (cost < least)
                (best, least) = (splits, cost);
        }
        int length = Math.Max(slice, ((K + best - 1) / best + slice - 1) / slice * slice);
        return (Math.Max(1, (K + length - 1) / length), length);
    }

    private static Slot Target(uint splits, int scratch = 0) => splits == 1 ? Slot.Out(0) : Slot.ScratchOut(scratch);

    private Slot AddendSlot => Addend?.Slot ?? Slot.In(0);

    /// <summary>How a kernel reads what it adds, and whether that is a row; where the inner axis is in parts, the sum of them adds it.</summary>
    private uint[] AddendCodes(uint splits) => splits == 1 && Addend is { } addend ? [addend.Type.ShaderCode(), addend.IsRow ? 1u : 0] : [NoAddend, 0];

    /// <summary>A product whose parts along the inner axis, where there is more than one, are added afterwards; they lie in the scratch behind that of <paramref name="product"/>.</summary>
    private Launch Summed(uint splits, DType result, IReadOnlyList<Dispatch> product, params List<long> scratch) => Summed(splits, result, product, splits > 1, scratch);

    private Launch Summed(uint splits, DType result, IReadOnlyList<Dispatch> product, bool isSummed, params List<long> scratch)
    {
        if (!isSummed)
            return new Launch(product, scratch);
        long count = (long)Batches * M * N;
        Dispatch sum = SumOfParts(Slot.ScratchIn(scratch.Count), Slot.Out(0), count, splits, result, Addend, N);
        return new Launch([.. product, sum], [.. scratch, splits * count * sizeof(float)]);
    }

    /// <summary>The sum of <paramref name="parts"/> tensors of float32 that lie behind each other, and of what is added to them.</summary>
    public static Dispatch SumOfParts(Slot from, Slot to, long count, uint parts, DType result, Addition? addend = null, int columns = 1) => Dispatch.Linear(
        "matmul_sum_splits", ElementwiseLaunch.Groups(count), [from, to, addend?.Slot ?? from], new Sum((uint)count, parts, (uint)columns),
        [
            ElementwiseLaunch.Workgroup, .. Elements.Codes((int)(count % 4), DType.F32, result) ?? throw new NotSupportedException($"{count} elements are no whole quads."),
            addend is null ? NoAddend : addend.Value.Type.ShaderCode(), addend is { IsRow: true } ? 1u : 0,
        ]);
}
