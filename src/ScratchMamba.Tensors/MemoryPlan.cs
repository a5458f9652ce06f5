namespace ScratchMamba.Tensors;

/// <summary>What a tensor of a captured program needs: so many bytes from the operation that makes it to before the one that is the first not to need it.</summary>
internal readonly record struct Lifetime(long Bytes, int Begin, int End);

/// <summary>
/// Where the tensors of a captured program live in the memory that they share: two overlap only where no operation needs both. The largest are placed first, each into the
/// first gap between those that live at the same time: for a training step that is what lives at once, to a few hundredths.
/// Source: Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020 (greedy by size).
/// </summary>
internal sealed class MemoryPlan
{
    // A multiple of a cache line, and of every alignment that devices ask for.
    private const long Alignment = 256;

    private readonly List<Arena> arenas = [];

    /// <summary>Plans for tensors in arenas of at most <paramref name="most"/> bytes; a tensor that is larger than that gets one of its size.</summary>
    public MemoryPlan(ReadOnlySpan<Lifetime> tensors, long most)
    {
        Places = new (int, long)[tensors.Length];
        int[] order = new int[tensors.Length];
        var keys = new (long, int)[tensors.Length];
        for (int i = 0; i < order.Length; i++)
            (order[i], keys[i]) = (i, (-tensors[i].Bytes, i));
        Array.Sort(keys, order);
        foreach (int index in order)
            Places[index] = Place(tensors[index], most);
    }

    /// <summary>The arena of each tensor and where it starts there, in bytes.</summary>
    public (int Arena, long Offset)[] Places { get; }

    /// <summary>The bytes of each arena.</summary>
    public IEnumerable<long> Sizes => arenas.Select(arena => arena.Size);

    private (int Arena, long Offset) Place(Lifetime tensor, long most)
    {
        long bytes = (Math.Max(tensor.Bytes, 1) + Alignment - 1) / Alignment * Alignment;
        for (int i = 0; ; i++)
        {
            if (i == arenas.Count)
                arenas.Add(new Arena(Math.Max(most, bytes)));
            if (arenas[i].TryPlace(bytes, tensor) is { } offset)
                return (i, offset);
        }
    }

    private sealed class Arena(long most)
    {
        // By offset.
        private readonly List<(long Begin, long End, Lifetime Tensor)> places = [];

        public long Size { get; private set; }

        public long? TryPlace(long bytes, Lifetime tensor)
        {
            long offset = 0;
            foreach ((long Begin, long End, Lifetime Tensor) other in places)
            {
                if (other.Tensor.Begin >= tensor.End || tensor.Begin >= other.Tensor.End)
                    continue;
                if (other.Begin - offset >= bytes)
                    break;
                offset = Math.Max(offset, other.End);
            }
            if (offset + bytes > most)
                return null;
            int at = places.FindIndex(place => place.Begin > offset);
            places.Insert(at < 0 ? places.Count : at, (offset, offset + bytes, tensor));
            Size = Math.Max(Size, offset + bytes);
            return offset;
        }
    }
}
