using System.Diagnostics;
using System.Runtime.ExceptionServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Threads that help with parallel loops. After a loop they look for the next one for a while before they sleep, so that the loops of a model,
/// some microseconds apart, find them awake: waking one takes far longer than handing out a loop.
/// </summary>
internal static unsafe class CpuWorkers
{
    private static readonly long Patience = Stopwatch.Frequency / 2_000;

    private static readonly List<Worker> Workers = [];

    // One loop runs at a time. It is open (its number is not 0) while workers may enter; it ends when it is closed and none is inside any more.
    private static int taken, inside, helpers;
    private static long opened, open;
    private static delegate*<void*, int, void> work;
    private static void* state;
    private static ExceptionDispatchInfo? fault;

    /// <summary>Runs <paramref name="work"/> on this thread and, at the same time, on others, fewer where they come late; false, without running it, where another loop has the threads.</summary>
    /// <param name="threads">How many threads there may be, with this one.</param>
    /// <param name="work">What each thread runs once, with its number: 0 is this one, and the others keep theirs from loop to loop.</param>
    /// <param name="state">What it is given; it stays alive until this returns.</param>
    public static bool TryRun(int threads, delegate*<void*, int, void> work, void* state)
    {
        if (Interlocked.CompareExchange(ref taken, 1, 0) != 0)
            return false;
        try
        {
            while (Workers.Count < threads - 1)
                Workers.Add(new Worker(Workers.Count));
            CpuWorkers.work = work;
            CpuWorkers.state = state;
            helpers = threads - 1;
            CpuPlacement.Open(++opened);
            Interlocked.Exchange(ref open, opened);
            for (int i = 0; i < threads - 1; i++)
                Workers[i].Wake();
            try
            {
                work(state, 0);
            }
            finally
            {
                Interlocked.Exchange(ref open, 0);
                for (SpinWait wait = default; Volatile.Read(ref inside) != 0;)
                    wait.SpinOnce(sleep1Threshold: -1);
            }
            ExceptionDispatchInfo? thrown = fault;
            fault = null;
            thrown?.Throw();
            return true;
        }
        finally
        {
            Volatile.Write(ref taken, 0);
        }
    }

    private sealed class Worker
    {
        private readonly object bell = new();
        private readonly int index;
        private int asleep;

        public Worker(int index)
        {
            this.index = index;
            new Thread(Serve) { IsBackground = true, Name = $"ScratchMamba {index + 1}" }.UnsafeStart();
        }

        public void Wake()
        {
            if (Volatile.Read(ref asleep) == 0)
                return;
            lock (bell)
            {
                asleep = 0;
                Monitor.Pulse(bell);
            }
        }

        private void Serve()
        {
            long last = 0;
            while (true)
            {
                AwaitOther(last);
                // The dispatcher closes before it looks who is inside; so whoever enters and still finds a loop open is waited for.
                Interlocked.Increment(ref inside);
                long current = Volatile.Read(ref open);
                if (current != 0 && index < helpers)
                {
                    try
                    {
                        CpuPlacement.Enter(current);
                        work(state, index + 1);
                    }
                    catch (Exception thrown)
                    {
                        fault = ExceptionDispatchInfo.Capture(thrown);
                    }
                }
                last = current;
                Interlocked.Decrement(ref inside);
            }
        }

        /// <summary>Returns when a loop other than <paramref name="last"/> is open.</summary>
        private void AwaitOther(long last)
        {
            while (true)
            {
                long start = Stopwatch.GetTimestamp();
                do
                {
                    for (int i = 0; i < 32; i++)
                    {
                        if (IsOther(last))
                            return;
                        Thread.SpinWait(1);
                    }
                }
                while (Environment.ProcessorCount > 1 && Stopwatch.GetTimestamp() - start < Patience);
                using var away = new CpuPlacement.Away();
                lock (bell)
                {
                    // Whoever opens a loop looks afterwards who sleeps: one of the two sees the other.
                    Interlocked.Exchange(ref asleep, 1);
                    while (asleep == 1 && !IsOther(last))
                        Monitor.Wait(bell);
                    asleep = 0;
                }
            }
        }

        private static bool IsOther(long last) => Volatile.Read(ref open) is not 0 and long current && current != last;
    }
}
