using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>Times operations on the device, and the kernels of those that take several: a timestamp before each, once what it waits for is done, and one after.</summary>
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
    private double between;

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

    public bool IsFull => 2 * stamps.Count + 128 >= Capacity;

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

    /// <summary>The time between the end of a kernel and the begin of the next of the same submission, of all that were collected.</summary>
    public TimeSpan Between => TimeSpan.FromMicroseconds(between);

    public void Begin(CommandBuffer buffer, ulong value)
    {
        while (pending.Count > 0 && (pending.Count == Pools || stream.HasPassed(pending.Peek().Value)))
            Collect();
        current = (current + 1) % Pools;
        stamps = [];
        pending.Enqueue((current, value, stamps));
        device.Vk.CmdResetQueryPool(buffer, pools[current], 0, Capacity);
    }

    /// <summary>Marks the begin of a kernel.</summary>
    public void BeginKernel(CommandBuffer buffer)
    {
        if (HasRoom)
            Write(buffer, 2 * stamps.Count);
    }

    /// <summary>Marks its end.</summary>
    public void EndKernel(CommandBuffer buffer, string name)
    {
        if (!HasRoom)
            return;
        Write(buffer, 2 * stamps.Count + 1);
        stamps.Add(new Stamp(name, null, 0, default));
    }

    /// <summary>Says that all kernels since the last were one operation.</summary>
    public void EndOperation(string name, long bytes, Work work)
    {
        if (stamps.Count > 0 && stamps[^1].Operation is null)
            stamps[^1] = stamps[^1] with { Operation = name, Bytes = bytes, Work = work };
    }

    public void Dispose()
    {
        foreach (QueryPool pool in pools)
            device.Vk.DestroyQueryPool(device.Handle, pool, null);
    }

    private bool HasRoom => 2 * stamps.Count + 2 <= Capacity;

    private void Write(CommandBuffer buffer, int index) => device.Vk.CmdWriteTimestamp2(buffer, PipelineStageFlags2.AllCommandsBit, pools[current], (uint)index);

    private void Collect()
    {
        (int pool, ulong value, List<Stamp> done) = pending.Dequeue();
        stream.WaitFor(value);
        if (done.Count == 0)
            return;
        var ticks = new ulong[2 * done.Count];
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
            // Between submissions the host may have had other things to do.
            if (i > 0 && ticks[2 * i] > ticks[2 * i - 1])
                between += (ticks[2 * i] - ticks[2 * i - 1]) * period;
            if (done[i].Operation is not { } operation)
                continue;
            events.Add(Event(operation, first, i) with { Bytes = done[i].Bytes, Work = done[i].Work });
            for (int kernel = first; first < i && kernel <= i; kernel++)
                events.Add(Event(operation, kernel, kernel) with { Kernel = done[kernel].Kernel });
            first = i + 1;
        }

        TraceEvent Event(string operation, int from, int to) => new(operation, (ticks[2 * from] - origin) * period, (ticks[2 * to + 1] - ticks[2 * from]) * period, 0);
    }

    /// <summary>The end of a kernel, and of an operation where it is its last.</summary>
    private readonly record struct Stamp(string Kernel, string? Operation, long Bytes, Work Work);
}
