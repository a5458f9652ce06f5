using ScratchMamba.Tensors.Backends;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>Times operations on the device, and the kernels of those that take several: a timestamp after each, and one before the first of a submission.</summary>
internal sealed unsafe class Timestamps : IDisposable
{
    private const int Capacity = 2048, Pools = 3;

    private readonly VulkanDevice device;
    private readonly CommandStream stream;
    private readonly QueryPool[] pools = new QueryPool[Pools];
    private readonly Queue<(int Pool, ulong Value, List<Stamp> Stamps)> pending = new();
    private readonly List<TraceEvent> events = [];
    private List<Stamp> stamps = [];
    private int current;
    private ulong origin;

    public Timestamps(VulkanDevice device, CommandStream stream)
    {
        this.device = device;
        this.stream = stream;
        for (int i = 0; i < Pools; i++)
        {
            var info = new QueryPoolCreateInfo { QueryType = QueryType.Timestamp, QueryCount = Capacity };
            QueryPool pool;
            device.Check(device.Vk.CreateQueryPool(device.Handle, &info, null, &pool), "making timestamps");
            pools[i] = pool;
        }
    }

    public bool IsFull => stamps.Count + 64 >= Capacity;

    /// <summary>What was timed; waits for what has not run yet.</summary>
    public IReadOnlyList<TraceEvent> Events
    {
        get
        {
            stream.Finish();
            while (pending.Count > 0)
                Collect();
            return events;
        }
    }

    public void Begin(CommandBuffer buffer, ulong value)
    {
        while (pending.Count > 0 && (pending.Count == Pools || stream.HasPassed(pending.Peek().Value)))
            Collect();
        current = (current + 1) % Pools;
        stamps = [];
        pending.Enqueue((current, value, stamps));
        device.Vk.CmdResetQueryPool(buffer, pools[current], 0, Capacity);
        Write(buffer, 0);
    }

    /// <summary>Marks the end of a kernel.</summary>
    public void MarkKernel(CommandBuffer buffer, string name)
    {
        if (stamps.Count + 1 >= Capacity)
            return;
        stamps.Add(new Stamp(name, null, 0));
        Write(buffer, stamps.Count);
    }

    /// <summary>Marks the end of an operation: of all kernels since the last.</summary>
    public void MarkOperation(CommandBuffer buffer, string name, long bytes)
    {
        // Copies have no kernel.
        if (stamps.Count == 0 || stamps[^1].Operation is not null)
            MarkKernel(buffer, name);
        if (stamps.Count > 0)
            stamps[^1] = stamps[^1] with { Operation = name, Bytes = bytes };
    }

    public void Dispose()
    {
        foreach (QueryPool pool in pools)
            device.Vk.DestroyQueryPool(device.Handle, pool, null);
    }

    private void Write(CommandBuffer buffer, int index) => device.Vk.CmdWriteTimestamp2(buffer, PipelineStageFlags2.AllCommandsBit, pools[current], (uint)index);

    private void Collect()
    {
        (int pool, ulong value, List<Stamp> done) = pending.Dequeue();
        stream.WaitFor(value);
        var ticks = new ulong[done.Count + 1];
        fixed (ulong* first = ticks)
        {
            device.Check(
                device.Vk.GetQueryPoolResults(device.Handle, pools[pool], 0, (uint)ticks.Length, (nuint)(8 * ticks.Length), first, 8, QueryResultFlags._64Bit | QueryResultFlags.WaitBit),
                "reading timestamps");
        }
        origin = origin == 0 ? ticks[0] : origin;
        double period = device.Info.Limits.TimestampPeriod / 1000;
        for (int i = 0, first = 0; i < done.Count; i++)
        {
            if (done[i].Operation is not { } operation)
                continue;
            events.Add(new TraceEvent(operation, (ticks[first] - origin) * period, (ticks[i + 1] - ticks[first]) * period, done[i].Bytes));
            for (int kernel = first; first < i && kernel <= i; kernel++)
                events.Add(new TraceEvent(operation, (ticks[kernel] - origin) * period, (ticks[kernel + 1] - ticks[kernel]) * period, 0, done[kernel].Kernel));
            first = i + 1;
        }
    }

    /// <summary>The end of a kernel, and of an operation where it is its last.</summary>
    private readonly record struct Stamp(string Kernel, string? Operation, long Bytes);
}
