namespace ScratchMamba.Tensors.Operations;

/// <summary>What the launches that work row by row share.</summary>
internal static class RowLaunch
{
    private const int ColumnSumsWorkgroup = 256, MostRuns = 1024;

    private readonly record struct ColumnScalars(uint Rows, uint Pitch, uint First, uint Columns, uint Inner);

    /// <summary>The invocations that share a row: as many as it has use for; on a processor a single subgroup, which needs no barriers.</summary>
    public static uint Workgroup(DeviceTraits device, int columns, int most = 256) =>
        device.IsCpu ? (uint)device.SubgroupSize : (uint)Math.Clamp((columns / 4 + 63) / 64 * 64, 64, Math.Min(most, device.WorkgroupInvocations));

    /// <summary>
    /// The derivative of a norm: a dispatch with a workgroup for each group of a run of rows, whose shares of dw are in scratch and are added up. The shader is given
    /// <paramref name="slots"/> and the shares, and the constants <paramref name="codes"/> and how many quads of a group an invocation takes.
    /// </summary>
    public static Launch Gradient<TScalars>(
        DeviceTraits device, string shader, long rows, int columns, int groups, Slot[] slots, uint[] codes, Slot dw, Func<uint, TScalars> scalars) where TScalars : unmanaged
    {
        if (columns == 0)
            return Launch.Nothing;
        int width = columns / groups;
        uint workgroup = Workgroup(device, width);
        long run = Math.Max(4, (rows + MostRuns - 1) / MostRuns), runs = (rows + run - 1) / run;
        List<Dispatch> dispatches = [];
        if (runs > 0)
        {
            dispatches.Add(Dispatch.Linear(
                shader, runs * groups, [.. slots, Slot.ScratchOut(0)], scalars((uint)run), [workgroup, .. codes, ((uint)width + 4 * workgroup - 1) / (4 * workgroup)]));
        }
        dispatches.Add(ColumnSums(device, Slot.ScratchIn(0), dw, runs, columns, 0, columns, columns));
        return new Launch(dispatches, Math.Max(1, runs * columns) * sizeof(float));
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
