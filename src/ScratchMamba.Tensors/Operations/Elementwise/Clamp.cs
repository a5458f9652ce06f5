using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>min(max(x, low), high)</c>, element by element; the gradient passes where low ≤ x ≤ high.</summary>
    public static Tensor Clamp(this Tensor x, double low, double high) => Tensor.Apply(new Clamp(low, high), x);
}

/// <summary>Limits every element to an interval: <c>y = min(max(x, Low), High)</c>. Its derivative is 1 where Low ≤ x ≤ High, bounds included, and 0 elsewhere.</summary>
public readonly record struct Clamp(double Low, double High) : IPrimitive, IUnaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        TensorType[] types = Rules.Unary(nameof(Clamp), inputs);
        ShapeException.ThrowUnless(Low <= High, nameof(Clamp), $"the lower bound {Low} must not exceed the upper bound {High}", inputs);
        return types;
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("clamp", call, (float)Low, (float)High);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor x = call.Input(0);
        Tensor inside = x.GreaterOrEqual(call.Backend.Scalar(Low, x.DType)) * call.Backend.Scalar(High, x.DType).GreaterOrEqual(x);
        return [inside.Where(call.Gradient(0), call.Backend.Scalar(0, x.DType))];
    }

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y)
    {
        TensorPrimitives.Max(x, T.CreateChecked(Low), y);
        TensorPrimitives.Min(y, T.CreateChecked(High), y);
    }
}
