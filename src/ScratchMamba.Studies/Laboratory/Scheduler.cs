using System.Diagnostics;
using ScratchMamba.Tensors;

namespace ScratchMamba.Studies.Laboratory;

/// <summary>How far the work is.</summary>
/// <param name="Share">The share that is done, 0 to 1.</param>
/// <param name="Left">The time that is left, as far as the speed till now tells.</param>
/// <param name="Text">What is being done.</param>
public readonly record struct StudyProgress(double Share, TimeSpan Left, string Text);

/// <summary>Does jobs side by side, each with a backend of its own: small models gain more from that than from sharing every operation between cores.</summary>
/// <param name="open">Opens a backend; the argument is how many threads it may use.</param>
/// <param name="workers">How many jobs run side by side.</param>
/// <param name="threads">How many threads there are, for all of them together.</param>
/// <param name="report">Takes note of progress; called by one thread at a time.</param>
public sealed class Scheduler(Func<int, Backend> open, int workers, int threads, Action<StudyProgress> report)
{
    // With more of them a step of the smallest takes longer in proportion.
    private const int MostTogether = 16;

    private readonly Lock gate = new();

    /// <summary>Does those of the jobs, and of what they need, whose results are not there.</summary>
    /// <exception cref="OperationCanceledException">It was cancelled; what was finished is kept.</exception>
    public void Run(IEnumerable<Job> jobs, Store store, CancellationToken cancellation)
    {
        var all = new Dictionary<string, Job>();
        foreach (Job job in jobs)
            Add(job);
        // What takes longest comes first, so that the last to finish is short.
        List<Job> waiting = [.. all.Values.Where(job => !job.IsDone(store)).OrderByDescending(job => job.Cost)];
        double total = waiting.Sum(job => job.Cost);
        var running = new Dictionary<Job, double>();
        double finished = 0;
        long start = Stopwatch.GetTimestamp();
        Exception? fault = null;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);

        int count = Math.Clamp(waiting.Count, 1, workers);
        Thread[] crew = [.. Enumerable.Range(0, count).Select(_ => new Thread(Work) { IsBackground = true })];
        foreach (Thread worker in crew)
            worker.Start();
        foreach (Thread worker in crew)
            worker.Join();
        cancellation.ThrowIfCancellationRequested();
        if (fault is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(fault);

        void Add(Job job)
        {
            if (!all.TryAdd(job.Settings, job))
                return;
            foreach (Job need in job.Needs)
                Add(need);
        }

        void Work()
        {
            try
            {
                using Backend backend = open(Math.Max(1, threads / count));
                while (Next(backend.IsQueued ? MostTogether : 1) is { Length: > 0 } jobs)
                {
                    Advance(jobs, 0, "");
                    jobs[0].Run(new JobContext(backend, store, (share, text) => Advance(jobs, share, text), stop.Token), jobs[1..]);
                    lock (gate)
                    {
                        foreach (Job job in jobs)
                            running.Remove(job);
                        finished += jobs.Sum(job => job.Cost);
                    }
                }
            }
            catch (Exception error)
            {
                lock (gate)
                    fault ??= error is OperationCanceledException && fault is not null ? fault : error;
                stop.Cancel();
            }
        }

        // The next job, and those that join it.
        Job[] Next(int most)
        {
            while (!stop.IsCancellationRequested)
            {
                lock (gate)
                {
                    if (waiting.Count == 0)
                        return [];
                    Job? ready = waiting.Find(IsReady);
                    if (ready is not null)
                    {
                        List<Job> jobs = [ready];
                        double share = ready.Share;
                        foreach (Job job in waiting)
                        {
                            if (jobs.Count < most && job != ready && ready.CanJoin(job) && share + job.Share <= 1 && IsReady(job))
                            {
                                jobs.Add(job);
                                share += job.Share;
                            }
                        }
                        foreach (Job job in jobs)
                        {
                            waiting.Remove(job);
                            running[job] = 0;
                        }
                        return [.. jobs];
                    }
                }
                // Everything that is left waits for a job that another worker does.
                stop.Token.WaitHandle.WaitOne(100);
            }
            return [];
        }

        bool IsReady(Job job) => job.Needs.All(need => all[need.Settings].IsDone(store));

        void Advance(Job[] jobs, double share, string text)
        {
            lock (gate)
            {
                foreach (Job job in jobs)
                    running[job] = share;
                double done = finished + running.Sum(entry => entry.Key.Cost * entry.Value), seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                TimeSpan left = done > 0 ? TimeSpan.FromSeconds(Math.Min((total - done) * seconds / done, 1e8)) : TimeSpan.Zero;
                report(new StudyProgress(total > 0 ? done / total : 1, left, text.Length > 0 ? $"{jobs[0].Title}: {text}" : jobs[0].Title));
            }
        }
    }
}
