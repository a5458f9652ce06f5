using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Sees to it that the threads of a loop run on processors of their own. Linux likes to wake a thread on the processor of the one that wakes it; there it waits for that one's time slice (up to 4 ms were measured),
/// and both may share a processor for many loops while another one idles. So a thread sleeps away from the one that will wake it, and one that meets another on its processor moves.
/// </summary>
internal static unsafe partial class CpuPlacement
{
    // The kernel's masks: 1,024 processors, as many as the C library's cpu_set_t has.
    private const int Processors = 1024, Words = Processors / 64;

    private static readonly bool IsUsed = OperatingSystem.IsLinux() && Environment.ProcessorCount > 1;

    // Which loop was last entered on each processor.
    private static readonly long[] Entered = new long[Processors];

    private static int opener = -1;

    /// <summary>Called by the thread that opens loop <paramref name="loop"/>.</summary>
    public static void Open(long loop)
    {
        if (!IsUsed)
            return;
        opener = GetProcessor();
        if ((uint)opener < Processors)
            Volatile.Write(ref Entered[opener], loop);
    }

    /// <summary>Called by each helper as it enters loop <paramref name="loop"/>: one that comes to a processor where the loop is being worked on already moves to another.</summary>
    public static void Enter(long loop)
    {
        if (!IsUsed)
            return;
        int here = GetProcessor();
        if ((uint)here >= Processors || Interlocked.Exchange(ref Entered[here], loop) != loop)
            return;
        ulong* allowed = stackalloc ulong[Words], free = stackalloc ulong[Words];
        if (GetAffinity(0, Words * sizeof(ulong), allowed) < 0)
            return;
        for (int processor = 0; processor < Processors; processor++)
        {
            if (processor % 64 == 0)
                free[processor / 64] = allowed[processor / 64];
            if (Volatile.Read(ref Entered[processor]) == loop)
                free[processor / 64] &= ~(1UL << (processor % 64));
        }
        // To be kept off a processor moves a thread at once; after that it may run anywhere again. Nothing happens where no processor is free.
        if (SetAffinity(0, Words * sizeof(ulong), free) < 0)
            return;
        _ = SetAffinity(0, Words * sizeof(ulong), allowed);
        here = GetProcessor();
        if ((uint)here < Processors)
            Volatile.Write(ref Entered[here], loop);
    }

    /// <summary>While it lives, this thread keeps off the processor where the last loop was opened: made before a helper sleeps, so that it wakes elsewhere.</summary>
    public ref struct Away : IDisposable
    {
        private readonly bool isAway;
        private fixed ulong allowed[Words];

        /// <summary>Leaves that processor.</summary>
        public Away()
        {
            ulong* away = stackalloc ulong[Words];
            fixed (ulong* mask = allowed)
            {
                if (!IsUsed || (uint)opener >= Processors || GetAffinity(0, Words * sizeof(ulong), mask) < 0)
                    return;
                new Span<ulong>(mask, Words).CopyTo(new Span<ulong>(away, Words));
                away[opener / 64] &= ~(1UL << (opener % 64));
                isAway = SetAffinity(0, Words * sizeof(ulong), away) >= 0;
            }
        }

        /// <summary>Allows it again.</summary>
        public void Dispose()
        {
            fixed (ulong* mask = allowed)
            {
                if (isAway)
                    _ = SetAffinity(0, Words * sizeof(ulong), mask);
            }
        }
    }

    // Thread.GetCurrentProcessorId may be some dozens of calls old.
    [LibraryImport("libc", EntryPoint = "sched_getcpu"), SuppressGCTransition]
    private static partial int GetProcessor();

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static partial int GetAffinity(int thread, nuint bytes, ulong* mask);

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static partial int SetAffinity(int thread, nuint bytes, ulong* mask);
}
