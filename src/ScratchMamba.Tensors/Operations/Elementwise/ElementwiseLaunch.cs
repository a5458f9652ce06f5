namespace ScratchMamba.Tensors.Operations;

/// <summary>Launches of the shaders that work element by element.</summary>
internal static class ElementwiseLaunch
{
    private const int Workgroup = 256;

    private readonly record struct UnaryScalars(uint Count, float A, float B);

    /// <summary>A shader made from <c>unary.glsl</c>, one invocation for each element.</summary>
    public static Launch? Unary(string shader, LaunchCall call, float a = 0, float b = 0)
    {
        if (call.Inputs[0].DType != DType.F32)
            return null;
        long count = call.Inputs[0].Count;
        return count == 0
            ? Launch.Nothing
            : Dispatch.Linear(shader, (count + Workgroup - 1) / Workgroup, [Slot.In(0), Slot.Out(0)], new UnaryScalars((uint)count, a, b), Workgroup);
    }
}
