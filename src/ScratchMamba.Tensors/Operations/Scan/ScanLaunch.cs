namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Puts together the launches of the chunked scan: each method adds one dispatch. A dispatch without workgroups is left out. Scratch of positions is [B, chunks, H, 64 · tiles],
/// where a chunk is cut into tiles of 64 positions; products of positions are [B, chunks, G, pairs of tiles, 64, 64].
/// </summary>
internal sealed class ScanLaunch(ScanShape shape, DType activations, DeviceTraits device, MatMulPrecision precision = MatMulPrecision.Full)
{
    private const int Tile = 64;

    /// <summary>Invocations of a workgroup that multiplies tiles.</summary>
    private const uint Multiplying = 128;

    /// <summary>Workgroups that fill a large device; where there are fewer, the heads of a group are shared out.</summary>
    private const int Enough = 800;

    private readonly List<Dispatch> dispatches = [];
    private readonly List<long> scratch = [];

    private readonly record struct Extents(uint Length, uint Heads, uint Width, uint Groups, uint States, uint Chunk, uint Chunks, uint Tiles, uint Count);

    private readonly record struct ScanScalars(uint Options, Extents Extents);

    private readonly record struct RowsScalars(uint Shares, uint HeadsPerShare, uint ShareSize, uint DotsSize, Extents Extents);

    private readonly record struct ProductsGradientScalars(uint Shares, uint HeadsPerShare, uint ShareSize, uint Options, Extents Extents);

    private readonly record struct StepGradientScalars(uint DotsParts, uint DotsSize, Extents Extents);

    private readonly record struct SumScalars(uint Rows, uint Columns, uint RowStep, uint ColumnStep);

    /// <summary>Elements of a scratch buffer with one value for each position of each head.</summary>
    public long Positions => Parts * shape.H * Tiles * Tile;

    /// <summary>Elements of a scratch buffer with the products of positions of each group.</summary>
    public long Products => Parts * shape.G * Pairs * Tile * Tile;

    /// <summary>Tiles of a chunk.</summary>
    public int Tiles => TilesOf(shape.LongestChunk);

    /// <summary>Pairs of tiles m ≥ s of a chunk.</summary>
    public long Pairs => (long)Tiles * (Tiles + 1) / 2;

    /// <summary>Chunks of the batch.</summary>
    public long Parts => (long)shape.B * shape.Chunks;

    // Activations of 16 bits come in whole quads: see CanRead.
    private uint Layout => (HasQuads ? 1u : 0) | activations.ShaderCode() << 1 | States.ShaderCode() << 3 | DStates.ShaderCode() << 5;

    private bool HasQuads => shape.P % 4 == 0 && shape.N % 4 == 0;

    // Four subgroups of 32 share a tile. Three products instead of one are no gain here, where most of the time goes to loading.
    private string OnMatrixUnits => precision == MatMulPrecision.Bfloat16 && device.HasMatrixUnits && device.SubgroupSize * 4 == Multiplying ? "_matrix" : "";

    private uint DeviceExp => device.IsCpu ? 0u : 1;

    /// <summary>Whether the shaders read such activations.</summary>
    public bool CanRead => HasQuads || !(activations.IsNarrow() || States.IsNarrow() || DStates.IsNarrow());

    /// <summary>The type of the states before the chunks.</summary>
    public DType States { get; init; } = DType.F32;

    /// <summary>The type of the gradients of what chunks add to the state.</summary>
    public DType DStates { get; init; } = DType.F32;

    /// <summary>Scratch for that many floats.</summary>
    public int Scratch(long elements)
    {
        scratch.Add(Math.Max(1, elements) * sizeof(float));
        return scratch.Count - 1;
    }

    /// <summary>What was put together; null where shaders do not read such activations, or scratch is too large to be indexed by 32 bits.</summary>
    public Launch? Build() => !CanRead || scratch.Exists(bytes => bytes / sizeof(float) > int.MaxValue) ? null : new Launch(dispatches, scratch);

    /// <summary>γ, to a tensor [B, chunks, H].</summary>
    public void Retention(Slot dt, Slot a, Slot? sequence, Slot to) => Decay(0, dt, a, sequence, to, dt, dt, dt);

    /// <summary>The decay to the end of the chunk, and that times dt.</summary>
    public (int Weight, int Stepped) Weights(Slot dt, Slot a, Slot? sequence)
    {
        int weight = Scratch(Positions), stepped = Scratch(Positions);
        Decay(1, dt, a, sequence, Slot.ScratchOut(weight), Slot.ScratchOut(stepped), dt, dt);
        return (weight, stepped);
    }

    /// <summary>The cumulative sum of dt·A in two parts, what is left of the carried state, and the first position of each one's document.</summary>
    public (int High, int Low, int Carried, int? Starts) Sums(Slot dt, Slot a, Slot? sequence)
    {
        int high = Scratch(Positions), low = Scratch(Positions), carried = Scratch(Positions);
        int? starts = sequence is null ? null : Scratch(Parts * Tiles * Tile);
        Decay(
            2, dt, a, sequence, Slot.ScratchOut(high), Slot.ScratchOut(low), Slot.ScratchOut(carried), starts is int index ? Slot.ScratchOut(index) : dt);
        return (high, low, carried, starts);
    }

    /// <summary>Σ weight · x ⊗ b over each chunk.</summary>
    public void State(Slot x, int weight, Slot b, Slot state)
    {
        long count = Parts * shape.H * TilesOf(shape.P) * TilesOf(shape.N);
        Add("chunk_state" + OnMatrixUnits, count, [x, Slot.ScratchIn(weight), b, state], ExtentsOf(count), Multiplying, Layout);
    }

    /// <summary>C·Bᵀ.</summary>
    public int ProductsOf(Slot b, Slot c, bool transposed)
    {
        int products = Scratch(Products);
        long count = Parts * shape.G * Pairs;
        Add("chunk_products" + OnMatrixUnits, count, [b, c, Slot.ScratchOut(products)], ExtentsOf(count), Multiplying, Layout, transposed ? 1u : 0);
        return products;
    }

    /// <summary>The outputs.</summary>
    public void Scan(Slot x, Slot dt, Slot c, Slot states, Slot? skip, uint skips, (int High, int Low, int Carried, int? Starts) sums, int products, Slot y)
    {
        long count = Parts * Tiles * shape.H * TilesOf(shape.P);
        Add(
            "chunk_scan" + OnMatrixUnits, count,
            [
                x, dt, c, states, skip ?? x, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), Slot.ScratchIn(sums.Carried), In(sums.Starts, dt), Slot.ScratchIn(products), y,
            ],
            new ScanScalars(Options(sums.Starts, skips), ExtentsOf(count)), Multiplying, Layout, DeviceExp);
    }

    /// <summary>
    /// The gradient of B or C: what the states say, Σ over a group's heads of (weight · x)·state, and what the products say.
    /// Returns where each head's row times <paramref name="c"/> is, if asked for.
    /// </summary>
    public (int Dots, int Parts) Rows(Slot x, int? weight, Slot state, DType stateType, Slot? c, int? cross, Slot other, uint crossKind, int output)
    {
        long elements = (long)shape.B * shape.L * shape.G * shape.N, blocks = Parts * Tiles * shape.G * TilesOf(shape.N);
        (uint shares, uint headsPerShare) = weight is null ? (1, 0) : Share(blocks);
        int dots = c is null ? 0 : Scratch(TilesOf(shape.N) * Positions);
        int parts = shares == 1 ? 0 : Scratch(shares * elements);
        Add(
            "chunk_rows" + OnMatrixUnits, blocks * shares,
            [
                x, In(weight, x), state, c ?? x, c is null ? x : Slot.ScratchOut(dots), In(cross, x), other, shares == 1 ? Slot.Out(output) : Slot.ScratchOut(parts),
            ],
            new RowsScalars(shares, headsPerShare, (uint)elements, (uint)Positions, ExtentsOf(blocks * shares)),
            Multiplying, Layout, weight is null ? 0u : 1, c is null ? 0u : 1, crossKind, shares == 1 ? activations.ShaderCode() : DType.F32.ShaderCode(), stateType.ShaderCode());
        if (shares > 1)
            SumShares(Slot.ScratchIn(parts), Slot.Out(output), shares, elements, activations);
        return (dots, TilesOf(shape.N));
    }

    /// <summary>The gradient of x through what chunks add to the state; returns the direct part of that of dt.</summary>
    public int StateGradient(Slot x, Slot b, int weight, int stepped, Slot dState, Slot dx)
    {
        int direct = Scratch(Positions);
        long count = Parts * Tiles * shape.H;
        Add(
            "chunk_state_gradient" + OnMatrixUnits, count, [x, b, Slot.ScratchIn(weight), Slot.ScratchIn(stepped), dState, dx, Slot.ScratchOut(direct)], ExtentsOf(count), Multiplying, Layout);
        return direct;
    }

    /// <summary>The gradient of x through the outputs; returns the direct part of that of dt, and for every tile and channel that of D.</summary>
    public (int Direct, int Skip) ScanGradient(
        Slot x, Slot dt, Slot? skip, uint skips, Slot g, (int High, int Low, int Carried, int? Starts) sums, int products, Slot dx)
    {
        int direct = Scratch(Positions), dskip = skip is null ? 0 : Scratch(Parts * Tiles * shape.H * shape.P);
        long count = Parts * Tiles * shape.H;
        Add(
            "chunk_scan_gradient_x" + OnMatrixUnits, count,
            [
                x, dt, skip ?? x, g, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), In(sums.Starts, dt), Slot.ScratchIn(products), dx, Slot.ScratchOut(direct),
                skip is null ? x : Slot.ScratchOut(dskip),
            ],
            new ScanScalars(Options(sums.Starts, skips), ExtentsOf(count)), Multiplying, Layout, DeviceExp);
        return (direct, dskip);
    }

    /// <summary>The gradient of the products of positions, and what they say of the decay.</summary>
    public (int Products, int Edges) ProductsGradient(Slot x, Slot dt, Slot g, (int High, int Low, int Carried, int? Starts) sums, int products)
    {
        long blocks = Parts * shape.G * Pairs;
        (uint shares, uint headsPerShare) = Share(blocks);
        int parts = Scratch(shares * Products), edges = Scratch(Parts * shape.H * Pairs * 2 * Tile);
        Add(
            "chunk_scan_gradient_products" + OnMatrixUnits, blocks * shares,
            [
                x, dt, g, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), In(sums.Starts, dt), Slot.ScratchIn(products), Slot.ScratchOut(parts), Slot.ScratchOut(edges),
            ],
            new ProductsGradientScalars(shares, headsPerShare, (uint)Products, Options(sums.Starts, 0), ExtentsOf(blocks * shares)), Multiplying, Layout, DeviceExp);
        if (shares == 1)
            return (parts, edges);
        int whole = Scratch(Products);
        SumShares(Slot.ScratchIn(parts), Slot.ScratchOut(whole), shares, Products, DType.F32);
        return (whole, edges);
    }

    /// <summary>The gradients of dt and A through what chunks add to the state.</summary>
    public void StepGradientOfState(Slot dt, Slot a, int direct, int dDt, int dA) => StepGradient(fromState: true, dt, a, direct, dt, 0, dt, dDt, dA);

    /// <summary>The gradients of dt and A through the outputs.</summary>
    public void StepGradientOfScan(Slot dt, Slot a, int direct, (int Index, int Parts) dots, int edges, int dDt, int dA) =>
        StepGradient(fromState: false, dt, a, direct, Slot.ScratchIn(dots.Index), dots.Parts, Slot.ScratchIn(edges), dDt, dA);

    /// <summary>The gradient of D from that of every tile and channel.</summary>
    public void SkipGradient(int parts, uint skips, int output)
    {
        long channels = (long)shape.H * shape.P;
        if (skips == 2)
        {
            Sum(Slot.ScratchIn(parts), Slot.Out(output), Parts * Tiles, channels, channels);
            return;
        }
        int perChannel = Scratch(channels);
        Sum(Slot.ScratchIn(parts), Slot.ScratchOut(perChannel), Parts * Tiles, channels, channels);
        Sum(Slot.ScratchIn(perChannel), Slot.Out(output), shape.P, shape.H, 1, shape.P);
    }

    private void StepGradient(bool fromState, Slot dt, Slot a, int direct, Slot dots, int dotsParts, Slot edges, int dDt, int dA)
    {
        int rates = Scratch(Parts * shape.H);
        long count = Parts * shape.H;
        Add(
            "chunk_step_gradient", count, [dt, a, Slot.ScratchIn(direct), dots, edges, Slot.Out(dDt), Slot.ScratchOut(rates)],
            new StepGradientScalars((uint)dotsParts, (uint)Positions, ExtentsOf(count)), Tile, fromState ? 1u : 0);
        Sum(Slot.ScratchIn(rates), Slot.Out(dA), Parts, shape.H, shape.H);
    }

    private void Decay(uint mode, Slot dt, Slot a, Slot? sequence, Slot first, Slot second, Slot third, Slot starts)
    {
        const int HeadsPerWorkgroup = 16;
        long count = Parts * ((shape.H + HeadsPerWorkgroup - 1) / HeadsPerWorkgroup);
        Add("chunk_decay", count, [dt, a, sequence ?? dt, first, second, third, starts], ExtentsOf(count), 256, mode, sequence is null ? 0u : 1);
    }

    private void Sum(Slot from, Slot to, long rows, long columns, long rowStep, long columnStep = 1)
    {
        // Few columns share out their rows.
        uint lanes = columns >= 1 << 16 ? 1u : 16;
        uint perGroup = 256 / lanes;
        Add(
            "chunk_sum", (columns + perGroup - 1) / perGroup, [from, to], new SumScalars((uint)rows, (uint)columns, (uint)rowStep, (uint)columnStep), 256, lanes);
    }

    private void SumShares(Slot from, Slot to, uint shares, long elements, DType result)
    {
        if (elements > 0)
            dispatches.Add(MatMulLaunch.SumOfParts(from, to, elements, shares, result));
    }

    private (uint Shares, uint HeadsPerShare) Share(long blocks)
    {
        int heads = Math.Max(1, shape.HeadsPerGroup);
        int wanted = blocks == 0 ? 1 : (int)Math.Min(heads, (Enough + blocks - 1) / blocks);
        int headsPerShare = (heads + wanted - 1) / wanted;
        return ((uint)((heads + headsPerShare - 1) / headsPerShare), (uint)headsPerShare);
    }

    private void Add<TScalars>(string shader, long groups, ReadOnlySpan<Slot> buffers, TScalars scalars, params ReadOnlySpan<uint> constants) where TScalars : unmanaged
    {
        if (groups > 0)
            dispatches.Add(Dispatch.Linear(shader, groups, buffers, scalars, constants));
    }

    private Extents ExtentsOf(long count) => new(
        (uint)shape.L, (uint)shape.H, (uint)shape.P, (uint)shape.G, (uint)shape.N, (uint)shape.Q, (uint)shape.Chunks, (uint)Tiles, checked((uint)count));

    private static uint Options(int? starts, uint skips) => (starts is null ? 0u : 1) | skips << 1;

    private static int TilesOf(int extent) => (extent + Tile - 1) / Tile;

    private static Slot In(int? scratch, Slot instead) => scratch is int index ? Slot.ScratchIn(index) : instead;
}
