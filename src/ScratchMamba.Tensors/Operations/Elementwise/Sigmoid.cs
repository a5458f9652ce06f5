using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>1 / (1 + e⁻ˣ)</c>, element by element; never overflows.</summary>
    public static Tensor Sigmoid(this Tensor x) => Tensor.Apply(new Sigmoid(), x);
}

/// <summary>The logistic function, element by element: <c>y = 1 / (1 + e⁻ˣ)</c>.</summary>
public readonly record struct Sigmoid : IPrimitive, IUnaryKernel, IVectorFunction
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Sigmoid), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("sigmoid", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) * call.Output(0) * (1 - call.Output(0))];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y) => VectorMath.Map<Sigmoid, T>(x, y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector<T> IVectorFunction.Of<T>(Vector<T> x) => Gates.Sigmoid(Gates.Bounded(x)).Sigmoid;
}
