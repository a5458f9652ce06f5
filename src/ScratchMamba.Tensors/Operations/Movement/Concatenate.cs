namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>Puts tensors behind each other along an axis (−1 is the last); all other extents are equal.</summary>
    /// <exception cref="ShapeException">Extents other than the axis's differ, or element types do.</exception>
    public static Tensor Concatenate(int axis, params ReadOnlySpan<Tensor> tensors)
    {
        if (tensors.IsEmpty)
            throw new ShapeException("Concatenate: takes at least one tensor");
        axis = tensors[0].Shape.Axis(axis);
        return tensors.Length == 1 ? tensors[0] : Tensor.Apply(new Concatenate(axis), tensors);
    }
}

/// <summary>Tensors behind each other along one axis.</summary>
public readonly record struct Concatenate(int Axis) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        if (inputs.IsEmpty)
            throw new ShapeException($"{nameof(Concatenate)}: takes at least one tensor");
        Rules.RequireAxis(nameof(Concatenate), inputs, Axis);
        Rules.RefuseQuantized(nameof(Concatenate), inputs);
        int total = 0;
        foreach (TensorType type in inputs)
        {
            ShapeException.ThrowUnless(
                type.DType == inputs[0].DType && type.Shape.Rank == inputs[0].Shape.Rank && type.Shape.With(Axis, 0) == inputs[0].Shape.With(Axis, 0),
                nameof(Concatenate), $"tensors must have one element type and be equal in all axes but {Axis}", inputs);
            total = checked(total + type.Shape[Axis]);
        }
        return [inputs[0] with { Shape = inputs[0].Shape.With(Axis, total) }];
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        Shape shape = call.OutputType(0).Shape;
        long inner = shape.Product(Axis + 1, shape.Rank) * call.DType.Size();
        byte* target = call.OutputBytes(0);
        for (int i = 0; i < call.InputCount; i++)
        {
            long length = call.InputType(i).Shape[Axis] * inner;
            new BlockCopy
            {
                Source = call.InputBytes(i), SourcePitch = length, Target = target, TargetPitch = shape[Axis] * inner, Length = length, Rows = shape.Product(0, Axis),
            }.Run(call.Threads);
            target += length;
        }
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape shape = call.Outputs[0].Shape;
        long inner = shape.Product(Axis + 1, shape.Rank), target = 0;
        var lengths = new long[call.Inputs.Length];
        for (int i = 0; i < lengths.Length; i++)
            lengths[i] = call.Inputs[i].Shape[Axis] * inner;
        if (CopyLaunch.PerWord(call.Inputs[0].DType, lengths) is not { } perWord)
            return null;
        List<Dispatch> dispatches = [];
        for (int i = 0; i < call.Inputs.Length; i++)
        {
            long length = lengths[i] / perWord;
            new CopyLaunch { Target = target }.With(shape.Product(0, Axis), length, shape[Axis] * inner / perWord).With(length, 1, 1)
                .AddTo(dispatches, Slot.In(i), Slot.OutPart(0), call.Device);
            target += length;
        }
        return new Launch(dispatches);
    }

    /// <inheritdoc/>
    public Tensor[]? Definition(ReadOnlySpan<Tensor> inputs) => Widening.IsAnyNarrow(inputs) ? Widening.Run(this, this, inputs) : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var sizes = new int[call.InputCount];
        for (int i = 0; i < sizes.Length; i++)
            sizes[i] = call.InputType(i).Shape[Axis];
        return call.Gradient(0).Split(Axis, sizes);
    }
}
