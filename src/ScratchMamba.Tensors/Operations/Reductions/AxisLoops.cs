using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

/// <summary>An operation along one axis, independent for all positions in the others.</summary>
internal unsafe interface IAxisKernel
{
    /// <summary>The axis is contiguous. The result is as long as x, or 1.</summary>
    void Row<T>(ReadOnlySpan<T> x, Span<T> y) where T : unmanaged, IFloatingPointIeee754<T>;

    /// <summary>
    /// Up to <see cref="AxisLoops.Width"/> neighbouring positions at once: element i of the axis, for all of them, is the <paramref name="width"/>
    /// numbers at <c>x + i · pitch</c>; the same for y.
    /// </summary>
    void Columns<T>(T* x, T* y, int extent, int pitch, int width) where T : unmanaged, IFloatingPointIeee754<T>;
}

/// <summary>The loops around operations along one axis.</summary>
internal static unsafe class AxisLoops
{
    /// <summary>How many columns a kernel sees at once: few enough for intermediate results to be on the stack.</summary>
    public const int Width = 256;

    /// <param name="call">The call; its input and output 0 are used.</param>
    /// <param name="axis">The axis.</param>
    /// <param name="cost">Elementary operations per element, roughly.</param>
    /// <param name="kernel">What to do along it.</param>
    public static void Run<TKernel>(CpuCall call, int axis, int cost, TKernel kernel) where TKernel : struct, IAxisKernel
    {
        if (call.DType == DType.F64)
            Run<TKernel, double>(call, axis, cost, kernel);
        else
            Run<TKernel, float>(call, axis, cost, kernel);
    }

    private static void Run<TKernel, T>(CpuCall call, int axis, int cost, TKernel kernel)
        where TKernel : struct, IAxisKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        var body = new Body<TKernel, T>
        {
            Kernel = kernel,
            X = call.InputAddress<T>(0),
            Y = call.OutputAddress<T>(0),
            Extent = shape[axis],
            ResultExtent = call.OutputType(0).Shape[axis],
            Inner = checked((int)shape.Product(axis + 1, shape.Rank)),
        };
        body.Blocks = (body.Inner + Width - 1) / Width;
        long outer = shape.Product(0, axis);
        CpuParallel.For(call.Threads, checked((int)(outer * body.Blocks)), (long)cost * body.Extent * Math.Min(body.Inner, Width), body);
    }

    private struct Body<TKernel, T> : IParallelBody where TKernel : struct, IAxisKernel where T : unmanaged, IFloatingPointIeee754<T>
    {
        public TKernel Kernel;
        public T* X, Y;
        public int Extent, ResultExtent, Inner, Blocks;

        public readonly void Invoke(int index)
        {
            long outer = index / Blocks;
            T* x = X + outer * Extent * Inner, y = Y + outer * ResultExtent * Inner;
            int start = index % Blocks * Width;
            if (Inner == 1)
                Kernel.Row(new ReadOnlySpan<T>(x, Extent), new Span<T>(y, ResultExtent));
            else
                Kernel.Columns(x + start, y + start, Extent, Inner, Math.Min(Width, Inner - start));
        }
    }
}
