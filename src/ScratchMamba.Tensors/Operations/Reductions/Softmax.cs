using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>eˣ / Σ eˣ</c> along an axis (−1 is the last); never overflows. NaN where all elements along the axis are −∞.</summary>
    public static Tensor Softmax(this Tensor x, int axis) => Tensor.Apply(new Softmax(x.Shape.Axis(axis)), x);
}

/// <summary>Normalised exponentials along one axis: <c>yᵢ = e^(xᵢ − m) / Σⱼ e^(xⱼ − m)</c> with <c>m = max x</c>.</summary>
public readonly record struct Softmax(int Axis) : IPrimitive, IAxisKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.Unary(nameof(Softmax), inputs);
        Rules.RequireAxis(nameof(Softmax), inputs, Axis);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call) => AxisLoops.Run(call, Axis, 12, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => LineLaunch.Exponentials("softmax", call, Axis);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor y = call.Output(0), weighted = call.Gradient(0) * y;
        return [weighted - y * weighted.Sum(Axis, keep: true)];
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor terms = (inputs[0] - inputs[0].Max(Axis, keep: true)).Exp();
        return [terms / terms.Sum(Axis, keep: true)];
    }

    void IAxisKernel.Row<T>(ReadOnlySpan<T> x, Span<T> y)
    {
        if (x.IsEmpty)
            return;
        TensorPrimitives.Subtract(x, TensorPrimitives.Max(x), y);
        VectorMath.Map<Exp, T>(y, y);
        TensorPrimitives.Divide(y, TensorPrimitives.Sum<T>(y), y);
    }

    unsafe void IAxisKernel.Columns<T>(T* x, T* y, int extent, int pitch, int width)
    {
        Span<T> max = stackalloc T[width], sum = stackalloc T[width];
        max.Fill(T.NegativeInfinity);
        sum.Clear();
        for (int i = 0; i < extent; i++)
            TensorPrimitives.Max(max, new ReadOnlySpan<T>(x + (long)i * pitch, width), max);
        for (int i = 0; i < extent; i++)
        {
            var term = new Span<T>(y + (long)i * pitch, width);
            TensorPrimitives.Subtract(new ReadOnlySpan<T>(x + (long)i * pitch, width), max, term);
            VectorMath.Map<Exp, T>(term, term);
            TensorPrimitives.Add(sum, term, sum);
        }
        for (int i = 0; i < extent; i++)
        {
            var term = new Span<T>(y + (long)i * pitch, width);
            TensorPrimitives.Divide(term, sum, term);
        }
    }
}
