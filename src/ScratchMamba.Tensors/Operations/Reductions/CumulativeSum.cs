using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>y[…, i, …] = Σ x[…, j, …]</c> over j ≤ i, or over j ≥ i with <paramref name="reverse"/>, along an axis (−1 is the last).</summary>
    public static Tensor CumulativeSum(this Tensor x, int axis, bool reverse = false) => Tensor.Apply(new CumulativeSum(x.Shape.Axis(axis), reverse), x);
}

/// <summary>Running sum along one axis: <c>y[…, i, …] = Σ x[…, j, …]</c> over j ≤ i, or over j ≥ i where it is reversed.</summary>
public readonly record struct CumulativeSum(int Axis, bool Reverse) : IPrimitive, IAxisKernel
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.Unary(nameof(CumulativeSum), inputs);
        Rules.RequireAxis(nameof(CumulativeSum), inputs, Axis);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call) => AxisLoops.Run(call, Axis, 4, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => LineLaunch.CumulativeSum(call, Axis, Reverse);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).CumulativeSum(Axis, !Reverse)];

    void IAxisKernel.Row<T>(ReadOnlySpan<T> x, Span<T> y)
    {
        T sum = T.Zero;
        if (Reverse)
        {
            for (int i = x.Length - 1; i >= 0; i--)
                y[i] = sum += x[i];
        }
        else
        {
            for (int i = 0; i < x.Length; i++)
                y[i] = sum += x[i];
        }
    }

    unsafe void IAxisKernel.Columns<T>(T* x, T* y, int extent, int pitch, int width)
    {
        ReadOnlySpan<T> before = default;
        for (int i = 0; i < extent; i++)
        {
            long offset = (long)(Reverse ? extent - 1 - i : i) * pitch;
            ReadOnlySpan<T> element = new(x + offset, width);
            Span<T> sum = new(y + offset, width);
            if (i == 0)
                element.CopyTo(sum);
            else
                TensorPrimitives.Add(before, element, sum);
            before = sum;
        }
    }
}
