namespace ScratchMamba.Tensors.Operations;

/// <summary>What the launches that work row by row share.</summary>
internal static class RowLaunch
{
    private const int ColumnSumsWorkgroup = 256, MostRuns = 256;

    private readonly record struct WeightScalars(uint Rows, uint Columns, uint Groups, uint Run, uint Runs);

    private readonly record struct ColumnScalars(uint Rows, uint Pitch, uint First, uint Columns, uint Inner);

    /// <summary>The invocations that share a row: as many as it has use for; on a processor a single subgroup, which needs no barriers.</summary>
    public static uint Workgroup(DeviceTraits device, int columns, int most = 256) =>
        device.IsCpu ? (uint)device.SubgroupSize : (uint)Math.Clamp((columns / 4 + 63) / 64 * 64, 64, Math.Min(most, device.WorkgroupInvocations));

    /// <summary>
    /// Appends the sum of dy · x · r, times silu(gate) where there is one, over the rows, where r [rows, groups] is scratch number 0. It needs scratch number 1, of the size returned.
    /// </summary>
    public static long WeightGradient(DeviceTraits device, List<Dispatch> dispatches, Slot x, Slot? gate, Slot dy, long rows, int columns, int groups, Slot dw)
    {
        const int workgroup = 128;
        long run = Math.Max(16, (rows + MostRuns - 1) / MostRuns), runs = (rows + run - 1) / run;
        if (runs > 0)
        {
            dispatches.Add(Dispatch.Linear(
                "rms_norm_weight_gradient", (runs * columns + workgroup - 1) / workgroup, [x, gate ?? x, dy, Slot.ScratchIn(0), Slot.ScratchOut(1)],
                new WeightScalars((uint)rows, (uint)columns, (uint)groups, (uint)run, (uint)runs), workgroup, gate is null ? 0u : 1));
        }
        dispatches.Add(ColumnSums(device, Slot.ScratchIn(1), dw, runs, columns, 0, columns, columns));
        return Math.Max(1, runs * columns) * sizeof(float);
    }

    /// <summary>
    /// The sums of <paramref name="columns"/> columns, from <paramref name="first"/> on, of a matrix [rows, pitch]; zeros where it has no rows. They are a matrix of rows of
    /// <paramref name="inner"/>, which is stored transposed.
    /// </summary>
    public static Dispatch ColumnSums(DeviceTraits device, Slot partial, Slot sums, long rows, long pitch, long first, long columns, int inner)
    {
        int workgroup = device.IsCpu ? device.SubgroupSize : ColumnSumsWorkgroup, wide = device.IsCpu ? workgroup : 32;
        return Dispatch.Linear(
            "column_sums", (columns + wide - 1) / wide, [partial, sums], new ColumnScalars((uint)rows, (uint)pitch, (uint)first, (uint)columns, (uint)inner),
            (uint)workgroup, (uint)wide);
    }
}
