using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The largest element along an axis (−1 is the last), which disappears or, with <paramref name="keep"/>, becomes 1. Equal largest elements share the gradient.</summary>
    /// <exception cref="ShapeException">The axis is empty.</exception>
    public static Tensor Max(this Tensor x, int axis, bool keep = false)
    {
        axis = x.Shape.Axis(axis);
        Tensor max = Tensor.Apply(new Max(axis), x);
        return keep ? max : max.Reshape(x.Shape.Without(axis));
    }
}

/// <summary>
/// Largest element along one axis, which becomes 1: <c>y[…, 0, …] = maxᵢ x[…, i, …]</c>; NaN where any is NaN.
/// Where several elements are largest, each gets an equal share of the gradient.
/// </summary>
public readonly record struct Max(int Axis) : IPrimitive, IAxisKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0) | Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.Unary(nameof(Max), inputs);
        Rules.RequireAxis(nameof(Max), inputs, Axis);
        ShapeException.ThrowUnless(inputs[0].Shape[Axis] > 0, nameof(Max), $"axis {Axis} must not be empty", inputs);
        return [inputs[0] with { Shape = inputs[0].Shape.With(Axis, 1) }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call) => AxisLoops.Run(call, Axis, 1, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => LineLaunch.Reduce("max", call, Axis);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor largest = call.Input(0).Equal(call.Output(0));
        return [largest * (call.Gradient(0) / largest.Sum(Axis, keep: true))];
    }

    void IAxisKernel.Row<T>(ReadOnlySpan<T> x, Span<T> y) => y[0] = TensorPrimitives.Max(x);

    unsafe void IAxisKernel.Columns<T>(T* x, T* y, int extent, int pitch, int width)
    {
        var max = new Span<T>(y, width);
        new ReadOnlySpan<T>(x, width).CopyTo(max);
        for (int i = 1; i < extent; i++)
            TensorPrimitives.Max(max, new ReadOnlySpan<T>(x + (long)i * pitch, width), max);
    }
}
