using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    extension(Tensor)
    {
        /// <summary><c>x · y</c>, element by element, with broadcasting.</summary>
        public static Tensor operator *(Tensor x, Tensor y) => Tensor.Apply(new Multiply(), x, y);
    }
}

/// <summary>Product of two tensors element by element: <c>z = x · y</c>, with broadcasting.</summary>
public readonly record struct Multiply : IPrimitive, IBinaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Broadcasting(nameof(Multiply), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.RunBinary(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Binary("multiply", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor dz = call.Gradient(0);
        return
        [
            call.Needs(0) ? (dz * call.Input(1)).SumTo(call.InputType(0).Shape) : null,
            call.Needs(1) ? (dz * call.Input(0)).SumTo(call.InputType(1).Shape) : null,
        ];
    }

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Multiply(x, y, z);

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, T y, Span<T> z) => TensorPrimitives.Multiply(x, y, z);

    void IBinaryKernel.Apply<T>(T x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Multiply(y, x, z);
}
