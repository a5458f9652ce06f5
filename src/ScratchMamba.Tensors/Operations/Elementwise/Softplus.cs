using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>ln(1 + eˣ)</c>, element by element; never overflows, and exact to rounding for small results.</summary>
    public static Tensor Softplus(this Tensor x) => Tensor.Apply(new Softplus(), x);
}

/// <summary>The smooth positive part, element by element: <c>y = ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)</c>.</summary>
public readonly record struct Softplus : IPrimitive, IUnaryKernel, IVectorFunction
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Softplus), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("softplus", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) * call.Input(0).Sigmoid()];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y) => VectorMath.Map<Softplus, T>(x, y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector<T> IVectorFunction.Of<T>(Vector<T> x) => Vector.Max(x, Vector<T>.Zero) + VectorMath.LogOnePlus(Gates.Decay(x));
}
