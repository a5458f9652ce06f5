using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>ln x</c>, element by element; −∞ at 0 and NaN below.</summary>
    public static Tensor Log(this Tensor x) => Tensor.Apply(new Log(), x);
}

/// <summary>The natural logarithm, element by element: <c>y = ln x</c>.</summary>
public readonly record struct Log : IPrimitive, IUnaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Log), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("log", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) / call.Input(0)];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y) => TensorPrimitives.Log(x, y);
}
