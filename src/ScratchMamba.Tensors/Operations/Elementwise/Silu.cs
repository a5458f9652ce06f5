using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>x · σ(x) = x / (1 + e⁻ˣ)</c>, element by element.</summary>
    public static Tensor Silu(this Tensor x) => Tensor.Apply(new Silu(), x);
}

/// <summary>The sigmoid-weighted linear unit, element by element: <c>y = x / (1 + e⁻ˣ)</c>.</summary>
public readonly record struct Silu : IPrimitive, IUnaryKernel, IVectorFunction
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Silu), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("silu", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [Tensor.Apply(new SiluGradient(), call.Gradient(0), call.Input(0))];

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) => [inputs[0] * inputs[0].Sigmoid()];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y) => VectorMath.Map<Silu, T>(x, y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector<T> IVectorFunction.Of<T>(Vector<T> x) => Gates.Silu(x);
}

/// <summary>The derivative of <see cref="Silu"/> times the gradient of its result: <c>dx = dy · s · (1 + x · (1 − s))</c> with <c>s = σ(x)</c>. The inputs are dy and x.</summary>
public readonly record struct SiluGradient : IPrimitive, IPairKernel, IVectorFunction2
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Pair(nameof(SiluGradient), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.RunPair(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Binary("silu_gradient", call);

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor s = inputs[1].Sigmoid();
        return [inputs[0] * s * (inputs[1] * (1 - s) + 1)];
    }

    void IPairKernel.Apply<T>(ReadOnlySpan<T> dy, ReadOnlySpan<T> x, Span<T> dx) => VectorMath.Map<SiluGradient, T>(dy, x, dx);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector<T> IVectorFunction2.Of<T>(Vector<T> dy, Vector<T> x)
    {
        x = Gates.Bounded(x);
        (Vector<T> sigmoid, Vector<T> complement) = Gates.Sigmoid(x);
        return dy * sigmoid * VectorMath.MultiplyAdd(x, complement, Vector<T>.One);
    }
}
