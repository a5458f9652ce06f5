using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>eˣ</c>, element by element.</summary>
    public static Tensor Exp(this Tensor x) => Tensor.Apply(new Exp(), x);
}

/// <summary>The exponential function, element by element: <c>y = eˣ</c>.</summary>
public readonly record struct Exp : IPrimitive, IUnaryKernel, IVectorFunction
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Exp), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("exp", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) * call.Output(0)];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y) => VectorMath.Map<Exp, T>(x, y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector<T> IVectorFunction.Of<T>(Vector<T> x) => VectorMath.Exp(x);
}
