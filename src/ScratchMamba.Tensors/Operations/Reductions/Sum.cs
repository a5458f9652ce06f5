using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The sum along an axis (−1 is the last), which disappears or, with <paramref name="keep"/>, becomes 1.</summary>
    public static Tensor Sum(this Tensor x, int axis, bool keep = false)
    {
        axis = x.Shape.Axis(axis);
        Tensor sum = Tensor.Apply(new Sum(axis), x);
        return keep ? sum : sum.Reshape(x.Shape.Without(axis));
    }

    /// <summary>The sum of all elements, a scalar.</summary>
    public static Tensor Sum(this Tensor x) => Tensor.Apply(new Sum(0), x.Reshape([checked((int)x.Count)])).Reshape(new Shape());

    /// <summary>The mean along an axis (−1 is the last), which disappears or, with <paramref name="keep"/>, becomes 1.</summary>
    public static Tensor Mean(this Tensor x, int axis, bool keep = false) => x.Sum(axis, keep) * (1.0 / x.Shape[x.Shape.Axis(axis)]);

    /// <summary>The mean of all elements, a scalar.</summary>
    public static Tensor Mean(this Tensor x) => x.Sum() * (1.0 / x.Count);

    /// <summary>Sums a tensor over the axes along which <paramref name="shape"/> was broadcast to it: the derivative of broadcasting.</summary>
    public static Tensor SumTo(this Tensor x, Shape shape)
    {
        if (x.Shape == shape)
            return x;
        Tensor sum = x;
        for (int i = 0; i < x.Shape.Rank; i++)
        {
            int axis = i - (x.Shape.Rank - shape.Rank);
            if (x.Shape[i] != 1 && (axis < 0 || shape[axis] == 1))
                sum = sum.Sum(i, keep: true);
        }
        return sum.Reshape(shape);
    }
}

/// <summary>Sum along one axis, which becomes 1: <c>y[…, 0, …] = Σᵢ x[…, i, …]</c>.</summary>
public readonly record struct Sum(int Axis) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.Unary(nameof(Sum), inputs);
        Rules.RequireAxis(nameof(Sum), inputs, Axis);
        return [inputs[0] with { Shape = inputs[0].Shape.With(Axis, 1) }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).Broadcast(call.InputType(0).Shape)];

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        int outer = checked((int)shape.Product(0, Axis)), extent = shape[Axis], inner = checked((int)shape.Product(Axis + 1, shape.Rank));
        // Columns in blocks of a fixed width, so that a single long reduction still has parts for several threads.
        int width = inner == 1 ? 1 : Math.Min(inner, Body<T>.BlockWidth);
        int blocks = inner == 0 ? 0 : (inner + width - 1) / width;
        var body = new Body<T> { X = call.InputAddress<T>(0), Y = call.OutputAddress<T>(0), Extent = extent, Inner = inner, Width = width, Blocks = blocks };
        CpuParallel.For(call.Threads, outer * blocks, (long)extent * width, body);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public const int BlockWidth = 1024;

        public T* X, Y;
        public int Extent, Inner, Width, Blocks;

        public readonly void Invoke(int index)
        {
            if (Inner == 1)
            {
                Y[index] = TensorPrimitives.Sum(new ReadOnlySpan<T>(X + (long)index * Extent, Extent));
                return;
            }
            int outer = index / Blocks, start = index % Blocks * Width, length = Math.Min(Width, Inner - start);
            var sum = new Span<T>(Y + (long)outer * Inner + start, length);
            sum.Clear();
            for (int i = 0; i < Extent; i++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<T>(X + ((long)outer * Extent + i) * Inner + start, length), sum);
        }
    }
}
