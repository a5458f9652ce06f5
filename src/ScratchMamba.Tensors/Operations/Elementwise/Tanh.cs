using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>tanh x</c>, element by element.</summary>
    public static Tensor Tanh(this Tensor x) => Tensor.Apply(new Tanh(), x);
}

/// <summary>The hyperbolic tangent, element by element: <c>y = tanh x</c>.</summary>
public readonly record struct Tanh : IPrimitive, IUnaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Tanh), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("tanh", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) * (1 - call.Output(0).Square())];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y) => TensorPrimitives.Tanh(x, y);
}
