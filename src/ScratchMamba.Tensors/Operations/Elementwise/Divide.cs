using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    extension(Tensor)
    {
        /// <summary><c>x / y</c>, element by element, with broadcasting.</summary>
        public static Tensor operator /(Tensor x, Tensor y) => Tensor.Apply(new Divide(), x, y);

        /// <summary><c>x / s</c> with a number, computed as <c>x · (1/s)</c>.</summary>
        public static Tensor operator /(Tensor x, double divisor) => x * (1 / divisor);

        /// <summary><c>s / x</c> with a number.</summary>
        public static Tensor operator /(double dividend, Tensor x) => x.Backend.Scalar(dividend, x.DType) / x;
    }
}

/// <summary>Quotient of two tensors element by element: <c>z = x / y</c>, with broadcasting.</summary>
public readonly record struct Divide : IPrimitive, IBinaryKernel
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(1) | Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Broadcasting(nameof(Divide), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.RunBinary(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Binary("divide", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor dx = call.Gradient(0) / call.Input(1);
        return
        [
            call.Needs(0) ? dx.SumTo(call.InputType(0).Shape) : null,
            call.Needs(1) ? -(dx * call.Output(0)).SumTo(call.InputType(1).Shape) : null,
        ];
    }

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Divide(x, y, z);

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, T y, Span<T> z) => TensorPrimitives.Divide(x, y, z);

    void IBinaryKernel.Apply<T>(T x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Divide(x, y, z);
}
