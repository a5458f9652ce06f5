using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>x²</c>, element by element.</summary>
    public static Tensor Square(this Tensor x) => Tensor.Apply(new Square(), x);
}

/// <summary>The square, element by element: <c>y = x²</c>.</summary>
public readonly record struct Square : IPrimitive, IUnaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Square), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("square", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) * call.Input(0) * 2];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y) => TensorPrimitives.Multiply(x, x, y);
}
