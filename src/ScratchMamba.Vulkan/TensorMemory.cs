namespace ScratchMamba.Vulkan;

/// <summary>A part of a block, with the last submission that may touch it.</summary>
internal readonly record struct MemoryRange(MemoryBlock Block, long Offset, long Size, ulong LastUse);

/// <summary>
/// Hands out parts of a few large blocks, best fit first; freed neighbours merge. A freed range may be handed out at once: the commands of a stream run in order,
/// and its barriers go by address. Only the host has to wait until a range's last use has passed.
/// </summary>
internal sealed class TensorMemory(VulkanDevice device, MemoryTypes types, CommandStream stream) : IDisposable
{
    // A multiple of every alignment that buffers ask for: tensors never share a cache line.
    private const int Alignment = 256;

    // Small tensors stay out of the blocks of large ones, where they would be in the way of the next large one.
    private const long SmallTensor = 1L << 20, SmallBlock = 16L << 20, LeastBlock = 64L << 20, MostBlock = 512L << 20;

    private readonly Pool small = new(), large = new();
    private readonly HashSet<MemoryBlock> blocks = [];

    /// <summary>The most that may be taken from the device.</summary>
    public long Limit { get; set; } = long.MaxValue;

    /// <summary>Bytes taken from the device, in use or not.</summary>
    public long HeldBytes { get; private set; }

    /// <summary>A range of at least this size, or null where the device has no memory left.</summary>
    public MemoryRange? TryRent(long bytes)
    {
        long size = Math.Max(Alignment, (bytes + Alignment - 1) / Alignment * Alignment);
        Pool pool = size < SmallTensor ? small : large;
        if (pool.TryTake(size) is { } range)
            return range;
        long preferred = pool == small ? SmallBlock : Math.Max(size, Math.Clamp(HeldBytes / 4 / LeastBlock * LeastBlock, LeastBlock, MostBlock));
        MemoryBlock? block = Make(preferred) ?? (size < preferred ? Make(size) : null);
        if (block is null)
        {
            Trim();
            block = Make(size);
        }
        if (block is null)
            return null;
        pool.Put(new MemoryRange(block, 0, block.Size, 0));
        return pool.TryTake(size);
    }

    /// <summary>Takes a range back.</summary>
    public void Return(MemoryRange range) => (range.Size < SmallTensor ? small : large).Put(range);

    /// <summary>Gives blocks that nothing lives in back to the device, after the commands that use them.</summary>
    public void Trim()
    {
        stream.Finish();
        foreach (Pool pool in (ReadOnlySpan<Pool>)[small, large])
        {
            foreach (MemoryBlock block in pool.TakeWhole(stream))
                Free(block);
        }
    }

    public void Dispose()
    {
        foreach (MemoryBlock block in blocks)
            block.Free();
        blocks.Clear();
    }

    private MemoryBlock? Make(long size)
    {
        if (size > Math.Min(types.AvailableBytes(), Limit - HeldBytes))
            return null;
        MemoryBlock? block = MemoryBlock.TryMake(device, size, types.Tensors, types.IsUnified);
        if (block is not null)
        {
            blocks.Add(block);
            HeldBytes += size;
        }
        return block;
    }

    private void Free(MemoryBlock block)
    {
        blocks.Remove(block);
        HeldBytes -= block.Size;
        block.Free();
    }

    /// <summary>Free ranges, found by size and by neighbour.</summary>
    private sealed class Pool
    {
        private readonly SortedSet<(long Size, ulong Address)> bySize = [];
        private readonly Dictionary<ulong, MemoryRange> byStart = [];
        private readonly Dictionary<ulong, ulong> startByEnd = [];

        public MemoryRange? TryTake(long size)
        {
            foreach ((long Size, ulong Address) found in bySize.GetViewBetween((size, 0), (long.MaxValue, ulong.MaxValue)))
            {
                MemoryRange range = byStart[found.Address];
                Remove(range);
                if (range.Size > size)
                    Add(range with { Offset = range.Offset + size, Size = range.Size - size });
                return range with { Size = size };
            }
            return null;
        }

        public void Put(MemoryRange range)
        {
            if (startByEnd.TryGetValue(Start(range), out ulong start) && byStart[start].Block == range.Block)
                range = Merge(byStart[start], range);
            if (byStart.TryGetValue(End(range), out MemoryRange next) && next.Block == range.Block)
                range = Merge(range, next);
            Add(range);
        }

        public List<MemoryBlock> TakeWhole(CommandStream stream)
        {
            MemoryRange[] whole = [.. byStart.Values.Where(range => range.Size == range.Block.Size && stream.HasPassed(range.LastUse))];
            Array.ForEach(whole, Remove);
            return [.. whole.Select(range => range.Block)];
        }

        private static ulong Start(MemoryRange range) => range.Block.Address + (ulong)range.Offset;

        private static ulong End(MemoryRange range) => Start(range) + (ulong)range.Size;

        // Two ranges side by side, of which at most one is in the pool on each side.
        private MemoryRange Merge(MemoryRange left, MemoryRange right)
        {
            Remove(left);
            Remove(right);
            return left with { Size = left.Size + right.Size, LastUse = Math.Max(left.LastUse, right.LastUse) };
        }

        private void Add(MemoryRange range)
        {
            bySize.Add((range.Size, Start(range)));
            byStart.Add(Start(range), range);
            startByEnd.Add(End(range), Start(range));
        }

        private void Remove(MemoryRange range)
        {
            if (!byStart.Remove(Start(range)))
                return;
            bySize.Remove((range.Size, Start(range)));
            startByEnd.Remove(End(range));
        }
    }
}
