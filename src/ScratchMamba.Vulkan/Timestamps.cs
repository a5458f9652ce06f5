using ScratchMamba.Tensors.Backends;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>Times operations on the device: a timestamp after each, and one before the first of a submission.</summary>
internal sealed unsafe class Timestamps : IDisposable
{
    private const int Capacity = 512, Pools = 3;

    private readonly VulkanDevice device;
    private readonly CommandStream stream;
    private readonly QueryPool[] pools = new QueryPool[Pools];
    private readonly Queue<(int Pool, ulong Value, List<(string Name, long Bytes)> Marks)> pending = new();
    private readonly List<TraceEvent> events = [];
    private List<(string Name, long Bytes)> marks = [];
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

    public bool IsFull => marks.Count + 1 >= Capacity;

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
        marks = [];
        pending.Enqueue((current, value, marks));
        device.Vk.CmdResetQueryPool(buffer, pools[current], 0, Capacity);
        Write(buffer, 0);
    }

    public void Mark(CommandBuffer buffer, string name, long bytes)
    {
        if (IsFull)
            return;
        marks.Add((name, bytes));
        Write(buffer, marks.Count);
    }

    public void Dispose()
    {
        foreach (QueryPool pool in pools)
            device.Vk.DestroyQueryPool(device.Handle, pool, null);
    }

    private void Write(CommandBuffer buffer, int index) => device.Vk.CmdWriteTimestamp2(buffer, PipelineStageFlags2.AllCommandsBit, pools[current], (uint)index);

    private void Collect()
    {
        (int pool, ulong value, List<(string Name, long Bytes)> done) = pending.Dequeue();
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
        for (int i = 0; i < done.Count; i++)
            events.Add(new TraceEvent(done[i].Name, (ticks[i] - origin) * period, (ticks[i + 1] - ticks[i]) * period, done[i].Bytes));
    }
}
