using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    extension(Tensor)
    {
        /// <summary><c>x · s</c> with a number.</summary>
        public static Tensor operator *(Tensor x, double scale) => Tensor.Apply(new Affine(scale, 0), x);

        /// <summary><c>s · x</c> with a number.</summary>
        public static Tensor operator *(double scale, Tensor x) => x * scale;

        /// <summary><c>x + c</c> with a number.</summary>
        public static Tensor operator +(Tensor x, double offset) => Tensor.Apply(new Affine(1, offset), x);

        /// <summary><c>x − c</c> with a number.</summary>
        public static Tensor operator -(Tensor x, double offset) => Tensor.Apply(new Affine(1, -offset), x);

        /// <summary><c>c − x</c> with a number.</summary>
        public static Tensor operator -(double offset, Tensor x) => Tensor.Apply(new Affine(-1, offset), x);

        /// <summary><c>−x</c>.</summary>
        public static Tensor operator -(Tensor x) => Tensor.Apply(new Affine(-1, 0), x);
    }
}

/// <summary>A linear function with constant coefficients: <c>y = Scale · x + Offset</c>, element by element.</summary>
public readonly record struct Affine(double Scale, double Offset) : IPrimitive, IUnaryKernel
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Unary(nameof(Affine), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.Run(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Unary("affine", call, (float)Scale, (float)Offset);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0) * Scale];

    void IUnaryKernel.Apply<T>(ReadOnlySpan<T> x, Span<T> y)
    {
        TensorPrimitives.Multiply(x, T.CreateChecked(Scale), y);
        if (Offset != 0)
            TensorPrimitives.Add(y, T.CreateChecked(Offset), y);
    }
}
