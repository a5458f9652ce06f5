using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>1/√x</c>, element by element; +∞ at 0 and NaN below.</summary>
    public static Tensor ReciprocalSqrt(this Tensor x) => Tensor.Apply(new ReciprocalSqrt(), x);
}

/// <summary>The reciprocal square root, element by element: <c>y = 1/√x</c>.</summary>
public readonly record struct ReciprocalSqrt : IPrimitive, IUnaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(ReciprocalSqrt), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("reciprocal_sqrt", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor y = call.Output(0);
        return [call.Gradient(0) * (y.Square() * y * -0.5)];
    }


    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y)
    {
        // Not the hardware's estimate: root and quotient are each correctly rounded.
        TensorPrimitives.Sqrt(x, y);
        TensorPrimitives.Divide(T.One, y, y);
    }
}
