namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// The launch of <see cref="ScatterAdd"/>: positions are sorted by row, in blocks by counting and then by merging, the start of every row among them is found,
/// and each row's values are added in that order. Equal rows stay in the order of their positions, so the sums are the same in every run.
/// </summary>
internal static class ScatterLaunch
{
    private const int Workgroup = 256;

    private readonly record struct SortScalars(uint Count, uint Number);

    private readonly record struct AddScalars(uint Count, uint Columns);

    /// <summary>The launch for values, input 0, and indices, input 1.</summary>
    public static Launch Plan(LaunchCall call, int rows)
    {
        long result = call.Outputs[0].Count, count = call.Inputs[1].Count;
        if (result == 0)
            return Launch.Nothing;
        List<Dispatch> dispatches = [Invocations("scatter_sort", count, [Slot.In(1), Slot.ScratchOut(0)], new SortScalars((uint)count, (uint)rows))];
        int sorted = 0;
        for (long run = Workgroup; run < count; run *= 2)
        {
            dispatches.Add(Invocations("scatter_merge", count, [Slot.ScratchIn(sorted), Slot.ScratchOut(1 - sorted)], new SortScalars((uint)count, (uint)run)));
            sorted = 1 - sorted;
        }
        dispatches.Add(Invocations("scatter_starts", rows + 1L, [Slot.ScratchIn(sorted), Slot.ScratchOut(2)], new SortScalars((uint)count, (uint)rows)));

        long columns = result / rows;
        bool vectors = columns % 4 == 0;
        if (vectors)
            (columns, result) = (columns / 4, result / 4);
        // Where rows have several terms each, one invocation would add too many of them in a row; barriers cost more than that on a processor, up to a point.
        uint lanes = count > rows && (!call.Device.IsCpu || count > 1 << 16) ? 8u : 1u;
        dispatches.Add(Dispatch.Linear(
            "scatter_add", (result * lanes + Workgroup - 1) / Workgroup, [Slot.In(0), Slot.ScratchIn(sorted), Slot.ScratchIn(2), Slot.Out(0)],
            new AddScalars((uint)result, (uint)columns), Workgroup, lanes, vectors ? 1u : 0u));
        long pairs = Math.Max(1, count) * 2 * sizeof(uint);
        return new Launch(dispatches, pairs, pairs, (rows + 1L) * sizeof(uint));
    }

    private static Dispatch Invocations(string shader, long count, ReadOnlySpan<Slot> buffers, SortScalars scalars) =>
        Dispatch.Linear(shader, Math.Max(1, (count + Workgroup - 1) / Workgroup), buffers, scalars, Workgroup);
}
