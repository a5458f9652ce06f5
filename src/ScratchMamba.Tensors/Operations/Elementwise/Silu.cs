using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>x · σ(x) = x / (1 + e⁻ˣ)</c>, element by element.</summary>
    public static Tensor Silu(this Tensor x) => Tensor.Apply(new Silu(), x);
}

/// <summary>The sigmoid-weighted linear unit, element by element: <c>y = x / (1 + e⁻ˣ)</c>.</summary>
public readonly record struct Silu : IPrimitive, IUnaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Silu), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [Tensor.Apply(new SiluGradient(), call.Gradient(0), call.Input(0))];

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) => [inputs[0] * inputs[0].Sigmoid()];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y)
    {
        Span<T> sigmoid = stackalloc T[Gates.Chunk];
        for (int i = 0; i < x.Length; i += Gates.Chunk)
        {
            int length = Math.Min(Gates.Chunk, x.Length - i);
            TensorPrimitives.Sigmoid(x.Slice(i, length), sigmoid);
            TensorPrimitives.Multiply(x.Slice(i, length), sigmoid[..length], y.Slice(i, length));
        }
    }
}

/// <summary>The derivative of <see cref="Silu"/> times the gradient of its result: <c>dx = dy · s · (1 + x · (1 − s))</c> with <c>s = σ(x)</c>. The inputs are dy and x.</summary>
public readonly record struct SiluGradient : IPrimitive, IPairKernel
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Pair(nameof(SiluGradient), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.RunPair(call, this);

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor s = inputs[1].Sigmoid();
        return [inputs[0] * s * (inputs[1] * (1 - s) + 1)];
    }

    void IPairKernel.Apply<T>(ReadOnlySpan<T> dy, ReadOnlySpan<T> x, Span<T> dx)
    {
        Span<T> buffer = stackalloc T[2 * Gates.Chunk];
        for (int i = 0; i < x.Length; i += Gates.Chunk)
        {
            int length = Math.Min(Gates.Chunk, x.Length - i);
            Span<T> s = buffer[..length], t = buffer.Slice(Gates.Chunk, length);
            TensorPrimitives.Sigmoid(x.Slice(i, length), s);
            TensorPrimitives.Subtract(T.One, s, t);
            TensorPrimitives.Multiply(x.Slice(i, length), t, t);
            TensorPrimitives.Add(t, T.One, t);
            TensorPrimitives.Multiply(s, t, t);
            TensorPrimitives.Multiply(dy.Slice(i, length), t, dx.Slice(i, length));
        }
    }
}
