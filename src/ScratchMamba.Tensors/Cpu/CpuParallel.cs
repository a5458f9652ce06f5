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

    /// <summary>Does parts 0 … <paramref name="count"/> − 1.</summary>
    /// <param name="threads">How many threads may take part.</param>
    /// <param name="count">The number of parts.</param>
    /// <param name="costPerPart">Elementary operations (one multiply-add, or one element copied) of one part, roughly.</param>
    /// <param name="body">What to do.</param>
    public static void For<TBody>(int threads, int count, long costPerPart, in TBody body) where TBody : struct, IParallelBody
    {
        if (threads > 1 && count > 1 && count * costPerPart >= InlineCost)
        {
            // The threads take chunks as they finish the last: parts differ in length, and other programs take cores away.
            threads = Math.Min(threads, count);
            var loop = new Loop<TBody> { Body = body, Count = count, Chunk = Math.Max(1, count / (8 * threads)) };
            if (CpuWorkers.TryRun(threads, &Loop<TBody>.Work, Unsafe.AsPointer(ref loop)))
                return;
        }
        for (int i = 0; i < count; i++)
            body.Invoke(i);
    }

    private struct Loop<TBody> where TBody : struct, IParallelBody
    {
        public TBody Body;
        public int Count, Chunk;
        private long next;

        public static void Work(void* state)
        {
            ref Loop<TBody> loop = ref Unsafe.AsRef<Loop<TBody>>(state);
            // A copy of its own: every thread writes to what lies beside the other.
            TBody body = loop.Body;
            (int count, int chunk) = (loop.Count, loop.Chunk);
            long start;
            while ((start = Interlocked.Add(ref loop.next, chunk) - chunk) < count)
            {
                int end = (int)Math.Min(count, start + chunk);
                for (int i = (int)start; i < end; i++)
                    body.Invoke(i);
            }
        }
    }
}
