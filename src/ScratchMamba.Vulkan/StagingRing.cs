namespace ScratchMamba.Vulkan;

/// <summary>Memory that both the host and the device see, used round and round: what passes between them is copied through it by recorded commands.</summary>
internal sealed unsafe class StagingRing : IDisposable
{
    /// <summary>Larger transfers go in pieces of at most this size.</summary>
    public const long MostBytes = Size / 4;

    private const long Size = 32L << 20, Alignment = 256;

    private readonly CommandStream stream;

    // Positions count bytes ever handed out; the place in the memory is the position modulo the size.
    private readonly Queue<(long End, ulong Value, Action? Fetch)> inUse = new();
    private long head, tail;

    public StagingRing(VulkanDevice device, MemoryTypes types, CommandStream stream)
    {
        this.stream = stream;
        Block = MemoryBlock.TryMake(device, Size, types.Staging, isMapped: true)
            ?? throw new InsufficientMemoryException($"{device.Info} has no {Size >> 20} MB left for transfers.");
    }

    public MemoryBlock Block { get; }

    /// <summary>A place for some bytes, reserved until what is recorded now has run, and <paramref name="fetch"/>, if given, has been called.</summary>
    public long Reserve(long bytes, Action? fetch = null)
    {
        long size = (bytes + Alignment - 1) / Alignment * Alignment;
        if (head % Size + size > Size)
            head += Size - head % Size;
        while (head + size - tail > Size)
        {
            (long end, ulong value, Action? waiting) = inUse.Dequeue();
            stream.WaitFor(value);
            waiting?.Invoke();
            tail = end;
        }
        long place = head % Size;
        head += size;
        inUse.Enqueue((head, stream.Now, fetch));
        return place;
    }

    public Span<byte> At(long place, int length) => new(Block.Host + place, length);

    public void Dispose() => Block.Free();
}
