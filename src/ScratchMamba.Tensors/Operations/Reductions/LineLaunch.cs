using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Launches of the shaders that work along one axis (<c>lines.glsl</c>). The tensor is [outer, extent, inner]; a line is one choice of outer and inner.
/// How a line is shared among invocations depends on the shape, and on nothing that differs between runs.
/// </summary>
internal static class LineLaunch
{
    private const int Workgroup = 256;

    /// <summary>Invocations that fill a large device.</summary>
    private const long Plenty = 1 << 17;

    private readonly record struct LineScalars(uint Lines, uint Extent, uint Inner);

    private readonly record struct CumulativeScalars(uint Lines, uint Extent, uint Inner, uint Reverse);

    private readonly record struct ReduceScalars(uint Lines, uint Extent, uint Inner, uint Segments, uint Segment);

    private readonly record struct View(long Outer, long Extent, long Inner)
    {
        public long Lines => Outer * Inner;

        public static View Of(Shape shape, int axis) => new(shape.Product(0, axis), shape[axis], shape.Product(axis + 1, shape.Rank));
    }

    /// <summary>One number for each line: the shader is made from <c>reduce.glsl</c>. Lines that are long and few are cut into segments, whose results are reduced again.</summary>
    public static Launch? Reduce(string shader, LaunchCall call, int axis)
    {
        if (call.Inputs[0].DType != DType.F32)
            return null;
        View view = View.Of(call.Inputs[0].Shape, axis);
        if (view.Lines == 0)
            return Launch.Nothing;
        long segment = Segment(view, call.Device);
        if (segment >= view.Extent)
            return Reduce(shader, view, view.Extent, call.Device, Slot.In(0), Slot.Out(0));
        long segments = (view.Extent + segment - 1) / segment;
        return new Launch(
            [
                Reduce(shader, view, segment, call.Device, Slot.In(0), Slot.ScratchOut(0)),
                Reduce(shader, view with { Extent = segments }, segments, call.Device, Slot.ScratchIn(0), Slot.Out(0)),
            ],
            view.Lines * segments * sizeof(float));
    }

    /// <summary>A shader made from <c>exponentials.glsl</c>.</summary>
    public static Launch? Exponentials(string shader, LaunchCall call, int axis)
    {
        if (call.Inputs[0].DType != DType.F32)
            return null;
        View view = View.Of(call.Inputs[0].Shape, axis);
        return call.Inputs[0].Count == 0
            ? Launch.Nothing
            : Lines(shader, view.Lines, Lanes(view, call.Device), new LineScalars((uint)view.Lines, (uint)view.Extent, (uint)view.Inner), Slot.In(0), Slot.Out(0));
    }

    /// <summary>Running sums.</summary>
    public static Launch? CumulativeSum(LaunchCall call, int axis, bool reverse)
    {
        if (call.Inputs[0].DType != DType.F32)
            return null;
        View view = View.Of(call.Inputs[0].Shape, axis);
        var scalars = new CumulativeScalars((uint)view.Lines, (uint)view.Extent, (uint)view.Inner, reverse ? 1u : 0u);
        return call.Inputs[0].Count == 0 ? Launch.Nothing : Lines("cumulative_sum", view.Lines, Lanes(view, call.Device), scalars, Slot.In(0), Slot.Out(0));
    }

    private static Dispatch Reduce(string shader, View view, long segment, DeviceTraits device, Slot source, Slot target)
    {
        long segments = Math.Max(1, (view.Extent + segment - 1) / Math.Max(1, segment)), lines = view.Lines * segments;
        var scalars = new ReduceScalars((uint)lines, (uint)view.Extent, (uint)view.Inner, (uint)segments, (uint)segment);
        return Lines(shader, lines, Lanes(new View(view.Outer * segments, segment, view.Inner), device), scalars, source, target);
    }

    private static Dispatch Lines<TScalars>(string shader, long lines, uint lanes, in TScalars scalars, Slot source, Slot target) where TScalars : unmanaged
    {
        long linesOfGroup = Workgroup / lanes;
        return Dispatch.Linear(shader, (lines + linesOfGroup - 1) / linesOfGroup, [source, target], scalars, Workgroup, lanes);
    }

    /// <summary>The invocations that share a line, a power of two.</summary>
    private static uint Lanes(View view, DeviceTraits device)
    {
        // Barriers cost more than they save on a processor. There, though, llvmpipe ends every loop after 65,535 rounds.
        if (device.IsCpu)
            return BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(view.Extent / 16_384, 1, Workgroup));
        // Neighbours along a line make whole cache lines. Across lines they do already, as long as a workgroup takes enough of them.
        long wanted = view.Inner == 1 ? Math.Min(Workgroup, view.Extent / 8) : Math.Min(Math.Min(8, view.Extent / 4), Plenty / view.Lines);
        return BitOperations.RoundUpToPowerOf2((uint)Math.Max(1, wanted));
    }

    /// <summary>The length of the segments that long lines are cut into: for accuracy where one invocation adds alone, for parallelism elsewhere.</summary>
    private static long Segment(View view, DeviceTraits device)
    {
        if (device.IsCpu)
            return 4096;
        long least = view.Inner == 1 ? 4096 : 128, lanes = view.Inner == 1 ? Workgroup : 8;
        long segments = Math.Min(view.Extent / least, 2 * Plenty / (view.Lines * lanes));
        return segments <= 1 ? Math.Max(1, view.Extent) : ((view.Extent + segments - 1) / segments + 3) / 4 * 4;
    }
}
