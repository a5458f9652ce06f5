namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>Cuts an axis (−1 is the last) into consecutive parts of the given sizes, which add up to its extent.</summary>
    /// <exception cref="ShapeException">The sizes do not add up.</exception>
    public static Tensor[] Split(this Tensor x, int axis, params ReadOnlySpan<int> sizes) =>
        Tensor.ApplyAll(new Split(x.Shape.Axis(axis), sizes.ToArray()), x);
}

/// <summary>One axis cut into consecutive parts, one for each output.</summary>
public readonly record struct Split(int Axis, int[] Sizes) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Split), inputs, 1);
        Rules.RequireAxis(nameof(Split), inputs, Axis);
        Rules.RefuseQuantized(nameof(Split), inputs);
        long total = 0;
        bool negative = false;
        foreach (int size in Sizes)
        {
            total += size;
            negative |= size < 0;
        }
        ShapeException.ThrowUnless(
            !negative && total == inputs[0].Shape[Axis], nameof(Split), $"sizes [{string.Join(", ", Sizes)}] must add up to the extent of axis {Axis}", inputs);
        var types = new TensorType[Sizes.Length];
        for (int i = 0; i < types.Length; i++)
            types[i] = inputs[0] with { Shape = inputs[0].Shape.With(Axis, Sizes[i]) };
        return types;
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        Shape shape = call.InputType(0).Shape;
        long inner = shape.Product(Axis + 1, shape.Rank) * call.DType.Size();
        byte* source = call.InputBytes(0);
        for (int i = 0; i < Sizes.Length; i++)
        {
            long length = Sizes[i] * inner;
            new BlockCopy
            {
                Source = source, SourcePitch = shape[Axis] * inner, Target = call.OutputBytes(i), TargetPitch = length, Length = length, Rows = shape.Product(0, Axis),
            }.Run(call.Threads);
            source += length;
        }
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape shape = call.Inputs[0].Shape;
        long inner = shape.Product(Axis + 1, shape.Rank), source = 0;
        if (CopyLaunch.PerWord(call.Inputs[0].DType, [.. Sizes.Select(size => size * inner)]) is not { } perWord)
            return null;
        List<Dispatch> dispatches = [];
        for (int i = 0; i < Sizes.Length; i++)
        {
            long length = Sizes[i] * inner / perWord;
            new CopyLaunch { Source = source }.With(shape.Product(0, Axis), shape[Axis] * inner / perWord, length).With(length, 1, 1)
                .AddTo(dispatches, Slot.In(0), Slot.Out(i), call.Device);
            source += length;
        }
        return new Launch(dispatches);
    }

    /// <inheritdoc/>
    public Tensor[]? Definition(ReadOnlySpan<Tensor> inputs) => Widening.IsAnyNarrow(inputs) ? Widening.Run(this, this, inputs) : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var gradients = new Tensor[Sizes.Length];
        for (int i = 0; i < gradients.Length; i++)
            gradients[i] = call.Gradient(i);
        return [TensorOperations.Concatenate(Axis, gradients)];
    }

    /// <summary>For example <c>Split { Axis = 1, Sizes = [2, 3] }</c>.</summary>
    public override string ToString() => $"Split {{ Axis = {Axis}, Sizes = [{string.Join(", ", Sizes)}] }}";
}
