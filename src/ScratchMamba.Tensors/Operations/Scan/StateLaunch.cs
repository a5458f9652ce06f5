namespace ScratchMamba.Tensors.Operations;

/// <summary>Launches over the states of all chunks, [B, chunks, H, P, N].</summary>
internal static class StateLaunch
{
    private const int Workgroup = 256;

    // Small, so that those of one sequence spread evenly over a large device.
    private const int Walking = 64;

    private readonly record struct WalkScalars(uint Chunks, uint Heads, uint Size, uint Count);

    private readonly record struct DotScalars(uint Size, uint Count);

    /// <summary>How the shaders are told of the types of what they read and write of all chunks; null where they cannot.</summary>
    public static uint[]? Codes(Shape states, DType read, DType written) => Elements.Codes((int)(states.Product(3, 5) % 4), read, written);

    /// <summary>From <paramref name="start"/>, or zero, through all chunks.</summary>
    public static Launch Walk(Shape states, uint[] codes, Slot steps, Slot retention, Slot? start, Slot walked, Slot? end, bool backward)
    {
        long size = Quads(states), count = (long)states[0] * states[2] * size;
        return count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "state_passing", (count + Walking - 1) / Walking, [steps, retention, start ?? steps, walked, end ?? steps],
            new WalkScalars((uint)states[1], (uint)states[2], (uint)states.Product(3, 5), (uint)count),
            [Walking, backward ? 1u : 0, start is null ? 0u : 1, end is null ? 0u : 1, .. codes]);
    }

    /// <summary>The product of two states, for each chunk and head.</summary>
    public static Launch Dots(Shape states, uint[] codes, Slot x, Slot y, Slot to)
    {
        long count = states.Product(0, 3);
        return count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "state_dot", count, [x, y, to], new DotScalars((uint)states.Product(3, 5), (uint)count), [Workgroup, .. codes]);
    }

    private static long Quads(Shape states) => (states.Product(3, 5) + 3) / 4;
}
