using CommunityToolkit.HighPerformance.Helpers;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>The body of a parallel loop: a struct, so that the loop is compiled for it and nothing is allocated per iteration.</summary>
internal interface IParallelBody
{
    /// <summary>Does part <paramref name="index"/>. Parts share nothing that one of them writes.</summary>
    void Invoke(int index);
}

/// <summary>
/// Parallel loops. The parts are those of the problem, never of the machine, and none adds to what another one adds to:
/// so results are the same for any number of threads.
/// </summary>
internal static unsafe class CpuParallel
{
    /// <summary>Below this many elementary operations (about 10 µs) starting threads costs more than it saves.</summary>
    private const long InlineCost = 40_000;

    /// <summary>Does parts 0 … <paramref name="count"/> − 1.</summary>
    /// <param name="threads">How many threads may take part.</param>
    /// <param name="count">The number of parts.</param>
    /// <param name="costPerPart">Elementary operations (one multiply-add, or one element copied) of one part, roughly.</param>
    /// <param name="body">What to do.</param>
    public static void For<TBody>(int threads, int count, long costPerPart, in TBody body) where TBody : struct, IParallelBody
    {
        if (threads == 1 || count == 1 || count * costPerPart < InlineCost)
        {
            for (int i = 0; i < count; i++)
                body.Invoke(i);
            return;
        }
        // The threads take chunks as they finish the last: parts differ in length, and other programs take cores away.
        long next = 0;
        var worker = new Worker<TBody>(body, count, Math.Max(1, count / (8 * threads)), &next);
        ParallelHelper.For(0, Math.Min(threads, count), worker, minimumActionsPerThread: 1);
    }

    private readonly unsafe struct Worker<TBody>(TBody body, int count, int chunk, long* next) : IAction where TBody : struct, IParallelBody
    {
        public void Invoke(int worker)
        {
            long start;
            while ((start = Interlocked.Add(ref *next, chunk) - chunk) < count)
            {
                int end = (int)Math.Min(count, start + chunk);
                for (int i = (int)start; i < end; i++)
                    body.Invoke(i);
            }
        }
    }
}
