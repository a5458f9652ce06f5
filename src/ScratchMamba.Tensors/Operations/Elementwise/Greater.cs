using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>1 where <c>x &gt; y</c> and 0 elsewhere, in the type of the operands, with broadcasting. No gradient passes.</summary>
    public static Tensor Greater(this Tensor x, Tensor y) => Tensor.Apply(new Greater(), x, y);
}

/// <summary>Comparison of two tensors element by element: <c>z = 1</c> where <c>x &gt; y</c>, else 0, with broadcasting. It is piecewise constant: its gradient is zero.</summary>
public readonly record struct Greater : IPrimitive, IRelation
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Rules.Broadcasting(nameof(Greater), inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.RunBinary(call, new Comparison<Greater>());

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => ElementwiseLaunch.Binary("greater", call);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [null, null];

    static bool IRelation.Holds<T>(T x, T y) => x > y;

    static Vector<T> IRelation.Mask<T>(Vector<T> x, Vector<T> y) => Vector.GreaterThan(x, y);
}
