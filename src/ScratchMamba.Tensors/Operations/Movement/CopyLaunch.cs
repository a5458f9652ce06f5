namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// A copy between two strided regions, as dispatches: axes are added from the outermost to the innermost, and merged where both sides allow it.
/// Elements are 32-bit words, whatever they mean: numbers of 16 bits are moved in pairs, where all pairs stay together.
/// </summary>
internal sealed class CopyLaunch
{
    private const int Tile = 32;

    private readonly record struct Axis(long Extent, long Source, long Target);

    private struct CopyScalars
    {
        public uint Count, Rank, Source, Target;
        public AxisValues Extents, SourceStrides, TargetStrides;
    }

    private unsafe struct TransposeScalars
    {
        public const int MaxRank = 6;

        public uint Groups, Lines, Columns, LineStride, ColumnStride, Rank;
        public fixed uint Extents[MaxRank], SourceStrides[MaxRank], TargetStrides[MaxRank];
    }

    // The innermost axis is the last.
    private readonly List<Axis> axes = [];

    private long count = 1;

    /// <summary>Where the first element is read.</summary>
    public long Source { get; init; }

    /// <summary>Where the first element is written.</summary>
    public long Target { get; init; }

    /// <summary>Whether elements of this type are moved as words.</summary>
    public static bool Covers(DType type) => type.Size() == sizeof(uint);

    /// <summary>How many elements a word holds, where it holds none of two of the runs of <paramref name="lengths"/> elements that are moved; null otherwise.</summary>
    public static int? PerWord(DType type, params ReadOnlySpan<long> lengths)
    {
        if (!type.IsNarrow())
            return Covers(type) ? 1 : null;
        foreach (long length in lengths)
        {
            if (length % 2 != 0)
                return null;
        }
        return 2;
    }

    /// <summary>Adds an axis within those added before; its strides are the distances of neighbours in the source and in the target.</summary>
    public CopyLaunch With(long extent, long sourceStride, long targetStride)
    {
        count *= extent;
        if (extent == 1)
            return this;
        if (axes.Count > 0 && axes[^1].Source == sourceStride * extent && axes[^1].Target == targetStride * extent)
            axes[^1] = new Axis(axes[^1].Extent * extent, sourceStride, targetStride);
        else
            axes.Add(new Axis(extent, sourceStride, targetStride));
        return this;
    }

    /// <summary>Appends the copy to a list of dispatches, unless there is nothing to copy.</summary>
    public void AddTo(List<Dispatch> dispatches, Slot source, Slot target, DeviceTraits device)
    {
        if (count == 0)
            return;
        int lines = axes.FindIndex(axis => axis.Source == 1);
        // On a processor the caches do what the tile would.
        bool transposes = lines >= 0 && lines < axes.Count - 1 && axes[^1].Target == 1 && axes.Count - 2 <= TransposeScalars.MaxRank && !device.IsCpu;
        dispatches.Add(transposes && axes[lines].Extent >= 8 && axes[^1].Extent >= 8 ? Transpose(source, target, lines) : Copy(source, target));
    }

    /// <summary>The copy as a whole launch, of input 0 to output 0.</summary>
    public Launch ToLaunch(DeviceTraits device)
    {
        List<Dispatch> dispatches = [];
        AddTo(dispatches, Slot.In(0), Slot.Out(0), device);
        return new Launch(dispatches);
    }

    private Dispatch Copy(Slot source, Slot target)
    {
        var scalars = new CopyScalars { Count = (uint)count, Rank = (uint)axes.Count, Source = (uint)Source, Target = (uint)Target };
        for (int i = 0; i < axes.Count; i++)
        {
            Axis axis = axes[^(i + 1)];
            (scalars.Extents[i], scalars.SourceStrides[i], scalars.TargetStrides[i]) = ((uint)axis.Extent, (uint)axis.Source, (uint)axis.Target);
        }
        bool vectors = axes.Count > 0 && axes[^1] is { Source: 0 or 1, Target: 1 } inner && inner.Extent % 4 == 0 && Target % 4 == 0
            && axes.SkipLast(1).All(axis => axis.Target % 4 == 0) && (inner.Source == 0 || (Source % 4 == 0 && axes.SkipLast(1).All(axis => axis.Source % 4 == 0)));
        return Dispatch.Linear("copy", ElementwiseLaunch.Groups(count), [source, target], scalars, ElementwiseLaunch.Workgroup, vectors ? 1u : 0u);
    }

    private unsafe Dispatch Transpose(Slot source, Slot target, int lines)
    {
        Axis line = axes[lines], column = axes[^1];
        long groups = (line.Extent + Tile - 1) / Tile * ((column.Extent + Tile - 1) / Tile);
        var scalars = new TransposeScalars
        {
            Lines = (uint)line.Extent, Columns = (uint)column.Extent, LineStride = (uint)line.Target, ColumnStride = (uint)column.Source, Rank = (uint)axes.Count - 2,
        };
        int outer = 0;
        for (int i = 0; i < axes.Count - 1; i++)
        {
            if (i == lines)
                continue;
            groups *= axes[i].Extent;
            (scalars.Extents[outer], scalars.SourceStrides[outer], scalars.TargetStrides[outer]) = ((uint)axes[i].Extent, (uint)axes[i].Source, (uint)axes[i].Target);
            outer++;
        }
        scalars.Groups = (uint)groups;
        return Dispatch.Linear("transpose", groups, [source, target], scalars, ElementwiseLaunch.Workgroup);
    }
}
