using System.Diagnostics;

namespace ScratchMamba.Tensors.Backends;

/// <summary>One run of an operation.</summary>
/// <param name="Operation">Its name.</param>
/// <param name="Start">When it began, in microseconds from some moment before all others.</param>
/// <param name="Duration">How long it took, in microseconds.</param>
/// <param name="Bytes">Bytes of all inputs and outputs together.</param>
/// <param name="Work">How much arithmetic it is.</param>
/// <param name="Kernel">Where an operation takes several kernels, the one that this event is of, beside the event of the whole operation; null for that one.</param>
public readonly record struct TraceEvent(string Operation, double Start, double Duration, long Bytes, Work Work = default, string? Kernel = null);

/// <summary>What one kind of operation has cost.</summary>
/// <param name="Operation">Its name.</param>
/// <param name="Calls">How often it ran.</param>
/// <param name="Time">The time of all calls together.</param>
/// <param name="Bytes">Bytes of all inputs and outputs together.</param>
/// <param name="Work">The arithmetic of all calls together.</param>
public readonly record struct OperationCost(string Operation, long Calls, TimeSpan Time, long Bytes, Work Work)
{
    /// <summary>The costs of each kind of operation, costliest first.</summary>
    public static IReadOnlyList<OperationCost> Of(IEnumerable<TraceEvent> events) =>
    [
        .. events.Where(item => item.Kernel is null).GroupBy(item => item.Operation)
            .Select(group => new OperationCost(group.Key, group.Count(), TimeSpan.FromMicroseconds(group.Sum(item => item.Duration)), group.Sum(item => item.Bytes), group.Aggregate(default(Work), (sum, item) => sum + item.Work)))
            .OrderByDescending(cost => cost.Time),
    ];
}

/// <summary>Measures the time and the bytes of every operation.</summary>
public sealed class TracingBackend(Backend inner) : DecoratedBackend(inner)
{
    private readonly List<TraceEvent> events = [];
    private readonly long origin = Stopwatch.GetTimestamp();

    /// <summary>Every operation that ran, in order.</summary>
    public IReadOnlyList<TraceEvent> Events => events;

    /// <summary>What was measured, costliest first.</summary>
    public IReadOnlyList<OperationCost> Costs => OperationCost.Of(events);

    /// <summary>Forgets what was measured.</summary>
    public void Reset() => events.Clear();

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        long start = Stopwatch.GetTimestamp();
        base.Execute(call);
        double duration = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
        events.Add(new TraceEvent(call.Operation.Name, Stopwatch.GetElapsedTime(origin, start).TotalMicroseconds, duration, call.Bytes, call.Work));
    }
}
