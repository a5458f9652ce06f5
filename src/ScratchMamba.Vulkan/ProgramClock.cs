using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>How long the device works on a captured program: a timestamp at its begin and one at its end. Only the last run counts, once it has passed.</summary>
internal sealed unsafe class ProgramClock : IDisposable
{
    private readonly VulkanDevice device;
    private readonly QueryPool pool;

    public ProgramClock(VulkanDevice device)
    {
        this.device = device;
        var info = new QueryPoolCreateInfo { QueryType = QueryType.Timestamp, QueryCount = 2 };
        QueryPool made;
        device.Check(device.Vk.CreateQueryPool(device.Handle, &info, null, &made), "making timestamps");
        pool = made;
    }

    /// <summary>The time of the last run.</summary>
    public TimeSpan Last
    {
        get
        {
            ulong* ticks = stackalloc ulong[2];
            device.Check(device.Vk.GetQueryPoolResults(device.Handle, pool, 0, 2, 16, ticks, 8, QueryResultFlags._64Bit | QueryResultFlags.WaitBit), "reading timestamps");
            return TimeSpan.FromMicroseconds((ticks[1] - ticks[0]) * (double)device.Info.Limits.TimestampPeriod / 1000);
        }
    }

    public void Begin(CommandBuffer buffer)
    {
        device.Vk.CmdResetQueryPool(buffer, pool, 0, 2);
        Mark(buffer, 0);
    }

    public void End(CommandBuffer buffer) => Mark(buffer, 1);

    public void Dispose() => device.Vk.DestroyQueryPool(device.Handle, pool, null);

    private void Mark(CommandBuffer buffer, uint index) => device.Vk.CmdWriteTimestamp2(buffer, PipelineStageFlags2.AllCommandsBit, pool, index);
}
