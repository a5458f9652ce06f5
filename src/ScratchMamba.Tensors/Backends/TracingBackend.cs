using System.Diagnostics;

namespace ScratchMamba.Tensors.Backends;

/// <summary>What one kind of operation has cost.</summary>
/// <param name="Operation">Its name.</param>
/// <param name="Calls">How often it ran.</param>
/// <param name="Time">The time of all calls together.</param>
/// <param name="Bytes">Bytes of all inputs and outputs together.</param>
public readonly record struct OperationCost(string Operation, long Calls, TimeSpan Time, long Bytes);

/// <summary>Measures the time and the bytes of every operation.</summary>
public sealed class TracingBackend(Backend inner) : DecoratedBackend(inner)
{
    private readonly Dictionary<string, OperationCost> costs = [];

    /// <summary>What was measured, costliest first.</summary>
    public IReadOnlyList<OperationCost> Costs => [.. costs.Values.OrderByDescending(cost => cost.Time)];

    /// <summary>Forgets what was measured.</summary>
    public void Reset() => costs.Clear();

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        long start = Stopwatch.GetTimestamp();
        base.Execute(call);
        TimeSpan time = Stopwatch.GetElapsedTime(start);
        long bytes = 0;
        foreach (Tensor input in call.Inputs)
            bytes += input.Type.Bytes;
        foreach (Tensor output in call.Outputs)
            bytes += output.Type.Bytes;
        OperationCost cost = costs.GetValueOrDefault(call.Operation.Name);
        costs[call.Operation.Name] = new OperationCost(call.Operation.Name, cost.Calls + 1, cost.Time + time, cost.Bytes + bytes);
    }
}
