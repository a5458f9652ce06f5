using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>The body of a parallel loop: a struct, so that the loop is compiled for it and nothing is allocated per iteration.</summary>
internal interface IParallelBody
{
    /// <summary>Does part <paramref name="index"/>. Parts share nothing that one of them writes.</summary>
    void Invoke(int index);
}

/// <summary>
/// Parallel loops. The parts are those of the problem, never of the machine, and none adds to what another one adds to:
/// so results are the same for any number of threads. A loop within a loop runs on the thread that meets it.
/// </summary>
internal static unsafe class CpuParallel
{
    /// <summary>Below this many elementary operations (some microseconds) a loop is over before a sleeping thread would have come.</summary>
    private const long InlineCost = 16_000;

    // Parts are taken one by one where they are longer than this, about a microsecond: to take one costs some nanoseconds, and the last one taken keeps the other threads waiting.
    private const long ChunkCost = 4_000;

    // From one thread's counter to the next: two cache lines, since processors fetch them in pairs.
    private const int Apart = 16;

    /// <summary>Does parts 0 … <paramref name="count"/> − 1.</summary>
    /// <param name="threads">How many threads may take part.</param>
    /// <param name="count">The number of parts.</param>
    /// <param name="costPerPart">Elementary operations (one multiply-add, or one element copied) of one part, roughly.</param>
    /// <param name="body">What to do.</param>
    public static void For<TBody>(int threads, int count, long costPerPart, in TBody body) where TBody : struct, IParallelBody
    {
        if (threads > 1 && count > 1 && count * costPerPart >= InlineCost)
        {
            threads = Math.Min(threads, count);
            long chunk = Math.Clamp(ChunkCost / Math.Max(1, costPerPart), 1, Math.Max(1, count / (8 * threads)));
            long* next = stackalloc long[threads * Apart];
            for (int i = 0; i < threads; i++)
                next[i * Apart] = First(i, threads, count);
            var loop = new Loop<TBody> { Body = body, Next = next, Threads = threads, Count = count, Chunk = (int)chunk };
            if (CpuWorkers.TryRun(threads, &Loop<TBody>.Work, Unsafe.AsPointer(ref loop)))
                return;
        }
        for (int i = 0; i < count; i++)
            body.Invoke(i);
    }

    // The first part of a thread's share.
    private static long First(int thread, int threads, int count) => (long)count * thread / threads;

    /// <summary>
    /// Each thread begins with a share of its own, the same in every loop of as many parts, so that it finds in its caches what it wrote there in the last. Then it takes from the others what they have not begun:
    /// parts differ in length, and other programs take processors away.
    /// </summary>
    private struct Loop<TBody> where TBody : struct, IParallelBody
    {
        public TBody Body;
        public long* Next;
        public int Threads, Count, Chunk;

        public static void Work(void* state, int thread)
        {
            ref Loop<TBody> loop = ref Unsafe.AsRef<Loop<TBody>>(state);
            // A copy of its own: every thread writes to what lies beside the other.
            TBody body = loop.Body;
            long* next = loop.Next;
            (int threads, int count, int chunk) = (loop.Threads, loop.Count, loop.Chunk);
            for (int i = 0; i < threads; i++)
            {
                int share = (thread + i) % threads;
                long last = First(share + 1, threads, count), start;
                while ((start = Interlocked.Add(ref next[share * Apart], chunk) - chunk) < last)
                {
                    int end = (int)Math.Min(last, start + chunk);
                    for (int part = (int)start; part < end; part++)
                        body.Invoke(part);
                }
            }
        }
    }
}
