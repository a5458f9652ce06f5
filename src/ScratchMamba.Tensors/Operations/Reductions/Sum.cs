using System.Buffers;
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
    public Launch? Launch(LaunchCall call) => LineLaunch.Reduce("sum", call, Axis);

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).Broadcast(call.InputType(0).Shape)];

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        int outer = checked((int)shape.Product(0, Axis)), inner = checked((int)shape.Product(Axis + 1, shape.Rank));
        Reduce(call.Threads, call.InputAddress<T>(0), call.OutputAddress<T>(0), outer, shape[Axis], inner);
    }

    /// <summary>
    /// Sums along the middle axis in segments of a fixed length, then sums the segments' sums in the same way. So the error does not grow with the length,
    /// and one long sum has parts for several threads.
    /// </summary>
    private static unsafe void Reduce<T>(int threads, T* x, T* y, int outer, int extent, int inner) where T : unmanaged, IFloatingPointIeee754<T>
    {
        if (inner == 0)
            return;
        int segment = inner == 1 ? 4096 : 128;
        int segments = Math.Max(1, (extent + segment - 1) / segment), blocks = (inner + Body<T>.Width - 1) / Body<T>.Width;
        var body = new Body<T> { X = x, Y = y, Extent = extent, Inner = inner, Segment = segment, Segments = segments, Blocks = blocks };
        int parts = checked(outer * segments * blocks);
        long cost = (long)Math.Min(extent, segment) * Math.Min(inner, Body<T>.Width);
        if (segments == 1)
        {
            CpuParallel.For(threads, parts, cost, body);
            return;
        }
        T[] buffer = ArrayPool<T>.Shared.Rent(checked(outer * segments * inner));
        fixed (T* sums = buffer)
        {
            body.Y = sums;
            CpuParallel.For(threads, parts, cost, body);
            Reduce(threads, sums, y, outer, segments, inner);
        }
        ArrayPool<T>.Shared.Return(buffer);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        /// <summary>Columns of a part: their sums stay in the first-level cache.</summary>
        public const int Width = 1024;

        public T* X, Y;
        public int Extent, Inner, Segment, Segments, Blocks;

        public readonly void Invoke(int index)
        {
            int column = index % Blocks * Width, segment = index / Blocks % Segments, outer = index / Blocks / Segments;
            int first = segment * Segment, last = Math.Min(Extent, first + Segment), width = Math.Min(Width, Inner - column);
            T* x = X + (long)outer * Extent * Inner + column;
            var sum = new Span<T>(Y + ((long)outer * Segments + segment) * Inner + column, width);
            if (Inner == 1)
            {
                sum[0] = TensorPrimitives.Sum(new ReadOnlySpan<T>(x + first, last - first));
                return;
            }
            sum.Clear();
            for (int i = first; i < last; i++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<T>(x + (long)i * Inner, width), sum);
        }
    }
}
