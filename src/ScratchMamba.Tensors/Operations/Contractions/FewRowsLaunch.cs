namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// C = A · Bᵀ for a few rows of A [M, K] in F32, and B [N, K] in any type, where reading B is what takes the time; with a norm's weight, of normalised rows, and with a residual, of C's shape, that is added.
/// </summary>
internal readonly record struct FewRowsLaunch(Slot A, Slot B, int M, int N, int K, DType Type)
{
    /// <summary>Rows whose sums a subgroup holds at once.</summary>
    public const int MostSums = 8;

    // Rows up to which reading B takes more time than multiplying.
    private const int MostRows = 512;

    // Elements of B from which a product gets a pipeline of its own, for its inner length.
    private const long WorthStaging = 1L << 15;

    private readonly record struct InRegistersScalars(uint N, uint Packs, uint Batches, uint BatchA, uint BatchB, float Epsilon);

    private readonly record struct OnMatrixUnitsScalars(uint M, uint N, uint TilesM, uint Groups, float Epsilon);

    /// <summary>The norm's weight, [K].</summary>
    public Slot? Norm { get; init; }

    /// <summary>What is added to the mean of squares.</summary>
    public double Epsilon { get; init; }

    /// <summary>What is added to C.</summary>
    public Slot? Residual { get; init; }

    /// <summary>How exactly the product is to be computed where matrix units compute it: rounded once with <see cref="MatMulPrecision.Bfloat16"/>, otherwise in two parts.</summary>
    public MatMulPrecision Precision { get; init; }

    /// <summary>How many products there are, without norm and residual.</summary>
    public int Batches { get; init; } = 1;

    /// <summary>Elements from one A to the next; 0 where all products share one.</summary>
    public uint BatchA { get; init; }

    /// <summary>Whether all products share one B.</summary>
    public bool SharesB { get; init; } = true;

    private Slot[] Slots => [A, Norm ?? A, B, Residual ?? A, Slot.Out(0)];

    /// <summary>Whether A times the norm's weight is rounded to bfloat16, because matrix units do so with more rows: with weights of bfloat16 a row's numbers are the same whatever their number; others they round, too.</summary>
    public static bool IsRounded(MatMulPrecision precision, DType type, DeviceTraits device) => precision == MatMulPrecision.Bfloat16 && device.HasMatrixUnits && type.IsCompact();

    private uint HasNorm => Norm is null ? 0u : 1;

    private uint HasResidual => Residual is null ? 0u : 1;

    /// <summary>The numbers of 16 bytes.</summary>
    public static int PackLength(DType type) => type switch
    {
        DType.F32 => 4,
        DType.Q8_0 => 16,
        DType.Q4_0 => 32,
        _ => 8,
    };

    /// <summary>Whichever is faster; null where neither is for so many rows. K is whole packs.</summary>
    public Launch? Plan(DeviceTraits device)
    {
        // With 8 rows of the 130m shape in bf16 an H200 decodes 8,500 tokens/s by sums in registers and 10,800 on matrix units, with 4 rows 6,400 and 6,100.
        return M <= (device.HasMatrixUnits ? 4 : MostSums) ? InRegisters(device) : OnMatrixUnits(device);
    }

    /// <summary>Sums of up to <see cref="MostSums"/> rows in registers.</summary>
    public Dispatch InRegisters(DeviceTraits device)
    {
        uint packs = (uint)(K / PackLength(Type)), lanes = (uint)device.SubgroupSize, loads = (packs + lanes - 1) / lanes;
        uint columns = M >= 4 ? 2u : 1, most = Math.Max(1, (M <= 2 ? 12u : 4) / columns), passes = (loads + most - 1) / most, flight = (loads + passes - 1) / passes;
        // All multiprocessors' workgroups have to fit beside each other: a row or two of a common model.
        bool isStaged = (long)N * K >= WorthStaging && 4L * M * PackLength(Type) * passes * flight * lanes <= Math.Min(16384, device.SharedMemoryBytes / 2);
        uint workgroup = Math.Max(lanes, isStaged ? 256u : 64), together = workgroup / lanes * columns;
        return Dispatch.Linear(
            "matmul_few_rows", (N + together - 1) / together * Batches, Slots,
            new InRegistersScalars((uint)N, packs, (uint)Batches, BatchA / 4, SharesB ? 0 : (uint)N * packs, (float)Epsilon),
            workgroup, (uint)M, columns, Type.ShaderCode(), flight, lanes, isStaged ? packs : 0, HasNorm, HasResidual, IsRounded(Precision, Type, device) ? 1u : 0);
    }

    /// <summary>Sums of up to 128 rows on matrix units; null where the device has none that fit.</summary>
    private Launch? OnMatrixUnits(DeviceTraits device)
    {
        const int subgroups = 8, mostLoads = 16;
        int workgroup = subgroups * device.SubgroupSize, parts = Precision == MatMulPrecision.Bfloat16 ? 1 : 2, planes = Type == DType.BF16 ? 1 : parts;
        if (!device.HasMatrixUnits || M > MostRows || K % 4 != 0 || workgroup > device.WorkgroupInvocations)
            return null;
        // As many tiles as keep a large device busy, and slices that leave room for those of both operands in 48 KB.
        bool isLong = N >= 16384, isShort = N < 2048;
        int tileM = M <= 16 ? 16 : M <= 32 || isShort || (planes == 2 && Type.IsQuantized() && !isLong) ? 32 : 64, tileN = isLong ? 128 / planes : isShort ? 16 : 32;
        int slice = isLong || (tileM == 64 && planes == 2) ? 64 : isShort && planes == 1 ? 256 : 128;
        // Weights of bfloat16 need no rounding, activations do, in every workgroup: with wide tiles instead of tall ones 64 texts take 2 to 3 % less time a token.
        if (tileM == 64 && Type == DType.BF16 && !isLong)
            (tileM, tileN, slice) = (32, 64, 128);
        int sideM = Math.Min(32, tileM), sideN = Math.Min(32, tileN), shares = subgroups / (tileM / sideM * (tileN / sideN));
        // Numbers of 16 bits, as many for each as it has parts, and then the sums of all shares in float32.
        long slices = 2L * (slice + 8) * (parts * tileM + planes * tileN), sums = 4L * shares * tileM * (tileN + 4);
        if (Math.Max(slices, sums) + 4L * tileM * slice / 4 / Math.Min(slice / 4, device.SubgroupSize) > device.SharedMemoryBytes)
            return null;
        // Of B as much is under way as registers hold; widening integers takes them, to two parts all of them. Of A two slices are, with which 64 rows take 2 to 4 % less time, and three take more.
        int loads = (tileN * slice / PackLength(Type) + workgroup - 1) / workgroup, all = (K + slice - 1) / slice, ahead = Math.Clamp(!Type.IsQuantized() ? mostLoads / loads : planes == 2 ? 1 : 3, 1, all);
        uint tilesM = (uint)((M + tileM - 1) / tileM), groups = tilesM * (uint)((N + tileN - 1) / tileN);
        return Dispatch.Linear(
            "matmul_rows_cooperative", groups, Slots, new OnMatrixUnitsScalars((uint)M, (uint)N, tilesM, groups, (float)Epsilon),
            (uint)workgroup, (uint)device.SubgroupSize, (uint)tileM, (uint)tileN, (uint)slice, (uint)sideM, (uint)sideN, Type.ShaderCode(), (uint)K, HasNorm, HasResidual, (uint)ahead, (uint)parts, (uint)Math.Min(2, all));
    }
}
