using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    extension(Tensor)
    {
        /// <summary><c>x − y</c>, element by element, with broadcasting.</summary>
        public static Tensor operator -(Tensor x, Tensor y) => Tensor.Apply(new Subtract(), x, y);
    }
}

/// <summary>Difference of two tensors element by element: <c>z = x − y</c>, with broadcasting.</summary>
public readonly record struct Subtract : IPrimitive, IBinaryKernel
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Broadcasting(nameof(Subtract), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.RunBinary(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Binary("subtract", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor dz = call.Gradient(0);
        return [dz.SumTo(call.InputType(0).Shape), call.Needs(1) ? -dz.SumTo(call.InputType(1).Shape) : null];
    }

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Subtract(x, y, z);

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, T y, Span<T> z) => TensorPrimitives.Subtract(x, y, z);

    void IBinaryKernel.Apply<T>(T x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Subtract(x, y, z);
}
