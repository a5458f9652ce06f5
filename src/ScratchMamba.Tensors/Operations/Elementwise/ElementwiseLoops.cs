using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

/// <summary>An operation that works on one element at a time, as a kernel over a run of them.</summary>
internal interface IUnaryKernel
{
    /// <summary>yᵢ = f(xᵢ). The spans are equally long and either disjoint or the same.</summary>
    void Apply<T>(ReadOnlySpan<T> x, Span<T> y) where T : unmanaged, IFloatingPointIeee754<T>;
}

/// <summary>An operation on pairs of elements, as kernels over runs of them.</summary>
internal interface IBinaryKernel
{
    /// <summary>zᵢ = f(xᵢ, yᵢ).</summary>
    void Apply<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z) where T : unmanaged, IFloatingPointIeee754<T>;

    /// <summary>zᵢ = f(xᵢ, y).</summary>
    void Apply<T>(ReadOnlySpan<T> x, T y, Span<T> z) where T : unmanaged, IFloatingPointIeee754<T>;

    /// <summary>zᵢ = f(x, yᵢ).</summary>
    void Apply<T>(T x, ReadOnlySpan<T> y, Span<T> z) where T : unmanaged, IFloatingPointIeee754<T>;
}

/// <summary>An operation on pairs of elements without broadcasting: the derivatives of unary operations.</summary>
internal interface IPairKernel
{
    /// <summary>zᵢ = f(xᵢ, yᵢ). The result is disjoint from the operands, or the same as one.</summary>
    void Apply<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z) where T : unmanaged, IFloatingPointIeee754<T>;
}

/// <summary>The loops around elementwise kernels: blocks that fit the first-level cache, spread over threads.</summary>
internal static unsafe class ElementwiseLoops
{
    private const int Block = 4096;

    public static void Run<TKernel>(CpuCall call, TKernel kernel) where TKernel : struct, IUnaryKernel
    {
        if (call.DType == DType.F64)
            Run<TKernel, double>(call, kernel);
        else
            Run<TKernel, float>(call, kernel);
    }

    public static void RunBinary<TKernel>(CpuCall call, TKernel kernel) where TKernel : struct, IBinaryKernel
    {
        if (call.DType == DType.F64)
            RunBinary<TKernel, double>(call, kernel);
        else
            RunBinary<TKernel, float>(call, kernel);
    }

    public static void RunPair<TKernel>(CpuCall call, TKernel kernel) where TKernel : struct, IPairKernel
    {
        if (call.DType == DType.F64)
            RunPair<TKernel, double>(call, kernel);
        else
            RunPair<TKernel, float>(call, kernel);
    }

    private static void RunPair<TKernel, T>(CpuCall call, TKernel kernel) where TKernel : struct, IPairKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        long count = call.OutputType(0).Count;
        var body = new PairBody<TKernel, T>
        {
            Kernel = kernel, X = call.InputAddress<T>(0), Y = call.InputAddress<T>(1), Z = call.OutputAddress<T>(0), Count = count,
        };
        CpuParallel.For(call.Threads, (int)((count + Block - 1) / Block), 8 * Math.Min(count, Block), body);
    }

    private struct PairBody<TKernel, T> : IParallelBody where TKernel : struct, IPairKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        public TKernel Kernel;
        public T* X, Y, Z;
        public long Count;

        public readonly void Invoke(int index)
        {
            long start = (long)index * Block;
            int length = (int)Math.Min(Block, Count - start);
            Kernel.Apply(new ReadOnlySpan<T>(X + start, length), new ReadOnlySpan<T>(Y + start, length), new Span<T>(Z + start, length));
        }
    }

    private static void Run<TKernel, T>(CpuCall call, TKernel kernel) where TKernel : struct, IUnaryKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        long count = call.OutputType(0).Count;
        var body = new UnaryBody<TKernel, T> { Kernel = kernel, X = call.InputAddress<T>(0), Y = call.OutputAddress<T>(0), Count = count };
        CpuParallel.For(call.Threads, (int)((count + Block - 1) / Block), 8 * Math.Min(count, Block), body);
    }

    private struct UnaryBody<TKernel, T> : IParallelBody where TKernel : struct, IUnaryKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        public TKernel Kernel;
        public T* X, Y;
        public long Count;

        public readonly void Invoke(int index)
        {
            long start = (long)index * Block;
            int length = (int)Math.Min(Block, Count - start);
            Kernel.Apply(new ReadOnlySpan<T>(X + start, length), new Span<T>(Y + start, length));
        }
    }

    private static void RunBinary<TKernel, T>(CpuCall call, TKernel kernel) where TKernel : struct, IBinaryKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.OutputType(0).Shape;
        if (shape.Count == 0)
            return;
        var walk = new BroadcastWalk(shape, call.InputType(0).Shape, call.InputType(1).Shape);
        int perRow = (walk.RunLength + Block - 1) / Block;
        // Short rows are taken several at a time, so that a part is worth handing to a thread.
        int rowsPerPart = perRow > 1 ? 1 : Math.Max(1, Block / walk.RunLength);
        long rows = shape.Count / walk.RunLength;
        var body = new BinaryBody<TKernel, T>
        {
            Kernel = kernel,
            X = call.InputAddress<T>(0),
            Y = call.InputAddress<T>(1),
            Z = call.OutputAddress<T>(0),
            Walk = walk,
            Rows = rows,
            RowsPerPart = rowsPerPart,
            BlocksPerRow = perRow,
        };
        long parts = perRow > 1 ? rows * perRow : (rows + rowsPerPart - 1) / rowsPerPart;
        CpuParallel.For(call.Threads, checked((int)parts), 4 * Math.Min(shape.Count, Block), body);
    }

    private struct BinaryBody<TKernel, T> : IParallelBody where TKernel : struct, IBinaryKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        public TKernel Kernel;
        public T* X, Y, Z;
        public BroadcastWalk Walk;
        public long Rows;
        public int RowsPerPart, BlocksPerRow;

        public readonly void Invoke(int index)
        {
            if (BlocksPerRow > 1)
            {
                int start = index % BlocksPerRow * Block;
                Row(index / BlocksPerRow, start, Math.Min(Block, Walk.RunLength - start));
                return;
            }
            long end = Math.Min(Rows, ((long)index + 1) * RowsPerPart);
            for (long row = (long)index * RowsPerPart; row < end; row++)
                Row(row, 0, Walk.RunLength);
        }

        private readonly void Row(long row, int start, int length)
        {
            (long x, long y) = Walk.Offsets(row);
            var z = new Span<T>(Z + row * Walk.RunLength + start, length);
            if (!Walk.XIsRun)
                Kernel.Apply(X[x], new ReadOnlySpan<T>(Y + y + (Walk.YIsRun ? start : 0), Walk.YIsRun ? length : 1), Walk.YIsRun ? z : z[..1]);
            else if (!Walk.YIsRun)
                Kernel.Apply(new ReadOnlySpan<T>(X + x + start, length), Y[y], z);
            else
                Kernel.Apply(new ReadOnlySpan<T>(X + x + start, length), new ReadOnlySpan<T>(Y + y + start, length), z);
        }
    }
}
