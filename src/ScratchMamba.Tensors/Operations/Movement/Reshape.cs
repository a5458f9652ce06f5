namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The same elements in row-major order under another shape; nothing is copied.</summary>
    public static Tensor Reshape(this Tensor x, Shape shape) => x.Shape == shape ? x : Tensor.Apply(new Reshape(shape), x);
}

/// <summary>The same elements in row-major order under another shape, of as many elements.</summary>
public readonly record struct Reshape(Shape Shape) : IViewPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Reshape), inputs, 1);
        ShapeException.ThrowUnless(inputs[0].Count == Shape.Count, nameof(Reshape), $"{Shape} must have as many elements", inputs);
        return [new TensorType(inputs[0].DType, Shape)];
    }

    /// <summary>Never called: the result shares its input's data.</summary>
    public void Compute(CpuCall call) => throw new InvalidOperationException();

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).Reshape(call.InputType(0).Shape)];
}
