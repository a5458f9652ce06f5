using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>Writes commands into a command buffer, with a barrier before each that depends on an earlier one.</summary>
/// <param name="vk">The functions.</param>
/// <param name="sequences">How many sequences of commands take turns.</param>
internal sealed unsafe class CommandWriter(Vk vk, int sequences = 1)
{
    private const PipelineStageFlags2 Work = PipelineStageFlags2.ComputeShaderBit | PipelineStageFlags2.AllTransferBit;
    private const AccessFlags2 Writes = AccessFlags2.ShaderWriteBit | AccessFlags2.TransferWriteBit;
    private const AccessFlags2 Reads = AccessFlags2.ShaderReadBit | AccessFlags2.TransferReadBit;

    private readonly HazardTracker hazards = new(sequences);

    public CommandBuffer Buffer { get; set; }

    public void Dispatch(Pipeline pipeline, PipelineLayout layout, ReadOnlySpan<byte> push, (uint X, uint Y, uint Z) groups, ReadOnlySpan<Access> accesses, Timestamps? timestamps = null)
    {
        Order(accesses);
        timestamps?.BeginKernel(Buffer);
        vk.CmdBindPipeline(Buffer, PipelineBindPoint.Compute, pipeline);
        fixed (byte* bytes = push)
            vk.CmdPushConstants(Buffer, layout, ShaderStageFlags.ComputeBit, 0, (uint)push.Length, bytes);
        vk.CmdDispatch(Buffer, groups.X, groups.Y, groups.Z);
    }

    public void Copy(MemoryBlock source, long sourceOffset, MemoryBlock target, long targetOffset, long bytes, Timestamps? timestamps = null)
    {
        Order([source.Access(sourceOffset, bytes, writes: false), target.Access(targetOffset, bytes, writes: true)]);
        timestamps?.BeginKernel(Buffer);
        var region = new BufferCopy { SrcOffset = (ulong)sourceOffset, DstOffset = (ulong)targetOffset, Size = (ulong)bytes };
        vk.CmdCopyBuffer(Buffer, source.Buffer, target.Buffer, 1, &region);
    }

    public void Fill(MemoryBlock target, long offset, long bytes, uint pattern)
    {
        Order([target.Access(offset, bytes, writes: true)]);
        vk.CmdFillBuffer(Buffer, target.Buffer, (ulong)offset, (ulong)bytes, pattern);
    }

    /// <summary>Orders everything that follows after everything so far.</summary>
    public void OrderAll()
    {
        Barrier(Work, Reads | Writes);
        hazards.Clear();
    }

    /// <summary>The host reads mapped memory once the timeline says so, and needs the writes by then.</summary>
    public void ShowHost() => Barrier(PipelineStageFlags2.HostBit, AccessFlags2.HostReadBit);

    /// <summary>Says that everything so far was ordered elsewhere.</summary>
    public void Forget() => hazards.Clear();

    private void Order(ReadOnlySpan<Access> accesses)
    {
        if (hazards.NeedsBarrier(accesses))
            OrderAll();
        hazards.Add(accesses);
    }

    private void Barrier(PipelineStageFlags2 stage, AccessFlags2 access)
    {
        var barrier = new MemoryBarrier2 { SrcStageMask = Work, SrcAccessMask = Writes, DstStageMask = stage, DstAccessMask = access };
        var info = new DependencyInfo { MemoryBarrierCount = 1, PMemoryBarriers = &barrier };
        vk.CmdPipelineBarrier2(Buffer, &info);
    }
}
