using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>ln Σ eˣ</c> along an axis (−1 is the last), which disappears or, with <paramref name="keep"/>, becomes 1; never overflows. −∞ where all elements are.</summary>
    public static Tensor LogSumExp(this Tensor x, int axis, bool keep = false)
    {
        axis = x.Shape.Axis(axis);
        Tensor sum = Tensor.Apply(new LogSumExp(axis), x);
        return keep ? sum : sum.Reshape(x.Shape.Without(axis));
    }
}

/// <summary>Logarithm of a sum of exponentials along one axis, which becomes 1: <c>y = m + ln Σᵢ e^(xᵢ − m)</c> with <c>m = max x</c>; m itself where that is infinite.</summary>
public readonly record struct LogSumExp(int Axis) : IPrimitive, IAxisKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.Unary(nameof(LogSumExp), inputs);
        Rules.RequireAxis(nameof(LogSumExp), inputs, Axis);
        ShapeException.ThrowUnless(inputs[0].Shape[Axis] > 0, nameof(LogSumExp), $"axis {Axis} must not be empty", inputs);
        return [inputs[0] with { Shape = inputs[0].Shape.With(Axis, 1) }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call) => AxisLoops.Run(call, Axis, 12, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => LineLaunch.Exponentials("log_sum_exp", call, Axis);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) * call.Input(0).Softmax(Axis)];

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor max = inputs[0].Max(Axis, keep: true);
        return [(inputs[0] - max).Exp().Sum(Axis, keep: true).Log() + max];
    }

    void IAxisKernel.Row<T>(ReadOnlySpan<T> x, Span<T> y)
    {
        T max = TensorPrimitives.Max(x), sum = T.Zero;
        Span<T> terms = stackalloc T[AxisLoops.Width];
        for (int i = 0; i < x.Length; i += terms.Length)
        {
            ReadOnlySpan<T> part = x.Slice(i, Math.Min(terms.Length, x.Length - i));
            TensorPrimitives.Subtract(part, max, terms);
            VectorMath.Map<Exp, T>(terms[..part.Length], terms);
            sum += TensorPrimitives.Sum<T>(terms[..part.Length]);
        }
        y[0] = T.IsInfinity(max) ? max : max + T.Log(sum);
    }

    unsafe void IAxisKernel.Columns<T>(T* x, T* y, int extent, int pitch, int width)
    {
        Span<T> result = new(y, width), max = stackalloc T[width], terms = stackalloc T[width];
        new ReadOnlySpan<T>(x, width).CopyTo(max);
        for (int i = 1; i < extent; i++)
            TensorPrimitives.Max(max, new ReadOnlySpan<T>(x + (long)i * pitch, width), max);
        result.Clear();
        for (int i = 0; i < extent; i++)
        {
            TensorPrimitives.Subtract(new ReadOnlySpan<T>(x + (long)i * pitch, width), max, terms);
            VectorMath.Map<Exp, T>(terms, terms);
            TensorPrimitives.Add(result, terms, result);
        }
        TensorPrimitives.Log(result, result);
        for (int i = 0; i < width; i++)
            result[i] = T.IsInfinity(max[i]) ? max[i] : result[i] + max[i];
    }
}
