namespace ScratchMamba.Tensors.Operations;

/// <summary>What the launches that work row by row share.</summary>
internal static class RowLaunch
{
    private const int ColumnSumsWorkgroup = 1024, MostRuns = 1024;

    // Quads of a row that an invocation holds in registers, of a norm and of its gradient, which holds several rows and the next ones: what the loads under way at once are.
    private const int MostHeld = 12, MostHeldOfGradient = 2;

    private readonly record struct ColumnScalars(uint Rows, uint Pitch, uint First, uint Columns, uint Inner);

    /// <summary>The invocations that share a row: as many as it has use for; on a processor a single subgroup, which needs no barriers.</summary>
    public static uint Workgroup(DeviceTraits device, int columns) =>
        device.IsCpu ? (uint)device.SubgroupSize : (uint)Math.Clamp((columns / 4 + 63) / 64 * 64, 64, Math.Min(256, device.WorkgroupInvocations));

    /// <summary>
    /// The constants of a norm's shader: the invocations that share a row, <paramref name="codes"/>, how many quads each takes, and whether they are a row without a rest.
    /// Few invocations share a row, so that each has many loads under way and they seldom wait for each other.
    /// </summary>
    public static uint[] Norm(DeviceTraits device, int columns, ReadOnlySpan<uint> codes, int most = MostHeld)
    {
        int quads = (columns + 3) / 4, subgroup = device.SubgroupSize;
        int lanes = device.IsCpu ? subgroup : Math.Min((quads + most * subgroup - 1) / (most * subgroup) * subgroup, device.WorkgroupInvocations / subgroup * subgroup);
        for (int wider = lanes; !device.IsCpu && wider < 2 * lanes && wider <= device.WorkgroupInvocations; wider += subgroup)
        {
            if (quads % wider == 0)
            {
                lanes = wider;
                break;
            }
        }
        return [(uint)lanes, .. codes, (uint)((quads + lanes - 1) / lanes), columns % (4 * lanes) == 0 ? 1u : 0];
    }

    /// <summary>
    /// The derivative of a norm: a dispatch with a workgroup for each group of a run of rows, whose shares of dw are in scratch and are added up. The shader is given
    /// <paramref name="slots"/> and the shares, and the constants of <see cref="Norm"/>.
    /// </summary>
    public static Launch Gradient<TScalars>(
        DeviceTraits device, string shader, long rows, int columns, int groups, Slot[] slots, uint[] codes, Slot dw, Func<uint, TScalars> scalars) where TScalars : unmanaged
    {
        if (columns == 0)
            return Launch.Nothing;
        int width = columns / groups;
        long run = Math.Max(4, (rows + MostRuns - 1) / MostRuns), runs = (rows + run - 1) / run;
        List<Dispatch> dispatches = [];
        if (runs > 0)
        {
            dispatches.Add(Dispatch.Linear(
                shader, runs * groups, [.. slots, Slot.ScratchOut(0)], scalars((uint)run), Norm(device, width, codes, MostHeldOfGradient)));
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
        // So many columns a workgroup that an invocation's rows are a flight of loads.
        int workgroup = device.IsCpu ? device.SubgroupSize : Math.Min(ColumnSumsWorkgroup, device.WorkgroupInvocations / 32 * 32), wide = device.IsCpu ? workgroup : rows <= 256 ? 32 : rows <= 512 ? 16 : 8;
        return Dispatch.Linear(
            "column_sums", (columns + wide - 1) / wide, [partial, sums], new ColumnScalars((uint)rows, (uint)pitch, (uint)first, (uint)columns, (uint)inner),
            (uint)workgroup, (uint)wide);
    }
}
