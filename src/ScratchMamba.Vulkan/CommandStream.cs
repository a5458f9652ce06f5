using System.Diagnostics;
using ScratchMamba.Vulkan.Bindings;
using Buffer = ScratchMamba.Vulkan.Bindings.Buffer;
using Semaphore = ScratchMamba.Vulkan.Bindings.Semaphore;

namespace ScratchMamba.Vulkan;

/// <summary>
/// One endless sequence of commands, handed to the device in submissions. Submission n signals the value n of a timeline semaphore;
/// everything that waits, waits for such a value. At most two submissions are in flight while a third is recorded.
/// </summary>
internal sealed unsafe class CommandStream : IDisposable
{
    private const int SlotCount = 3;

    // Enough to hide the cost of a submission; where the device has nothing to do, fewer, so that it starts early.
    private const int CommandsPerSubmission = 256, CommandsWhenIdle = 32;

    private readonly VulkanDevice device;
    private readonly Vk vk;
    private readonly Semaphore timeline;
    private readonly CommandPool[] pools = new CommandPool[SlotCount];
    private readonly CommandBuffer[] buffers = new CommandBuffer[SlotCount];
    private readonly HazardTracker hazards = new();
    private bool isOpen;
    private int commands;
    private ulong submitted, completed;

    public CommandStream(VulkanDevice device)
    {
        this.device = device;
        vk = device.Vk;
        var type = new SemaphoreTypeCreateInfo { SemaphoreType = SemaphoreType.Timeline };
        var semaphore = new SemaphoreCreateInfo { PNext = &type };
        Semaphore made;
        device.Check(vk.CreateSemaphore(device.Handle, &semaphore, null, &made), "making a semaphore");
        timeline = made;
        for (int i = 0; i < SlotCount; i++)
        {
            var poolInfo = new CommandPoolCreateInfo { QueueFamilyIndex = device.Info.QueueFamily, Flags = CommandPoolCreateFlags.TransientBit };
            CommandPool pool;
            device.Check(vk.CreateCommandPool(device.Handle, &poolInfo, null, &pool), "making a command pool");
            pools[i] = pool;
            var bufferInfo = new CommandBufferAllocateInfo { CommandPool = pool, Level = CommandBufferLevel.Primary, CommandBufferCount = 1 };
            CommandBuffer buffer;
            device.Check(vk.AllocateCommandBuffers(device.Handle, &bufferInfo, &buffer), "making a command buffer");
            buffers[i] = buffer;
        }
    }

    /// <summary>The value that will be signalled once what is recorded now has run.</summary>
    public ulong Now => submitted + 1;

    /// <summary>The value that the command recorded last signals, or will.</summary>
    public ulong LastRecorded { get; private set; }

    /// <summary>The value that the last submission signals.</summary>
    public ulong LastSubmitted => submitted;

    private CommandBuffer Recording => buffers[Now % SlotCount];

    /// <summary>Runs a compute shader after everything that it depends on.</summary>
    public void Dispatch(Pipeline pipeline, PipelineLayout layout, ReadOnlySpan<byte> push, (uint X, uint Y, uint Z) groups, ReadOnlySpan<Access> accesses)
    {
        CommandBuffer buffer = Begin(accesses);
        vk.CmdBindPipeline(buffer, PipelineBindPoint.Compute, pipeline);
        fixed (byte* bytes = push)
            vk.CmdPushConstants(buffer, layout, ShaderStageFlags.ComputeBit, 0, (uint)push.Length, bytes);
        vk.CmdDispatch(buffer, groups.X, groups.Y, groups.Z);
        End();
    }

    /// <summary>Copies bytes between buffers.</summary>
    public void Copy(MemoryBlock source, long sourceOffset, MemoryBlock target, long targetOffset, long bytes)
    {
        CommandBuffer buffer = Begin([source.Access(sourceOffset, bytes, writes: false), target.Access(targetOffset, bytes, writes: true)]);
        var region = new BufferCopy { SrcOffset = (ulong)sourceOffset, DstOffset = (ulong)targetOffset, Size = (ulong)bytes };
        vk.CmdCopyBuffer(buffer, source.Buffer, target.Buffer, 1, &region);
        End();
    }

    /// <summary>Fills bytes (a multiple of four) with a pattern.</summary>
    public void Fill(MemoryBlock target, long offset, long bytes, uint pattern)
    {
        CommandBuffer buffer = Begin([target.Access(offset, bytes, writes: true)]);
        vk.CmdFillBuffer(buffer, target.Buffer, (ulong)offset, (ulong)bytes, pattern);
        End();
    }

    /// <summary>Hands what was recorded to the device.</summary>
    public void Submit()
    {
        if (!isOpen)
            return;
        // The host reads mapped memory once the timeline says so, and needs the writes by then.
        Barrier(Recording, PipelineStageFlags2.HostBit, AccessFlags2.HostReadBit);
        device.Check(vk.EndCommandBuffer(Recording), "recording commands");
        var command = new CommandBufferSubmitInfo { CommandBuffer = Recording };
        var signal = new SemaphoreSubmitInfo { Semaphore = timeline, Value = Now, StageMask = PipelineStageFlags2.AllCommandsBit };
        var info = new SubmitInfo2 { CommandBufferInfoCount = 1, PCommandBufferInfos = &command, SignalSemaphoreInfoCount = 1, PSignalSemaphoreInfos = &signal };
        device.Check(vk.QueueSubmit2(device.Queue, 1, &info, default), $"submitting {commands} commands");
        isOpen = false;
        commands = 0;
        submitted++;
    }

    /// <summary>Whether everything up to a value has run.</summary>
    public bool HasPassed(ulong value)
    {
        if (completed >= value)
            return true;
        ulong now;
        device.Check(vk.GetSemaphoreCounterValue(device.Handle, timeline, &now), "asking how far the device is");
        if (now == ulong.MaxValue)
            throw new DeviceLostException(device.Info.ToString(), "its work");
        completed = now;
        return completed >= value;
    }

    /// <summary>Returns once everything up to a value has run.</summary>
    public void WaitFor(ulong value)
    {
        if (value > submitted)
            Submit();
        // Asking again and again answers sooner than waiting in the driver does (12 against 30 µs on an NVIDIA card); on a device that is this
        // processor it would take the time from the work itself.
        long start = Stopwatch.GetTimestamp();
        while (!device.Info.Traits.IsCpu && Stopwatch.GetElapsedTime(start).TotalMilliseconds < 1)
        {
            if (HasPassed(value))
                return;
            Thread.SpinWait(20);
        }
        if (HasPassed(value))
            return;
        Semaphore semaphore = timeline;
        var info = new SemaphoreWaitInfo { SemaphoreCount = 1, PSemaphores = &semaphore, PValues = &value };
        device.Check(vk.WaitSemaphores(device.Handle, &info, ulong.MaxValue), "waiting for the device");
        completed = Math.Max(completed, value);
    }

    /// <summary>Runs what is recorded and waits for it.</summary>
    public void Finish()
    {
        Submit();
        WaitFor(submitted);
    }

    public void Dispose()
    {
        foreach (CommandPool pool in pools)
            vk.DestroyCommandPool(device.Handle, pool, null);
        vk.DestroySemaphore(device.Handle, timeline, null);
    }

    private CommandBuffer Begin(ReadOnlySpan<Access> accesses)
    {
        if (!isOpen)
        {
            if (Now > SlotCount)
                WaitFor(Now - SlotCount);
            device.Check(vk.ResetCommandPool(device.Handle, pools[Now % SlotCount], default), "recycling commands");
            var info = new CommandBufferBeginInfo { Flags = CommandBufferUsageFlags.OneTimeSubmitBit };
            device.Check(vk.BeginCommandBuffer(Recording, &info), "recording commands");
            isOpen = true;
        }
        if (hazards.NeedsBarrier(accesses))
        {
            Barrier(Recording, Work, AccessFlags2.ShaderReadBit | AccessFlags2.ShaderWriteBit | AccessFlags2.TransferReadBit | AccessFlags2.TransferWriteBit);
            hazards.Clear();
        }
        hazards.Add(accesses);
        return Recording;
    }

    private const PipelineStageFlags2 Work = PipelineStageFlags2.ComputeShaderBit | PipelineStageFlags2.AllTransferBit;

    private void Barrier(CommandBuffer buffer, PipelineStageFlags2 stage, AccessFlags2 access)
    {
        var barrier = new MemoryBarrier2
        {
            SrcStageMask = Work,
            SrcAccessMask = AccessFlags2.ShaderWriteBit | AccessFlags2.TransferWriteBit,
            DstStageMask = stage,
            DstAccessMask = access,
        };
        var info = new DependencyInfo { MemoryBarrierCount = 1, PMemoryBarriers = &barrier };
        vk.CmdPipelineBarrier2(buffer, &info);
    }

    private void End()
    {
        commands++;
        LastRecorded = Now;
        if (commands >= CommandsPerSubmission || (commands >= CommandsWhenIdle && HasPassed(submitted)))
            Submit();
    }
}
