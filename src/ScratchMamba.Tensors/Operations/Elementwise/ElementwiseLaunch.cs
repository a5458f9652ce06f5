using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

/// <summary>Launches of the shaders that work element by element: every invocation computes four elements.</summary>
internal static class ElementwiseLaunch
{
    public const int Workgroup = 256;

    private readonly record struct UnaryScalars(uint Count, float A, float B);

    private struct BinaryScalars
    {
        public uint Count, Rank;
        public AxisValues Extents, XStrides, YStrides;
    }

    /// <summary>The workgroups that <paramref name="count"/> elements take.</summary>
    public static long Groups(long count) => (count + 4 * Workgroup - 1) / (4 * Workgroup);

    /// <summary>A shader made from <c>unary.glsl</c>.</summary>
    public static Launch? Unary(string shader, LaunchCall call, float a = 0, float b = 0)
    {
        if (call.Inputs[0].DType != DType.F32)
            return null;
        long count = call.Inputs[0].Count;
        return count == 0
            ? Launch.Nothing
            : Dispatch.Linear(shader, Groups(count), [Slot.In(0), Slot.Out(0)], new UnaryScalars((uint)count, a, b), Workgroup);
    }

    /// <summary>A shader made from <c>binary.glsl</c>, with broadcasting.</summary>
    public static Launch? Binary(string shader, LaunchCall call)
    {
        if (call.Inputs[0].DType != DType.F32)
            return null;
        Shape shape = call.Outputs[0].Shape;
        if (shape.Count == 0)
            return Launch.Nothing;
        var walk = new BroadcastWalk(shape, call.Inputs[0].Shape, call.Inputs[1].Shape);
        var scalars = new BinaryScalars { Count = (uint)shape.Count, Rank = (uint)walk.Rank };
        for (int i = 0; i < walk.Rank; i++)
            (scalars.Extents[i], scalars.XStrides[i], scalars.YStrides[i]) = ((uint)walk.Extent(i), (uint)walk.Strides(i).X, (uint)walk.Strides(i).Y);
        return Dispatch.Linear(shader, Groups(shape.Count), [Slot.In(0), Slot.In(1), Slot.Out(0)], scalars, Workgroup);
    }
}

/// <summary>One number for each axis of a tensor, the innermost first: the same as <c>uint[8]</c> in a push constant block.</summary>
[InlineArray(Shape.MaxRank)]
internal struct AxisValues
{
    private uint first;
}
