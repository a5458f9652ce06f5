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

    /// <summary>The same of workgroups so large that a multiprocessor holds one or two.</summary>
    private const int EnoughStrips = 500;

    private readonly List<Dispatch> dispatches = [];
    private readonly List<long> scratch = [];
    private bool isTooLarge;

    private readonly record struct Extents(uint Length, uint Heads, uint Width, uint Groups, uint States, uint Chunk, uint Chunks, uint Tiles, uint Count);

    private readonly record struct ScanScalars(uint Options, Extents Extents);

    private readonly record struct RowsScalars(uint Shares, uint HeadsPerShare, uint ShareSize, uint DotsSize, Extents Extents);

    private readonly record struct ProductsGradientScalars(uint Shares, uint HeadsPerShare, uint ShareSize, uint Options, Extents Extents);

    private readonly record struct StepGradientScalars(uint DotsParts, uint DotsSize, Extents Extents);

    private readonly record struct StripExtents(uint Length, uint Heads, uint Groups, uint Chunk, uint Chunks, uint Tiles, uint Count, uint Shares, uint HeadsPerShare);

    private readonly record struct StripScalars(uint First, StripExtents Extents);

    private readonly record struct StripProductsScalars(uint ShareSize, uint Options, StripExtents Extents);

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

    // Float16 has kernels for matrix units where there are strips, and what goes with them.
    private bool IsHalf => precision == MatMulPrecision.Float16 && activations == DType.F16;

    private string BesideStrips => HasStrips && IsHalf ? "_matrix_half" : OnMatrixUnits;

    // Whole chunks at once, by subgroups of 32 with strips of 16 positions: registers hold a row of at most 128 positions or elements of N, shared memory a tile of each operand.
    private bool HasStrips => (IsHalf ? device.HalfMatrixSide == 16 && device.SubgroupSize * 4 == Multiplying : OnMatrixUnits.Length > 0 && activations == DType.BF16) && shape.LongestChunk <= 2 * Tile && shape.P % 32 == 0 && shape.P is > 0 and <= 64
        && shape.N % 32 == 0 && shape.N is > 0 and <= 128 && device.SharedMemoryBytes >= 48 << 10 && device.WorkgroupInvocations >= 256;

    private uint StripInvocations => (uint)(2 * Tile * Tiles);

    private uint DeviceExp => device.IsCpu ? 0u : 1;

    /// <summary>Whether the shaders read such activations.</summary>
    public bool CanRead => HasQuads || !(activations.IsNarrow() || States.IsNarrow() || DStates.IsNarrow());

    /// <summary>The type of the states before the chunks.</summary>
    public DType States { get; init; } = DType.F32;

    /// <summary>The type of the gradients of what chunks add to the state.</summary>
    public DType DStates { get; init; } = DType.F32;

    /// <summary>Scratch for that many numbers.</summary>
    public int Scratch(long elements, DType type = DType.F32)
    {
        isTooLarge |= elements > int.MaxValue;
        scratch.Add(Math.Max(1, elements) * type.Size());
        return scratch.Count - 1;
    }

    /// <summary>What was put together; null where shaders do not read such activations, or scratch is too large to be indexed by 32 bits.</summary>
    public Launch? Build() => !CanRead || isTooLarge ? null : new Launch(dispatches, scratch);

    /// <summary>γ, to a tensor [B, chunks, H].</summary>
    public void Retention(Slot dt, Slot a, Slot? sequence, Slot to) => Decay(dt, a, sequence, to, null, null);

    /// <summary>The decay to the end of the chunk, and that times dt.</summary>
    public (int Weight, int Stepped) Weights(Slot dt, Slot a, Slot? sequence)
    {
        (int, int) weights = MakeWeights();
        Decay(dt, a, sequence, null, weights, null);
        return weights;
    }

    /// <summary>The cumulative sum of dt·A in two parts, what is left of the carried state, and the first position of each one's document.</summary>
    public (int High, int Low, int Carried, int? Starts) Sums(Slot dt, Slot a, Slot? sequence)
    {
        (int, int, int, int?) sums = MakeSums(sequence);
        Decay(dt, a, sequence, null, null, sums);
        return sums;
    }

    /// <summary>All that a whole scan needs of the decay; γ too in scratch.</summary>
    public (int Retention, (int Weight, int Stepped) Weights, (int High, int Low, int Carried, int? Starts) Sums) Decays(Slot dt, Slot a, Slot? sequence)
    {
        int retention = Scratch(Parts * shape.H);
        (int, int) weights = MakeWeights();
        (int, int, int, int?) sums = MakeSums(sequence);
        // Side by side, each takes half as long.
        Decay(dt, a, sequence, Slot.ScratchOut(retention), weights, null);
        Decay(dt, a, sequence, null, null, sums);
        return (retention, weights, sums);
    }

    private (int, int) MakeWeights() => (Scratch(Positions), Scratch(Positions));

    private (int, int, int, int?) MakeSums(Slot? sequence) => (Scratch(Positions), Scratch(Positions), Scratch(Positions), sequence is null ? null : Scratch(Parts * Tiles * Tile));

    /// <summary>The states before the chunks from what these add, or backwards; see <see cref="StateLaunch.Walk"/>.</summary>
    public void Pass(Slot steps, int retention, Slot? start, Slot walked, Slot? end, bool backward)
    {
        if (StateLaunch.Codes(shape.States, Added, backward ? DStates : States) is { } codes)
            dispatches.AddRange(StateLaunch.Walk(shape.States, codes, steps, Slot.ScratchIn(retention), start, walked, end, backward).Dispatches);
    }

    /// <summary>The gradient of γ: ⟨h, dS⟩ of each chunk and head.</summary>
    public int RetentionGradient(Slot states, Slot dStates)
    {
        int gradient = Scratch(Parts * shape.H);
        if (StateLaunch.Codes(shape.States, States, DStates) is { } codes)
            dispatches.AddRange(StateLaunch.Dots(shape.States, codes, states, dStates, Slot.ScratchOut(gradient)).Dispatches);
        return gradient;
    }

    /// <summary>The type of what chunks add to the state on the way to <see cref="Pass"/>: half the bytes, where matrix units round them, and no larger errors, since states are rounded too.</summary>
    public DType Added => HasStrips && !IsHalf && device.HasHalfSums ? DType.BF16 : DType.F32;

    /// <summary>Σ weight · x ⊗ b over each chunk, in F32 or as <see cref="Added"/>.</summary>
    public void State(Slot x, int weight, Slot b, Slot state, bool asAdded = false)
    {
        if (HasStrips)
        {
            AddStrips(asAdded && Added == DType.BF16 ? "chunk_state_strips_rounded" : "chunk_state_strips", [x, Slot.ScratchIn(weight), b, state], extents => extents);
            return;
        }
        long count = Parts * shape.H * TilesOf(shape.P) * TilesOf(shape.N);
        Add("chunk_state" + OnMatrixUnits, count, [x, Slot.ScratchIn(weight), b, state], ExtentsOf(count), Multiplying, Layout);
    }

    /// <summary>C·Bᵀ, rows for m; for the scan by tiles, columns.</summary>
    public int ProductsOf(Slot b, Slot c, bool forTiles)
    {
        int products = Scratch(Products);
        long count = Parts * shape.G * Pairs;
        Add("chunk_products" + BesideStrips, count, [b, c, Slot.ScratchOut(products)], ExtentsOf(count), Multiplying, Layout, forTiles ? 1u : 0);
        return products;
    }

    /// <summary>C·Bᵀ as <see cref="Scan"/> wants it.</summary>
    public int ProductsOfScan(Slot b, Slot c, uint skips) => ProductsOf(b, c, forTiles: !ScansByStrips(skips));

    /// <summary>The outputs.</summary>
    public void Scan(Slot x, Slot dt, Slot c, Slot states, Slot? skip, uint skips, (int High, int Low, int Carried, int? Starts) sums, int products, Slot y)
    {
        if (ScansByStrips(skips))
        {
            AddStrips(
                "chunk_scan_strips",
                [
                    x, dt, c, states, skip ?? x, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), Slot.ScratchIn(sums.Carried), In(sums.Starts, dt), Slot.ScratchIn(products), y,
                ],
                extents => new StripScalars(Options(sums.Starts, skips), extents));
            return;
        }
        long count = Parts * Tiles * shape.H * TilesOf(shape.P);
        Add(
            "chunk_scan" + OnMatrixUnits, count,
            [
                x, dt, c, states, skip ?? x, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), Slot.ScratchIn(sums.Carried), In(sums.Starts, dt), Slot.ScratchIn(products), y,
            ],
            new ScanScalars(Options(sums.Starts, skips), ExtentsOf(count)), Multiplying, Layout, DeviceExp);
    }

    /// <summary>
    /// The gradient of C, from states and products: Σ over a group's heads of (carried · g)·states, and products·B. Returns where each head's row times C is.
    /// </summary>
    public (int Dots, int Parts) GradientOfC(Slot g, int carried, Slot states, Slot c, int dProducts, Slot b, int output)
    {
        if (!HasStrips || States != activations)
            return Rows(g, carried, states, States, c, dProducts, b, 1, output);
        // The part that products say is the first, the workgroups' follow.
        (uint shares, _) = StripShare();
        int parts = Scratch((shares + 1) * GroupElements), dots = Scratch(Positions);
        AddRows(g, null, states, States, null, 0, dProducts, b, 1, Slot.ScratchOut(parts), 1, 0, DType.F32);
        AddStrips(
            "chunk_rows_strips",
            [g, c, Slot.ScratchIn(carried), Slot.ScratchIn(carried), states, g, Slot.ScratchOut(dots), Slot.ScratchOut(parts)],
            extents => new StripScalars((uint)GroupElements, extents), 0, 0, 1);
        SumShares(Slot.ScratchIn(parts), Slot.Out(output), shares + 1, GroupElements, activations);
        return (dots, 1);
    }

    /// <summary>What the gradient of products says of B.</summary>
    public void GradientOfB(Slot g, Slot states, int dProducts, Slot c, int output) => Rows(g, null, states, States, null, dProducts, c, 2, output);

    // The gradient of B or C: what the states say, Σ over a group's heads of (weight · x)·state, and what the products say. Returns where each head's row times c is, if asked for.
    private (int Dots, int Parts) Rows(Slot x, int? weight, Slot state, DType stateType, Slot? c, int? cross, Slot other, uint crossKind, int output)
    {
        long blocks = Parts * Tiles * shape.G * TilesOf(shape.N);
        (uint shares, uint headsPerShare) = weight is null ? (1, 0) : Share(blocks);
        int dots = c is null ? 0 : Scratch(TilesOf(shape.N) * Positions);
        int parts = shares == 1 ? 0 : Scratch(shares * GroupElements);
        AddRows(x, weight, state, stateType, c, dots, cross, other, crossKind, shares == 1 ? Slot.Out(output) : Slot.ScratchOut(parts), shares, headsPerShare, shares == 1 ? activations : DType.F32);
        if (shares > 1)
            SumShares(Slot.ScratchIn(parts), Slot.Out(output), shares, GroupElements, activations);
        return (dots, TilesOf(shape.N));
    }

    private void AddRows(
        Slot x, int? weight, Slot state, DType stateType, Slot? c, int dots, int? cross, Slot other, uint crossKind, Slot result, uint shares, uint headsPerShare, DType resultType)
    {
        long count = Parts * Tiles * shape.G * TilesOf(shape.N) * shares;
        Add(
            "chunk_rows" + BesideStrips, count, [x, In(weight, x), state, c ?? x, c is null ? x : Slot.ScratchOut(dots), In(cross, x), other, result],
            new RowsScalars(shares, headsPerShare, (uint)GroupElements, (uint)Positions, ExtentsOf(count)),
            Multiplying, Layout, weight is null ? 0u : 1, c is null ? 0u : 1, crossKind, resultType.ShaderCode(), stateType.ShaderCode());
    }

    /// <summary>
    /// The gradients of x and B through what chunks add to the state; returns the direct part of that of dt. With <paramref name="outputs"/>, what outputs say of both is
    /// included: of x, which is there already, and of B through the gradient of products, and C.
    /// </summary>
    public int StateGradient(Slot x, Slot b, (int Weight, int Stepped) weights, Slot dState, int dx, int dB, (int DProducts, Slot C)? outputs = null)
    {
        int direct = Scratch(Positions);
        uint before = outputs is null ? 0u : 1;
        if (HasStrips && DStates == activations)
        {
            (uint shares, _) = StripShare();
            int parts = Scratch((shares + before) * GroupElements);
            if (outputs is var (dProducts, c))
                AddRows(x, null, dState, DStates, null, 0, dProducts, c, 2, Slot.ScratchOut(parts), 1, 0, DType.F32);
            AddStrips(
                "chunk_rows_strips",
                [x, b, Slot.ScratchIn(weights.Weight), Slot.ScratchIn(weights.Stepped), dState, Slot.Out(dx), Slot.ScratchOut(direct), Slot.ScratchOut(parts)],
                extents => new StripScalars((uint)GroupElements, extents), 1, before, before);
            SumShares(Slot.ScratchIn(parts), Slot.Out(dB), shares + before, GroupElements, activations);
            return direct;
        }
        long count = Parts * Tiles * shape.H;
        Add(
            "chunk_state_gradient" + OnMatrixUnits, count,
            [x, b, Slot.ScratchIn(weights.Weight), Slot.ScratchIn(weights.Stepped), dState, Slot.Out(dx), Slot.ScratchOut(direct)], ExtentsOf(count), Multiplying, Layout, before);
        Rows(x, weights.Stepped, dState, DStates, null, outputs?.DProducts, outputs?.C ?? x, outputs is null ? 0u : 2, dB);
        return direct;
    }

    /// <summary>The gradient of x through the outputs; returns the direct part of that of dt, and for every tile and channel, or every position, that of D.</summary>
    public (int Direct, int Skip) ScanGradient(
        Slot x, Slot dt, Slot? skip, uint skips, Slot g, (int High, int Low, int Carried, int? Starts) sums, int products, Slot dx)
    {
        int direct = Scratch(Positions), dskip = skip is null ? 0 : Scratch(SkipsByStrips(skips) ? Positions : Parts * Tiles * shape.H * shape.P);
        if (SkipsByStrips(skips))
        {
            AddStrips(
                "chunk_scan_gradient_x_strips",
                [
                    x, dt, skip ?? x, g, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), In(sums.Starts, dt), Slot.ScratchIn(products), dx, Slot.ScratchOut(direct),
                    skip is null ? x : Slot.ScratchOut(dskip),
                ],
                extents => new StripScalars(Options(sums.Starts, skips), extents));
            return (direct, dskip);
        }
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
        if (HasStrips)
        {
            (uint stripShares, _) = StripShare();
            int stripParts = Scratch(stripShares * Products), inside = Scratch(Positions);
            AddStrips(
                "chunk_scan_gradient_products_strips",
                [x, dt, g, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), In(sums.Starts, dt), Slot.ScratchIn(products), Slot.ScratchOut(stripParts), Slot.ScratchOut(inside)],
                extents => new StripProductsScalars((uint)Products, Options(sums.Starts, 0), extents));
            return (SumOfProducts(stripParts, stripShares), inside);
        }
        long blocks = Parts * shape.G * Pairs;
        (uint shares, uint headsPerShare) = Share(blocks);
        int parts = Scratch(shares * Products), edges = Scratch(Parts * shape.H * Pairs * 2 * Tile);
        Add(
            "chunk_scan_gradient_products" + OnMatrixUnits, blocks * shares,
            [
                x, dt, g, Slot.ScratchIn(sums.High), Slot.ScratchIn(sums.Low), In(sums.Starts, dt), Slot.ScratchIn(products), Slot.ScratchOut(parts), Slot.ScratchOut(edges),
            ],
            new ProductsGradientScalars(shares, headsPerShare, (uint)Products, Options(sums.Starts, 0), ExtentsOf(blocks * shares)), Multiplying, Layout, DeviceExp);
        return (SumOfProducts(parts, shares), edges);
    }

    private int SumOfProducts(int parts, uint shares)
    {
        if (shares == 1)
            return parts;
        int whole = Scratch(Products);
        SumShares(Slot.ScratchIn(parts), Slot.ScratchOut(whole), shares, Products, DType.F32);
        return whole;
    }

    /// <summary>
    /// The gradients of dt and A: through what chunks add to the state, where the direct part of that is given, through the outputs, where theirs is, and where both are through γ, too.
    /// </summary>
    public void StepGradient(Slot dt, Slot a, int? ofState, (int Direct, (int Index, int Parts) Dots, int Edges)? outputs, (int Value, int Gradient)? retention, int dDt, int dA)
    {
        int rates = Scratch(Parts * shape.H);
        long count = Parts * shape.H;
        Add(
            "chunk_step_gradient", count,
            [
                dt, a, In(ofState, dt), In(retention?.Value, dt), In(retention?.Gradient, dt), In(outputs?.Direct, dt), In(outputs?.Dots.Index, dt), In(outputs?.Edges, dt), Slot.Out(dDt),
                Slot.ScratchOut(rates),
            ],
            new StepGradientScalars((uint)(outputs?.Dots.Parts ?? 0), (uint)Positions, ExtentsOf(count)), Tile, ofState is null ? 0u : 1, outputs is null ? 0u : HasStrips ? 2u : 1);
        Sum(Slot.ScratchIn(rates), Slot.Out(dA), Parts, shape.H, shape.H);
    }

    /// <summary>The gradient of D from that of every tile and channel, or every position.</summary>
    public void SkipGradient(int parts, uint skips, int output)
    {
        if (SkipsByStrips(skips))
        {
            int perPart = Scratch(Parts * shape.H);
            Sum(Slot.ScratchIn(parts), Slot.ScratchOut(perPart), Tiles * Tile, Parts * shape.H, 1, Tiles * Tile);
            Sum(Slot.ScratchIn(perPart), Slot.Out(output), Parts, shape.H, shape.H);
            return;
        }
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

    private void Decay(Slot dt, Slot a, Slot? sequence, Slot? retention, (int Weight, int Stepped)? weights, (int High, int Low, int Carried, int? Starts)? sums)
    {
        const int HeadsPerWorkgroup = 16;
        long count = Parts * ((shape.H + HeadsPerWorkgroup - 1) / HeadsPerWorkgroup);
        uint made = (retention is null ? 0u : 1) | (weights is null ? 0u : 2) | (sums is null ? 0u : 4);
        Add(
            "chunk_decay", count,
            [dt, a, sequence ?? dt, retention ?? dt, To(weights?.Weight), To(weights?.Stepped), To(sums?.High), To(sums?.Low), To(sums?.Carried), To(sums?.Starts)],
            ExtentsOf(count), 256, made, sequence is null ? 0u : 1);

        Slot To(int? scratch) => scratch is int index ? Slot.ScratchOut(index) : dt;
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

    private bool ScansByStrips(uint skips) => HasStrips && States == activations && skips != 2;

    private bool SkipsByStrips(uint skips) => HasStrips && skips != 2;

    private long GroupElements => (long)shape.B * shape.L * shape.G * shape.N;

    private (uint Shares, uint HeadsPerShare) StripShare() => Share(Parts * shape.G, EnoughStrips);

    private (uint Shares, uint HeadsPerShare) Share(long blocks, int enough = Enough)
    {
        int heads = Math.Max(1, shape.HeadsPerGroup);
        int wanted = blocks == 0 ? 1 : (int)Math.Min(heads, (enough + blocks - 1) / blocks);
        int headsPerShare = (heads + wanted - 1) / wanted;
        return ((uint)((heads + headsPerShare - 1) / headsPerShare), (uint)headsPerShare);
    }

    private void Add<TScalars>(string shader, long groups, ReadOnlySpan<Slot> buffers, TScalars scalars, params ReadOnlySpan<uint> constants) where TScalars : unmanaged
    {
        if (groups > 0)
            dispatches.Add(Dispatch.Linear(shader, groups, buffers, scalars, constants));
    }

    private void AddStrips<TScalars>(string shader, ReadOnlySpan<Slot> buffers, Func<StripExtents, TScalars> scalars, params ReadOnlySpan<uint> constants) where TScalars : unmanaged
    {
        (uint shares, uint headsPerShare) = StripShare();
        long count = Parts * shape.G * shares;
        var extents = new StripExtents((uint)shape.L, (uint)shape.H, (uint)shape.G, (uint)shape.Q, (uint)shape.Chunks, (uint)Tiles, checked((uint)count), shares, headsPerShare);
        Add(IsHalf ? shader + "_half" : shader, count, buffers, scalars(extents), [StripInvocations, (uint)shape.P, (uint)shape.N, .. constants]);
    }

    private Extents ExtentsOf(long count) => new(
        (uint)shape.L, (uint)shape.H, (uint)shape.P, (uint)shape.G, (uint)shape.N, (uint)shape.Q, (uint)shape.Chunks, (uint)Tiles, checked((uint)count));

    private static uint Options(int? starts, uint skips) => (starts is null ? 0u : 1) | skips << 1;

    private static int TilesOf(int extent) => (extent + Tile - 1) / Tile;

    private static Slot In(int? scratch, Slot instead) => scratch is int index ? Slot.ScratchIn(index) : instead;
}
