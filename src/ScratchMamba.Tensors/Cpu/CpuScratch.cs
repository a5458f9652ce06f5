using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Memory for the intermediate tiles of one part of a parallel loop, from a store that each thread keeps for the next part.
/// It begins anew with every instance, so a thread has one in use at a time. Aligned to a cache line, uninitialised.
/// </summary>
internal unsafe ref struct CpuScratch
{
    private const int Alignment = 64;
    private const long SlabBytes = 1 << 20;

    // Pinned arrays, not native memory: they go when their thread does.
    [ThreadStatic]
    private static List<byte[]>? slabs;

    private int used;
    private byte* next, end;

    /// <summary>Room for <paramref name="count"/> elements.</summary>
    public T* Take<T>(long count) where T : unmanaged
    {
        long bytes = (checked(count * sizeof(T)) + Alignment - 1) / Alignment * Alignment;
        while (end - next < bytes)
            NextSlab(bytes + Alignment);
        byte* taken = next;
        next += bytes;
        return (T*)taken;
    }

    /// <summary>Room for <paramref name="count"/> elements, all zero.</summary>
    public T* TakeZeros<T>(long count) where T : unmanaged
    {
        T* taken = Take<T>(count);
        new Span<T>(taken, checked((int)count)).Clear();
        return taken;
    }

    private void NextSlab(long bytes)
    {
        slabs ??= [];
        if (used == slabs.Count)
            slabs.Add(GC.AllocateUninitializedArray<byte>(checked((int)Math.Max(SlabBytes, bytes)), pinned: true));
        byte[] slab = slabs[used++];
        byte* start = (byte*)Unsafe.AsPointer(ref slab[0]);
        next = (byte*)(((nint)start + Alignment - 1) / Alignment * Alignment);
        end = start + slab.Length;
    }
}
