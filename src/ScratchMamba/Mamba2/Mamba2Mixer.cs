using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2;

/// <summary>
/// The Mamba-2 layer: a gated linear recurrence whose matrix-valued state each head decays and writes to as the input says.
/// <code>
/// Δₜ = softplus(Δ̂ₜ + b),  αₜ = exp(Δₜ A),  hₜ = αₜ hₜ₋₁ + Δₜ xₜ Bₜᵀ,  yₜ = hₜ Cₜ + D xₜ,  outₜ = W_out norm(yₜ · SiLU(zₜ))
/// </code>
/// where [z, x, B, C, Δ̂] = W_in u, and x, B, C have passed a short causal convolution and SiLU.
/// Source: Dao and Gu, "Transformers are SSMs" (2024), and the mamba_ssm package.
/// </summary>
/// <remarks>B batch · L length · D width · E inner width · H heads · P head size · N state size · G groups · K taps.</remarks>
public sealed class Mamba2Mixer : Module
{
    private readonly Mamba2Config config;
    private readonly Parameter inWeight, convolutionWeight, stepBias, decayLog, skip, outWeight;
    private readonly Parameter? inBias, convolutionBias, normWeight, outBias, initialState;

    /// <summary>A layer with fresh parameters, drawn by the published rules.</summary>
    public Mamba2Mixer(Mamba2Config config, Initializer init)
    {
        this.config = config;
        double inBound = 1 / Math.Sqrt(config.Width), tapBound = 1 / Math.Sqrt(config.ConvolutionTaps);
        double outBound = 1 / Math.Sqrt(config.InnerWidth) / (config.RescalesOutput ? Math.Sqrt(config.Layers) : 1);

        inWeight = init.Uniform([config.ProjectionWidth, config.Width], inBound, decays: true);
        inBias = config.ProjectionBias ? init.Constant([config.ProjectionWidth], 0, decays: false) : null;
        convolutionWeight = init.Uniform([config.ConvolutionWidth, 1, config.ConvolutionTaps], tapBound, decays: true);
        convolutionBias = config.ConvolutionBias ? init.Uniform([config.ConvolutionWidth], tapBound, decays: false) : null;
        stepBias = init.Make([config.Heads], random => InverseSoftplus(DrawTimeStep(config, random)), decays: false);
        decayLog = init.Make([config.Heads], random => DrawDecayLog(config, random), decays: false);
        skip = init.Constant(config.SkipPerChannel ? [config.InnerWidth] : [config.Heads], 1, decays: false);
        normWeight = config.GatedNorm ? init.Constant([config.InnerWidth], 1, decays: false) : null;
        initialState = config.LearnsInitialState ? init.Constant([config.Heads, config.HeadSize, config.StateSize], 0, decays: false) : null;
        outWeight = init.Uniform([config.Width, config.InnerWidth], outBound, decays: true);
        outBias = config.ProjectionBias ? init.Constant([config.Width], 0, decays: false) : null;
    }

    /// <summary>How exactly the matrices of the projections and of the scan have to be multiplied.</summary>
    public MatMulPrecision Precision { get; set; }

    /// <summary>What is learnt beside the projections; null for nothing.</summary>
    internal LowRankAdapter? InAdapter { get; private set; }

    /// <summary>What is learnt beside the projections; null for nothing.</summary>
    internal LowRankAdapter? OutAdapter { get; private set; }

    /// <summary>
    /// The type that activations are held in between the operations of a whole sequence: BF16 or F16 where products are made of numbers rounded to it anyway, unless somebody looks
    /// at them, changes them or learns beside them, who works in F32.
    /// </summary>
    internal DType Activations
    {
        get
        {
            DType type = skip.Value.DType;
            bool isFree = Cure is null && Observer is null && InAdapter is null && OutAdapter is null;
            return isFree ? Precision.Activations(type, inWeight.Value.DType) : type;
        }
    }

    /// <summary>What is done to the recurrence; null for nothing.</summary>
    internal LayerCure? Cure { get; set; }

    /// <summary>Is shown the inside of every computation; null for nobody.</summary>
    internal Action<Observation>? Observer { get; set; }

    /// <summary>Whether states say how much is retained of the first token.</summary>
    internal bool TracksRetention { get; set; }

    /// <summary>Whether a token may pass in one fused operation: nothing is changed, and nobody looks at what is inside.</summary>
    internal bool StepsAtOnce => TakesPadding && InAdapter is null && OutAdapter is null;

    /// <summary>Whether nothing looks at positions, or changes what they do, so that those of a padding do nothing.</summary>
    internal bool TakesPadding => Cure is null && Observer is null && !TracksRetention;

    /// <summary>Adds adapters to the projections.</summary>
    internal void Adapt(LowRankAdaptation how, Initializer init)
    {
        LowRankAdapter? For(string name, Parameter weight) => how.Targets.Contains(name) ? new LowRankAdapter(weight.Shape, how.Rank, how.Scale, init) : null;
        InAdapter = For("in_proj", inWeight);
        OutAdapter = For("out_proj", outWeight);
    }

    /// <inheritdoc/>
    public override IEnumerable<(string Path, Parameter Parameter)> Parameters()
    {
        yield return ("in_proj.weight", inWeight);
        if (inBias is not null)
            yield return ("in_proj.bias", inBias);
        yield return ("conv1d.weight", convolutionWeight);
        if (convolutionBias is not null)
            yield return ("conv1d.bias", convolutionBias);
        yield return ("dt_bias", stepBias);
        yield return ("A_log", decayLog);
        yield return ("D", skip);
        if (normWeight is not null)
            yield return ("norm.weight", normWeight);
        if (initialState is not null)
            yield return ("init_states", initialState);
        yield return ("out_proj.weight", outWeight);
        if (outBias is not null)
            yield return ("out_proj.bias", outBias);
        foreach ((string name, LowRankAdapter? adapter) in new[] { ("in_proj", InAdapter), ("out_proj", OutAdapter) })
        {
            foreach ((string path, Parameter parameter) in adapter is null ? [] : Under(name, adapter))
                yield return (path, parameter);
        }
    }

    /// <summary>The layer over whole sequences.</summary>
    /// <param name="u">The input, [B, L, D], of F32 or, where <see cref="Precision"/> allows, BF16.</param>
    /// <param name="state">What is carried from the positions before; null at the start of the sequences.</param>
    /// <param name="sequence">The number of the document of each position, I32 [B, L]; nothing crosses from one to the next. Null for one document a row.</param>
    /// <returns>The output, [B, L, D], and what the next positions need.</returns>
    public (Tensor Output, LayerState State) Forward(Tensor u, LayerState? state = null, Tensor? sequence = null) => ForwardPadded(u, state, sequence, padding: null);

    /// <summary>
    /// The same over sequences of different lengths: with Δ = 0 the positions of the padding leave states as they are, and the convolution's last inputs are each row's own. A residual is added to the
    /// output, which has its type then.
    /// </summary>
    internal (Tensor Output, LayerState State) ForwardPadded(Tensor u, LayerState? state, Tensor? sequence, Padding? padding, Tensor? residual = null)
    {
        (DType held, state) = Widened(state);
        int batch = u.Shape[0], length = u.Shape[1], kept = Math.Min(length, config.ConvolutionTaps - 1);
        Tensor[] projected = Project(u.Cast(Activations));                                                      // [B, L, E] [B, L, (E + 2GN) + H]
        Tensor? before = state?.Convolution.Cast(projected[1].DType);                                           // [B, K - 1, E + 2GN]
        Tensor carried = padding?.Last(before!, projected[1].Slice(2, 0, config.ConvolutionWidth)).Cast(skip.Value.DType)
            ?? projected[1].Slice(1, length - kept, kept).Slice(2, 0, config.ConvolutionWidth)
                .ConvolutionState(config.ConvolutionTaps, before, sequence?.Slice(1, length - kept, kept)).Cast(skip.Value.DType);
        (Tensor x, Tensor b, Tensor c, Tensor rawStep) = Convolve(projected[1], before, sequence);                 // [B, L, H, P] [B, L, G, N] [B, L, G, N] [B, L, H]
        Tensor step = TimeStep(rawStep);                                                                        // [B, L, H]
        if (padding is not null)
            step *= padding.Mask;
        (Tensor y, LayerState next) = Recur(new Recurrence(x, step, Decay, b, c), carried, state, sequence);      // [B, L, H, P]
        return (Finish(y.Reshape([batch, length, config.InnerWidth]), projected[0], residual), next.HeldIn(held));
    }

    /// <summary>The layer for one token of each sequence: the same computation as <see cref="Forward"/> over sequences of length 1.</summary>
    /// <param name="u">The input, [B, D].</param>
    /// <param name="state">What is carried from the tokens before; null at the start.</param>
    /// <returns>The output, [B, D], and what the next token needs.</returns>
    public (Tensor Output, LayerState State) Step(Tensor u, LayerState? state = null)
    {
        if (!StepsAtOnce)
            return StepByStep(u, state ?? EmptyState(u.Shape[0]));
        Tensor projected = Linear(u, inWeight, inBias, InAdapter);
        Tensor[] results = Tensor.ApplyAll(Middle, MiddleInputs(projected, state ?? EmptyState(u.Shape[0])));
        return (FinishStep(results[0], projected), new LayerState(results[1], results[2]));
    }

    /// <summary>u + <see cref="Step"/> of norm(u), in as few operations as can be, with the state overwritten by the next one. Nothing is recorded of it: for inference.</summary>
    /// <param name="u">The input, [B, D].</param>
    /// <param name="norm">The weight of the norm before the layer, [D].</param>
    /// <param name="state">What is carried from the tokens before, and then what the next token needs.</param>
    internal Tensor StepInPlace(Tensor u, Tensor norm, LayerState state)
    {
        Tensor projected = Biased(u.NormLinear(norm, inWeight.Value, config.NormEpsilon, precision: Precision), inBias?.Value);
        (Tensor y, Tensor convolution) = Middle.InPlace(MiddleInputs(projected, state));
        bool isFused = GatesInStep && normWeight is not null;
        Tensor output = isFused ? Biased(y.NormLinear(normWeight!.Value, outWeight.Value, config.NormEpsilon, u, Precision), outBias?.Value) : u + FinishStep(y, projected);
        // Last, because a device then copies while it multiplies.
        Tensor.Overwrite(new Affine(1, 0), [convolution], state.Convolution);
        return output;
    }

    /// <summary>The layer's state before the first token, in the type that is computed with.</summary>
    internal LayerState EmptyState(int batch)
    {
        Tensor recurrent = InitialState(batch) ?? Zeros([batch, config.Heads, config.HeadSize, config.StateSize]);
        return new LayerState(Zeros([batch, config.ConvolutionTaps - 1, config.ConvolutionWidth]), recurrent)
        {
            Memory = Cure?.Empty(recurrent),
            LogRetention = TracksRetention ? Zeros([batch, config.Heads]) : null,
        };

        Tensor Zeros(Shape shape) => skip.Value.Backend.Zeros(new TensorType(skip.Value.DType, shape));
    }

    /// <summary>hₜ = exp(Δₜ A) hₜ₋₁ + Δₜ xₜ Bₜᵀ and yₜ = hₜ Cₜ + D xₜ over whole sequences, as the cure changes them.</summary>
    private (Tensor Y, LayerState State) Recur(Recurrence given, Tensor carried, LayerState? state, Tensor? sequence)
    {
        Recurrence changed = Cure?.Changed(given, state?.Memory) ?? given;
        Tensor? initial = state?.Recurrent ?? InitialState(given.X.Shape[0]);
        (Tensor y, Tensor last, CureMemory? memory) = Cure?.Scan(changed, initial, state?.Memory, sequence)
            ?? Alone(given.X.StateSpaceScan(given.Step, given.A, given.B, given.C, Skip, initial, sequence, Chunk, Precision));
        if (Cure is not null)
            y += given.X * SkipColumns;
        return (y, Observed(given, changed, state, new LayerState(carried, last) { Memory = memory }, isPacked: sequence is not null));
    }

    /// <summary>The same for one token.</summary>
    private (Tensor Y, LayerState State) RecurOnce(Recurrence given, Tensor carried, LayerState state)
    {
        Recurrence changed = Cure?.Changed(given, state.Memory) ?? given;
        (Tensor y, Tensor last, CureMemory? memory) = Cure?.Step(changed, state.Recurrent, state.Memory) ?? Alone(given.Next(state.Recurrent));
        return (y + given.X * SkipColumns, Observed(given.Joined(), changed.Joined(), state, new LayerState(carried, last) { Memory = memory }, isPacked: false));
    }

    /// <summary>The state with what is asked for beside it, after everybody who looks has seen it.</summary>
    private LayerState Observed(Recurrence given, Recurrence changed, LayerState? before, LayerState after, bool isPacked)
    {
        if (TracksRetention)
        {
            Tensor retained = (changed.Step * changed.A).Sum(1);
            after = after with { LogRetention = before?.LogRetention is { } past ? past + retained : retained };
        }
        Observer?.Invoke(new Observation(given, changed, before?.Recurrent ?? InitialState(given.X.Shape[0]), before?.Memory, isPacked, after, Cure, config));
        return after;
    }

    /// <summary>A token in the operations that make up <see cref="MixerStep"/>.</summary>
    private (Tensor Output, LayerState State) StepByStep(Tensor u, LayerState given)
    {
        (DType held, LayerState? state) = Widened(given);
        int batch = u.Shape[0];
        Tensor[] projected = Project(u);                                                                        // [B, E] [B, (E + 2GN) + H]
        Tensor token = projected[1].Reshape([batch, 1, projected[1].Shape[1]]);
        Tensor carried = token.Slice(2, 0, config.ConvolutionWidth).ConvolutionState(config.ConvolutionTaps, state!.Convolution);
        Tensor[] parts = token.MixerConvolution(config.InnerWidth, GroupWidth, Taps, convolutionBias?.Value, state.Convolution);
        (Tensor x, Tensor b, Tensor c) = InHeads(parts, batch);                                                 // [B, H, P] [B, G, N] [B, G, N]
        (Tensor y, LayerState next) = RecurOnce(new Recurrence(x, TimeStep(parts[3].Reshape([batch, config.Heads])), Decay, b, c), carried, state);
        return (Finish(y.Reshape([batch, config.InnerWidth]), projected[0]), next.HeldIn(held));
    }

    /// <summary>The type that states are held in between tokens, which is kept, and a state in the type that is computed with.</summary>
    private (DType Held, LayerState? State) Widened(LayerState? state) => (state?.Recurrent.DType ?? skip.Value.DType, state?.HeldIn(skip.Value.DType));

    // Matrix units make the longer product inside a chunk faster than memory takes and gives the states between twice as many.
    private int Chunk => Activations.IsNarrow() ? 2 * config.ChunkSize : config.ChunkSize;

    private MixerStep Middle => new(config.Groups, config.TimeStepLow, config.TimeStepHigh, convolutionBias is not null, GatesInStep);

    /// <summary>Whether y times its gate is all that the norm sees, and its rows are whole.</summary>
    private bool GatesInStep => normWeight is null || (!config.NormBeforeGate && (config.Groups == 1 || !config.NormPerGroup));

    private Tensor[] MiddleInputs(Tensor projected, LayerState state)
    {
        Tensor[] bias = convolutionBias is null ? [] : [convolutionBias.Value];
        return [projected, state.Convolution, state.Recurrent, Taps, .. bias, stepBias.Value, decayLog.Value, Skip];
    }

    private Tensor Taps => convolutionWeight.Value.Reshape([config.ConvolutionWidth, config.ConvolutionTaps]);

    /// <summary>A = −exp(A_log), [H].</summary>
    private Tensor Decay => -decayLog.Value.Exp();

    private Tensor Skip => config.SkipPerChannel ? skip.Value.Reshape([config.Heads, config.HeadSize]) : skip.Value;

    /// <summary>D beside x, [H, P] or [H, 1].</summary>
    private Tensor SkipColumns => skip.Value.Reshape([config.Heads, config.SkipPerChannel ? config.HeadSize : 1]);

    private Tensor? InitialState(int batch) => initialState?.Value.Broadcast([batch, config.Heads, config.HeadSize, config.StateSize]);

    /// <summary>z, and xBC with Δ̂ beside. In 16 bits z has a product of its own, so that it need not be copied nor kept twice.</summary>
    private Tensor[] Project(Tensor u)
    {
        int[] rows = [config.InnerWidth, config.ConvolutionWidth + config.Heads];
        if (!u.DType.IsNarrow())
            return Linear(u, inWeight, inBias, InAdapter).Split(-1, rows);
        Tensor[]? biases = inBias?.Value.Split(0, rows);
        return [.. inWeight.Value.Cast(u.DType).Split(0, rows).Select((weight, part) => Product(u, weight, biases?[part]))];
    }

    private (Tensor X, Tensor B, Tensor C, Tensor RawStep) Convolve(Tensor projected, Tensor? before, Tensor? sequence)
    {
        Tensor[] parts = projected.MixerConvolution(config.InnerWidth, GroupWidth, Taps, convolutionBias?.Value, before, sequence);
        (Tensor x, Tensor b, Tensor c) = InHeads(parts, projected.Shape[0], projected.Shape[1]);
        return (x, b, c, parts[3]);
    }

    private int GroupWidth => config.Groups * config.StateSize;

    /// <summary>x, B and C, the first three parts, by heads and groups.</summary>
    private (Tensor X, Tensor B, Tensor C) InHeads(Tensor[] parts, params ReadOnlySpan<int> leading)
    {
        Shape group = [.. leading, config.Groups, config.StateSize];
        return (parts[0].Reshape([.. leading, config.Heads, config.HeadSize]), parts[1].Reshape(group), parts[2].Reshape(group));
    }

    /// <summary>Δ = clamp(softplus(Δ̂ + b)).</summary>
    private Tensor TimeStep(Tensor raw)
    {
        Tensor step = (raw.Cast(stepBias.Value.DType) + stepBias.Value).Softplus();
        bool limited = config.TimeStepLow > 0 || config.TimeStepHigh < double.PositiveInfinity;
        return limited ? step.Clamp(config.TimeStepLow, config.TimeStepHigh) : step;
    }

    private Tensor Finish(Tensor y, Tensor z, Tensor? residual = null)
    {
        Tensor gated = normWeight is null
            ? (y.Cast(skip.Value.DType) * z.Cast(skip.Value.DType).Silu()).Cast(y.DType)
            : y.GatedRmsNorm(z, normWeight.Value, config.NormEpsilon, config.NormPerGroup ? config.Groups : 1, config.NormBeforeGate);
        return Linear(gated, outWeight, outBias, OutAdapter, residual);
    }

    /// <summary>The same for one token, whose gate may have been applied already.</summary>
    private Tensor FinishStep(Tensor y, Tensor projected) =>
        GatesInStep ? Linear(normWeight is null ? y : y.RmsNorm(normWeight.Value, config.NormEpsilon), outWeight, outBias, OutAdapter) : Finish(y, projected.Slice(1, 0, config.InnerWidth));

    private static (Tensor Y, Tensor State, CureMemory? Memory) Alone((Tensor Y, Tensor State) result) => (result.Y, result.State, null);

    /// <summary>W x + b, and what an adapter adds; with a residual that is added, too, in its type.</summary>
    private Tensor Linear(Tensor x, Parameter weight, Parameter? bias, LowRankAdapter? adapter, Tensor? residual = null)
    {
        // The product writes one sum; a bias comes before a residual.
        Tensor? added = bias?.Value ?? residual;
        Tensor y = Product(x, x.DType.IsNarrow() ? weight.Value.Cast(x.DType) : weight.Value, added, residual?.DType);
        if (bias is not null && residual is not null)
            y = residual + y;
        return adapter is null ? y : y + adapter.Apply(x, Precision);
    }

    private Tensor Product(Tensor x, Tensor weight, Tensor? added, DType? result = null) =>
        x.MatMul(weight, transposeB: true, precision: Precision, result: result == x.DType ? null : result, addend: added);

    private static Tensor Biased(Tensor y, Tensor? bias) => bias is null ? y : (y.Cast(bias.DType) + bias).Cast(y.DType);

    /// <summary>Log-uniform between the limits, but no smaller than the floor.</summary>
    private static double DrawTimeStep(Mamba2Config config, Philox random)
    {
        (double low, double high) = (Math.Log(config.TimeStepMin), Math.Log(config.TimeStepMax));
        return Math.Max(Math.Exp(Between((low, high), random)), config.TimeStepFloor);
    }

    /// <summary>log(−A), with −A uniform or log-uniform on its range.</summary>
    private static double DrawDecayLog(Mamba2Config config, Philox random) => config.DrawsDecayInLog
        ? Between((Math.Log(config.DecayRange.Low), Math.Log(config.DecayRange.High)), random)
        : Math.Log(Between(config.DecayRange, random));

    private static double Between((double Low, double High) range, Philox random) => range.Low + (range.High - range.Low) * random.NextDouble();

    /// <summary>x with softplus(x) = y; exact for small y too.</summary>
    private static double InverseSoftplus(double y) => y > 30 ? y : y + Math.Log(1 - Math.Exp(-y));
}
