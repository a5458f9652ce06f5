using System.Buffers;
using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// Causal convolution of each channel with its own taps: <c>y[t] = bias + Σₖ w[k] · x[t − (K − 1) + k]</c>, then SiLU if asked; tap K − 1 multiplies the current input.
    /// </summary>
    /// <param name="x">[B, L, C].</param>
    /// <param name="weight">w, [C, K] with K ≥ 1.</param>
    /// <param name="bias">[C], or none.</param>
    /// <param name="initial">
    /// The inputs before position 0, oldest first, [B, K − 1, C]; zeros where left out. They belong to the document of position 0.
    /// <see cref="ConvolutionState"/> makes them for the next segment, so a decoding loop calls this with L = 1.
    /// </param>
    /// <param name="sequence">The document that each position belongs to, I32 [B, L]: inputs of another document count as zero. A document's positions are adjacent.</param>
    /// <param name="silu">Whether SiLU follows: <c>y · σ(y)</c>.</param>
    /// <exception cref="ShapeException">The shapes are not as above.</exception>
    public static Tensor CausalConvolution(this Tensor x, Tensor weight, Tensor? bias = null, Tensor? initial = null, Tensor? sequence = null, bool silu = false)
    {
        var inputs = new List<Tensor> { x, weight };
        if (bias is not null)
            inputs.Add(bias);
        if (initial is not null)
            inputs.Add(initial);
        if (sequence is not null)
            inputs.Add(sequence);
        return Tensor.Apply(new CausalConvolution(bias is not null, initial is not null, sequence is not null, silu), [.. inputs]);
    }
}

/// <summary>
/// Causal convolution of each channel with its own taps: <c>y[t] = bias + Σₖ w[k] · x[t − (K − 1) + k]</c>, then SiLU if asked.
/// Inputs x [B, L, C], w [C, K], then those of bias [C], initial [B, K − 1, C] and sequence I32 [B, L] that are present.
/// </summary>
public readonly record struct CausalConvolution(bool HasBias, bool HasInitial, bool HasSequence, bool Silu) : IPrimitive
{
    /// <summary>Invocations of a workgroup of the shaders.</summary>
    internal const int Workgroup = 64;

    // Positions that one invocation of the shader computes: TIME there.
    private const int PositionsOfInvocation = 16;

    /// <summary>The most taps that the shaders take: they keep them in registers.</summary>
    internal const int MostTaps = 64;

    private readonly record struct Scalars(uint Batches, uint Length, uint Channels, uint Runs, ConvolutionColumns Columns);

    /// <summary>How many inputs there are.</summary>
    internal int InputCount => 2 + (HasBias ? 1 : 0) + (HasInitial ? 1 : 0) + (HasSequence ? 1 : 0);

    internal int InitialIndex => HasBias ? 3 : 2;

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(CausalConvolution), inputs, InputCount);
        Check(nameof(CausalConvolution), inputs);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        ConvolutionColumns columns = ConvolutionColumns.All(call.InputType(0).Shape[2]);
        if (call.DType == DType.F64)
            Compute<double>(call, columns);
        else
            Compute<float>(call, columns);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape x = call.Inputs[0].Shape;
        if (Code(call.Inputs, x[2]) is not { } code || call.Inputs[1].Shape[1] > MostTaps)
            return null;
        return x.Count == 0 ? Tensors.Launch.Nothing : Dispatched(x[0], x[1], call.Inputs[1].Shape, code, ConvolutionColumns.All(x[2]), Slot.Out(0), Slot.Out(0), Slot.Out(0));
    }

    /// <summary>The dispatch, from columns of the first input to three parts.</summary>
    internal Dispatch Dispatched(int batches, int length, Shape weight, uint code, ConvolutionColumns columns, Slot first, Slot second, Slot third)
    {
        long runs = (length + PositionsOfInvocation - 1) / PositionsOfInvocation;
        return Dispatch.Linear(
            "causal_convolution", (batches * runs * ((weight[0] + 3) / 4) + Workgroup - 1) / Workgroup,
            [.. InputSlots(), first, second, third], new Scalars((uint)batches, (uint)length, (uint)weight[0], (uint)runs, columns), Constants(weight[1], code, columns, PositionsOfInvocation));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var inputs = new Tensor[InputCount + 1];
        for (int i = 0; i < InputCount; i++)
            inputs[i] = call.Input(i);
        inputs[^1] = call.Gradient(0);
        Tensor?[] gradients = Tensor.ApplyAll(new CausalConvolutionGradient(HasBias, HasInitial, HasSequence, Silu), inputs);
        if (HasSequence)
            Array.Resize(ref gradients, InputCount);
        return gradients;
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor x = inputs[0], weight = inputs[1];
        int batch = x.Shape[0], length = x.Shape[1], channels = x.Shape[2], taps = weight.Shape[1];
        Tensor before = HasInitial ? inputs[InitialIndex] : x.Backend.Zeros(new TensorType(x.DType, [batch, taps - 1, channels]));
        Tensor padded = TensorOperations.Concatenate(1, before, x);
        Tensor? documents = HasSequence ? inputs[InputCount - 1].Cast(x.DType).Reshape([batch, length, 1]) : null;
        Tensor? paddedDocuments = documents is null ? null
            : TensorOperations.Concatenate(1, documents.Slice(1, 0, Math.Min(1, length)).Broadcast([batch, taps - 1, 1]), documents);
        Tensor? y = null;
        for (int k = 0; k < taps; k++)
        {
            Tensor term = padded.Slice(1, k, length) * weight.Slice(1, k, 1).Reshape([channels]);
            if (documents is not null)
                term *= paddedDocuments!.Slice(1, k, length).Equal(documents);
            y = y is null ? term : y + term;
        }
        if (HasBias)
            y = y! + inputs[2];
        return [Silu ? y!.Silu() : y!];
    }

    /// <summary>The inputs of the shaders: x, w, bias, initial, sequence, with x in place of what is absent.</summary>
    internal Slot[] InputSlots() =>
    [
        Slot.In(0), Slot.In(1), Slot.In(HasBias ? 2 : 0), Slot.In(HasInitial ? InitialIndex : 0), Slot.In(HasSequence ? InputCount - 1 : 0),
    ];

    /// <summary>The specialization constants of the shaders.</summary>
    internal uint[] Constants(int taps, uint code, ConvolutionColumns columns, int positions) =>
        [Workgroup, (uint)taps, HasBias ? 1u : 0, HasInitial ? 1u : 0, HasSequence ? 1u : 0, Silu ? 1u : 0, code, columns.Pitch % 4 == 0 || code == Elements.Ragged ? 1u : 0, (uint)positions];

    /// <summary>How the shaders, which take four channels at a time, are told of the inputs' type; null where they do not read them.</summary>
    internal uint? Code(ReadOnlySpan<TensorType> inputs, int pitch)
    {
        DType type = inputs[0].DType;
        bool fits = type != DType.F64 && inputs[1].DType == DType.F32 && (!HasBias || inputs[2].DType == DType.F32) && (!HasInitial || inputs[InitialIndex].DType == type);
        int channels = inputs[0].Shape[2];
        // Rows of x in 16 bits may be read by pairs.
        return fits && Elements.Codes(type.IsNarrow() ? channels : channels | pitch, type) is [var code] ? code : null;
    }

    internal void Check(string operation, ReadOnlySpan<TensorType> inputs)
    {
        int floating = HasSequence ? InputCount - 1 : InputCount;
        Rules.RequireMixed(operation, inputs[..floating]);
        Shape x = inputs[0].Shape, weight = inputs[1].Shape;
        ShapeException.ThrowUnless(x.Rank == 3, operation, "x must be [batch, length, channels]", inputs);
        ShapeException.ThrowUnless(weight.Rank == 2 && weight[0] == x[2] && weight[1] >= 1, operation, "weight must be [channels, taps] with at least one tap", inputs);
        ShapeException.ThrowUnless(!HasBias || inputs[2].Shape == [x[2]], operation, "bias must be [channels]", inputs);
        ShapeException.ThrowUnless(
            !HasInitial || inputs[InitialIndex].Shape == [x[0], weight[1] - 1, x[2]], operation, "initial must be [batch, taps − 1, channels]", inputs);
        ShapeException.ThrowUnless(
            !HasSequence || inputs[floating] == new TensorType(DType.I32, [x[0], x[1]]), operation, "sequence must be I32 [batch, length]", inputs);
    }

    /// <summary>From columns of the first input to the first outputs.</summary>
    internal unsafe void Compute<T>(CpuCall call, ConvolutionColumns columns) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape weight = call.InputType(1).Shape;
        T[] scratch = ArrayPool<T>.Shared.Rent(checked((int)weight.Count));
        fixed (T* taps = scratch)
        {
            var body = new Body<T>
            {
                Signal = ConvolutionSignal<T>.Of(call, this, columns, taps),
                Bias = HasBias ? call.InputAddress<T>(2) : null,
                Y = new(
                    call.OutputAddress<T>(0), call.OutputCount > 1 ? call.OutputAddress<T>(1) : null, call.OutputCount > 2 ? call.OutputAddress<T>(2) : null, columns, weight[0]),
                Silu = Silu,
            };
            CpuParallel.For(call.Threads, body.Signal.Parts, (long)body.Signal.PartElements * (weight[1] + (Silu ? 8 : 0)), body);
        }
        ArrayPool<T>.Shared.Return(scratch);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public ConvolutionSignal<T> Signal;
        public T* Bias;
        public ConvolutionPieces<T> Y;
        public bool Silu;

        public readonly void Invoke(int index)
        {
            ConvolutionPart part = Signal.Part(index);
            Span<ConvolutionTerm<T>> room = Signal.Taps <= ConvolutionPart.TermsOnStack
                ? stackalloc ConvolutionTerm<T>[ConvolutionPart.TermsOnStack]
                : new ConvolutionTerm<T>[Signal.Taps];
            for (int t = part.Start; t < part.End; t++)
            {
                var y = new Span<T>(Y.Row(part, Signal.Row(part.Batch, t)), part.Count);
                ConvolutionLoops.WeightedSum(Signal.Sources(part, t, room), Bias is null ? null : Bias + part.Channel, y);
                if (Silu)
                    VectorMath.Map<Silu, T>(y, y);
            }
        }
    }
}

/// <summary>Where the channels of a convolution lie: first in rows of <paramref name="Pitch"/>; and how many belong to the first and the second piece of its results, the others to the third.</summary>
internal readonly record struct ConvolutionColumns(uint Pitch, uint First, uint Second)
{
    public const int Pieces = 3;

    /// <summary>The channels of a piece, of <paramref name="channels"/> altogether.</summary>
    public int Width(int piece, int channels) => piece switch { 0 => (int)First, 1 => (int)Second, _ => channels - (int)First - (int)Second };

    /// <summary>Rows of nothing else, results in one part.</summary>
    public static ConvolutionColumns All(int channels) => new((uint)channels, (uint)channels, 0);
}
