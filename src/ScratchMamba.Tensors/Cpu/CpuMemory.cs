using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>Native memory, aligned to a cache line, that is kept for reuse when it comes back.</summary>
internal sealed unsafe class CpuMemory : IDisposable
{
    private const int Alignment = 64;

    // A block may serve a request of at least half its size: steps that repeat find what the last one returned.
    private readonly SortedSet<(long Size, nint Address)> free = [];
    private readonly Dictionary<nint, long> sizes = [];
    private readonly Lock gate = new();

    /// <summary>Bytes held, in use or waiting for reuse.</summary>
    public long HeldBytes { get; private set; }

    public byte* Rent(long bytes)
    {
        long size = Math.Max(Alignment, checked((bytes + Alignment - 1) / Alignment * Alignment));
        lock (gate)
        {
            foreach ((long Size, nint Address) block in free.GetViewBetween((size, nint.MinValue), (2 * size, nint.MaxValue)))
            {
                free.Remove(block);
                return (byte*)block.Address;
            }
            return Make(size);
        }
    }

    public void Return(byte* address)
    {
        lock (gate)
        {
            if (sizes.TryGetValue((nint)address, out long size))
                free.Add((size, (nint)address));
        }
    }

    /// <summary>Gives the blocks that wait for reuse back to the operating system.</summary>
    public void Trim()
    {
        lock (gate)
        {
            foreach ((long size, nint address) in free)
            {
                sizes.Remove(address);
                HeldBytes -= size;
                NativeMemory.AlignedFree((void*)address);
            }
            free.Clear();
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            foreach (nint address in sizes.Keys)
                NativeMemory.AlignedFree((void*)address);
            sizes.Clear();
            free.Clear();
            HeldBytes = 0;
        }
    }

    private byte* Make(long size)
    {
        void* address;
        try
        {
            address = NativeMemory.AlignedAlloc((nuint)size, Alignment);
        }
        catch (OutOfMemoryException)
        {
            Trim();
            address = NativeMemory.AlignedAlloc((nuint)size, Alignment);
        }
        sizes.Add((nint)address, size);
        HeldBytes += size;
        return (byte*)address;
    }
}
