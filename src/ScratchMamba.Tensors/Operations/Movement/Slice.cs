namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>y[…, i, …] = x[…, start + i, …]</c> for i in [0, length): a part of one axis (−1 is the last).</summary>
    /// <exception cref="ShapeException">The part does not lie within the axis.</exception>
    public static Tensor Slice(this Tensor x, int axis, int start, int length)
    {
        axis = x.Shape.Axis(axis);
        return start == 0 && length == x.Shape[axis] ? x : Tensor.Apply(new Slice(axis, start, length), x);
    }
}

/// <summary>A part of one axis: <c>y[…, i, …] = x[…, Start + i, …]</c> for i in [0, Length).</summary>
public readonly record struct Slice(int Axis, int Start, int Length) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Slice), inputs, 1);
        Rules.RequireAxis(nameof(Slice), inputs, Axis);
        Rules.RefuseQuantized(nameof(Slice), inputs);
        ShapeException.ThrowUnless(
            Start >= 0 && Length >= 0 && (long)Start + Length <= inputs[0].Shape[Axis], nameof(Slice),
            $"{Length} elements from {Start} on must lie within axis {Axis}", inputs);
        return [inputs[0] with { Shape = inputs[0].Shape.With(Axis, Length) }];
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        Shape shape = call.InputType(0).Shape;
        long inner = shape.Product(Axis + 1, shape.Rank) * call.DType.Size();
        new BlockCopy
        {
            Source = call.InputBytes(0) + Start * inner,
            SourcePitch = shape[Axis] * inner,
            Target = call.OutputBytes(0),
            TargetPitch = Length * inner,
            Length = Length * inner,
            Rows = shape.Product(0, Axis),
        }.Run(call.Threads);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape shape = call.Inputs[0].Shape;
        long inner = shape.Product(Axis + 1, shape.Rank), start = Start * inner, length = Length * inner, pitch = shape[Axis] * inner;
        if (CopyLaunch.PerWord(call.Inputs[0].DType, start, length, pitch) is not { } perWord)
            return null;
        (start, length, pitch) = (start / perWord, length / perWord, pitch / perWord);
        return new CopyLaunch { Source = start }.With(shape.Product(0, Axis), pitch, length).With(length, 1, 1).ToLaunch(call.Device);
    }

    /// <inheritdoc/>
    public Tensor[]? Definition(ReadOnlySpan<Tensor> inputs) => Widening.IsAnyNarrow(inputs) ? Widening.Run(this, this, inputs) : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).Pad(Axis, Start, call.InputType(0).Shape[Axis] - Start - Length)];
}
