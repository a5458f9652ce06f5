using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// What a mixer makes of its projection beside z before the scan: x, B and C after causal convolution and SiLU, then Δ̂.
    /// </summary>
    /// <param name="projected">[B, L, (E + 2GN) + H].</param>
    /// <param name="inner">E.</param>
    /// <param name="groupWidth">GN.</param>
    /// <param name="weight">[E + 2GN, K].</param>
    /// <param name="bias">[E + 2GN]; null for none.</param>
    /// <param name="initial">The convolution's inputs before position 0, [B, K − 1, E + 2GN]; null for zeros.</param>
    /// <param name="sequence">The document that each position belongs to, I32 [B, L]; null for a single one.</param>
    /// <returns>x [B, L, E], B and C [B, L, GN] and Δ̂ [B, L, H].</returns>
    /// <exception cref="ShapeException">The shapes are not as above.</exception>
    public static Tensor[] MixerConvolution(
        this Tensor projected, int inner, int groupWidth, Tensor weight, Tensor? bias = null, Tensor? initial = null, Tensor? sequence = null)
    {
        Tensor[] inputs = [projected, weight, .. new[] { bias, initial, sequence }.OfType<Tensor>()];
        return Tensor.ApplyAll(new MixerConvolution(inner, groupWidth, bias is not null, initial is not null, sequence is not null), inputs);
    }
}

/// <summary>
/// What a mixer makes of its projection beside z before the scan: the columns xBC and Δ̂; xBC after causal convolution and SiLU; x, B and C. In one pass, so that the columns
/// are not copied to be convolved and the results not to be parted. Inputs the projection [B, L, (E + 2GN) + H], w [E + 2GN, K], then those of bias [E + 2GN],
/// initial [B, K − 1, E + 2GN] and sequence I32 [B, L] that are present. Outputs x [B, L, E], B and C [B, L, GN] and Δ̂ [B, L, H].
/// </summary>
/// <param name="Inner">E.</param>
/// <param name="GroupWidth">GN.</param>
/// <param name="HasBias">Whether there is a bias.</param>
/// <param name="HasInitial">Whether there are inputs before position 0.</param>
/// <param name="HasSequence">Whether positions belong to documents.</param>
public readonly record struct MixerConvolution(int Inner, int GroupWidth, bool HasBias, bool HasInitial, bool HasSequence) : IPrimitive
{
    internal CausalConvolution Convolution => new(HasBias, HasInitial, HasSequence, Silu: true);

    internal int Channels => Inner + 2 * GroupWidth;

    internal const int Results = 4;

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(MixerConvolution), inputs, Convolution.InputCount);
        TensorType whole = inputs[0];
        ShapeException.ThrowUnless(
            whole.Shape.Rank == 3 && whole.Shape[2] > Channels, nameof(MixerConvolution), $"the projection must be [batch, length, {Channels} + heads]", inputs);
        Convolution.Check(nameof(MixerConvolution), Convolved(inputs));
        TensorType Columns(int count) => whole with { Shape = whole.Shape.With(2, count) };
        return [Columns(Inner), Columns(GroupWidth), Columns(GroupWidth), Columns(whole.Shape[2] - Channels)];
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        ConvolutionColumns columns = Columns(call.InputType(0).Shape);
        if (call.DType == DType.F64)
            Convolution.Compute<double>(call, columns);
        else
            Convolution.Compute<float>(call, columns);
        CopySteps(call.InputBytes(0), call.OutputBytes(3), call.InputType(0), isForward: true, call.Threads);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape whole = call.Inputs[0].Shape;
        if (Code(call.Inputs) is not { } code)
            return null;
        if (whole.Count == 0)
            return Tensors.Launch.Nothing;
        List<Dispatch> dispatches = [Convolution.Dispatched(whole[0], whole[1], call.Inputs[1].Shape, code, Columns(whole), Slot.Out(0), Slot.Out(1), Slot.Out(2))];
        int perWord = sizeof(uint) / call.Inputs[0].DType.Size(), steps = (whole[2] - Channels) / perWord;
        new CopyLaunch { Source = Channels / perWord }.With(whole.Product(0, 2), whole[2] / perWord, steps).With(steps, 1, 1).AddTo(dispatches, Slot.In(0), Slot.Out(3), call.Device);
        return new Launch(dispatches);
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        int count = Convolution.InputCount;
        var inputs = new Tensor[count + Results];
        for (int i = 0; i < count; i++)
            inputs[i] = call.Input(i);
        for (int i = 0; i < Results; i++)
            inputs[count + i] = call.Gradient(i);
        Tensor?[] gradients = Tensor.ApplyAll(new MixerConvolutionGradient(Inner, GroupWidth, HasBias, HasInitial, HasSequence), inputs);
        if (HasSequence)
            Array.Resize(ref gradients, count);
        return gradients;
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor[] parts = inputs[0].Split(2, Channels, inputs[0].Shape[2] - Channels);
        return [.. Tensor.Apply(Convolution, [parts[0], .. inputs[1..]]).Split(2, Inner, GroupWidth, GroupWidth), parts[1]];
    }

    /// <summary>The inputs of the convolution.</summary>
    internal TensorType[] Convolved(ReadOnlySpan<TensorType> inputs) => [inputs[0] with { Shape = inputs[0].Shape.With(2, Channels) }, .. inputs[1..Convolution.InputCount]];

    internal ConvolutionColumns Columns(Shape whole) => new((uint)whole[2], (uint)Inner, (uint)GroupWidth);

    /// <summary>Δ̂ out of the projection, or its gradient back there.</summary>
    internal unsafe void CopySteps(byte* source, byte* target, TensorType whole, bool isForward, int threads)
    {
        long size = whole.DType.Size(), pitch = whole.Shape[2] * size, offset = Channels * size, length = pitch - offset;
        new BlockCopy
        {
            Source = isForward ? source + offset : source, SourcePitch = isForward ? pitch : length,
            Target = isForward ? target : target + offset, TargetPitch = isForward ? length : pitch,
            Length = length, Rows = whole.Shape.Product(0, 2),
        }.Run(threads);
    }

    /// <summary>How the shaders are told of the inputs' type; null where they do not read them: four channels stay together, and pairs of columns.</summary>
    internal uint? Code(ReadOnlySpan<TensorType> inputs)
    {
        bool areTogether = Inner % 4 == 0 && GroupWidth % 4 == 0 && inputs[0].Shape[2] % 2 == 0;
        return areTogether && inputs[1].Shape[1] <= CausalConvolution.MostTaps ? Convolution.Code(Convolved(inputs), inputs[0].Shape[2]) : null;
    }
}

/// <summary>The gradients of <see cref="MixerConvolution"/> for the projection, w and, if said so, bias and initial inputs. Inputs those of MixerConvolution, then the gradients of its four results.</summary>
/// <param name="Inner">E.</param>
/// <param name="GroupWidth">GN.</param>
/// <param name="HasBias">Whether there is a bias.</param>
/// <param name="HasInitial">Whether there are inputs before position 0.</param>
/// <param name="HasSequence">Whether positions belong to documents.</param>
public readonly record struct MixerConvolutionGradient(int Inner, int GroupWidth, bool HasBias, bool HasInitial, bool HasSequence) : IPrimitive
{
    private MixerConvolution Forward => new(Inner, GroupWidth, HasBias, HasInitial, HasSequence);

    private CausalConvolutionGradient Convolution => new(HasBias, HasInitial, HasSequence, Silu: true);

    private int InputCount => Forward.Convolution.InputCount;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(MixerConvolutionGradient), inputs, InputCount + MixerConvolution.Results);
        TensorType[] results = Forward.Infer(inputs[..InputCount]);
        for (int i = 0; i < results.Length; i++)
            ShapeException.ThrowUnless(inputs[InputCount + i] == results[i], nameof(MixerConvolutionGradient), "the last four inputs must be the gradients of the results", inputs);
        return inputs[..(HasSequence ? InputCount - 1 : InputCount)].ToArray();
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        ConvolutionColumns columns = Forward.Columns(call.InputType(0).Shape);
        if (call.DType == DType.F64)
            Convolution.Compute<double>(call, columns);
        else
            Convolution.Compute<float>(call, columns);
        Forward.CopySteps(call.InputBytes(InputCount + 3), call.OutputBytes(0), call.InputType(0), isForward: false, call.Threads);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape whole = call.Inputs[0].Shape;
        if (Forward.Code(call.Inputs) is not { } code)
            return null;
        Launch convolution = Convolution.Planned(
            call.Device, whole[0], whole[1], call.Inputs[1].Shape, code, Forward.Columns(whole), Slot.In(InputCount), Slot.In(InputCount + 1), Slot.In(InputCount + 2), Slot.OutPart(0));
        List<Dispatch> dispatches = [];
        int perWord = sizeof(uint) / call.Inputs[0].DType.Size(), steps = (whole[2] - Forward.Channels) / perWord;
        new CopyLaunch { Target = Forward.Channels / perWord }.With(whole.Product(0, 2), steps, whole[2] / perWord).With(steps, 1, 1)
            .AddTo(dispatches, Slot.In(InputCount + 3), Slot.OutPart(0), call.Device);
        return new Launch([.. dispatches, .. convolution.Dispatches], convolution.ScratchBytes);
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        ReadOnlySpan<Tensor> results = inputs[InputCount..];
        Tensor xBC = inputs[0].Slice(2, 0, Forward.Channels), mixed = TensorOperations.Concatenate(2, results[0], results[1], results[2]);
        Tensor[] gradients = Tensor.ApplyAll(Convolution, [xBC, .. inputs[1..InputCount], mixed]);
        return [TensorOperations.Concatenate(2, gradients[0], results[3]), .. gradients[1..]];
    }
}
