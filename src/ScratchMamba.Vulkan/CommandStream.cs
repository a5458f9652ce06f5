using System.Diagnostics;
using ScratchMamba.Vulkan.Bindings;
using Semaphore = ScratchMamba.Vulkan.Bindings.Semaphore;

namespace ScratchMamba.Vulkan;

/// <summary>
/// One endless sequence of commands, handed to the device in submissions. Submission n signals the value n of a timeline semaphore;
/// everything that waits, waits for such a value. At most three submissions are in flight while a fourth is recorded: two programs, and between them what is read of the first.
/// </summary>
internal sealed unsafe class CommandStream : IDisposable
{
    private const int MostInFlight = 3, SlotCount = MostInFlight + 1;

    // Enough to hide the cost of a submission; where the device has nothing to do, fewer, so that it starts early.
    private const int CommandsPerSubmission = 256, CommandsWhenIdle = 32;

    private readonly VulkanDevice device;
    private readonly Vk vk;
    private readonly Semaphore timeline;
    private readonly CommandPool[] pools = new CommandPool[SlotCount];
    private readonly CommandBuffer[] buffers = new CommandBuffer[SlotCount];
    private readonly CommandWriter writer;
    private bool isOpen;
    private int commands;
    private ulong completed;

    public CommandStream(VulkanDevice device)
    {
        this.device = device;
        vk = device.Vk;
        writer = new CommandWriter(vk);
        var type = new SemaphoreTypeCreateInfo { SemaphoreType = SemaphoreType.Timeline };
        var semaphore = new SemaphoreCreateInfo { PNext = &type };
        Semaphore made;
        device.Check(vk.CreateSemaphore(device.Handle, &semaphore, null, &made), "making a semaphore");
        timeline = made;
        for (int i = 0; i < SlotCount; i++)
            (pools[i], buffers[i]) = device.MakeCommandBuffer(CommandPoolCreateFlags.TransientBit);
    }

    /// <summary>What is timed, where somebody asked for it.</summary>
    public Timestamps? Timestamps { get; set; }

    /// <summary>The value that will be signalled once what is recorded now has run.</summary>
    public ulong Now => LastSubmitted + 1;

    /// <summary>The value that the last submission signals.</summary>
    public ulong LastSubmitted { get; private set; }

    /// <summary>The value that the command recorded last signals, or will.</summary>
    public ulong LastRecorded { get; private set; }

    /// <summary>Runs a compute shader after everything that it depends on.</summary>
    public void Dispatch(string shader, Pipeline pipeline, PipelineLayout layout, ReadOnlySpan<byte> push, (uint X, uint Y, uint Z) groups, ReadOnlySpan<Access> accesses)
    {
        Begin();
        writer.Dispatch(pipeline, layout, push, groups, accesses, Timestamps);
        Timestamps?.EndKernel(writer.Buffer, shader);
        End();
    }

    /// <summary>Copies bytes between buffers.</summary>
    public void Copy(MemoryBlock source, long sourceOffset, MemoryBlock target, long targetOffset, long bytes)
    {
        Begin();
        writer.Copy(source, sourceOffset, target, targetOffset, bytes, Timestamps);
        Timestamps?.EndKernel(writer.Buffer, "copy");
        Timestamps?.EndOperation("Copy", 2 * bytes, default);
        End();
    }

    /// <summary>Fills bytes (a multiple of four) with a pattern.</summary>
    public void Fill(MemoryBlock target, long offset, long bytes, uint pattern)
    {
        Begin();
        writer.Fill(target, offset, bytes, pattern);
        End();
    }

    /// <summary>Hands what was recorded to the device where it is enough, or the device has nothing to do.</summary>
    public void EndOperation()
    {
        if (commands >= CommandsPerSubmission || Timestamps?.IsFull == true || (commands >= CommandsWhenIdle && HasPassed(LastSubmitted)))
            Submit();
    }

    /// <summary>Hands what was recorded to the device.</summary>
    public void Submit()
    {
        if (!isOpen)
            return;
        writer.ShowHost();
        string what = $"submission {Now} of {commands} commands";
        device.Check(vk.EndCommandBuffer(writer.Buffer), what);
        isOpen = false;
        Submit(writer.Buffer, what);
        commands = 0;
    }

    /// <summary>Runs commands that were recorded before, and that begin and end with a barrier for everything.</summary>
    /// <returns>The value that is signalled once they have run.</returns>
    public ulong Run(CommandBuffer recorded)
    {
        Submit();
        Submit(recorded, $"submission {Now}, a captured program");
        writer.Forget();
        return LastRecorded = LastSubmitted;
    }

    /// <summary>Whether everything up to a value has run.</summary>
    public bool HasPassed(ulong value)
    {
        if (completed >= value)
            return true;
        ulong now;
        device.Check(vk.GetSemaphoreCounterValue(device.Handle, timeline, &now), $"submission {value}");
        // What drivers answer once the device is gone.
        if (now > LastSubmitted)
            throw new DeviceLostException(device.Info.ToString(), $"submission {value}");
        completed = now;
        return completed >= value;
    }

    /// <summary>How long the host has waited for the device.</summary>
    public TimeSpan Waited { get; private set; }

    /// <summary>Returns once everything up to a value has run.</summary>
    public void WaitFor(ulong value)
    {
        // Outside of what is timed: it may wait for an earlier submission itself.
        if (value > LastSubmitted)
            Submit();
        long start = Stopwatch.GetTimestamp();
        Wait(value, start);
        Waited += Stopwatch.GetElapsedTime(start);
    }

    private void Wait(ulong value, long start)
    {
        // Asking again and again answers sooner than waiting in the driver does (12 against 30 µs on an NVIDIA card); on a device that is this
        // processor it would take the time from the work itself.
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
        device.Check(vk.WaitSemaphores(device.Handle, &info, ulong.MaxValue), $"submission {value}");
        completed = Math.Max(completed, value);
    }

    /// <summary>Runs what is recorded and waits for it.</summary>
    public void Finish()
    {
        Submit();
        WaitFor(LastSubmitted);
    }

    public void Dispose()
    {
        foreach (CommandPool pool in pools)
            vk.DestroyCommandPool(device.Handle, pool, null);
        vk.DestroySemaphore(device.Handle, timeline, null);
    }

    private void Begin()
    {
        if (isOpen)
            return;
        ulong slot = Now % SlotCount;
        if (Now > SlotCount)
            WaitFor(Now - SlotCount);
        device.Check(vk.ResetCommandPool(device.Handle, pools[slot], default), "recycling commands");
        var info = new CommandBufferBeginInfo { Flags = CommandBufferUsageFlags.OneTimeSubmitBit };
        device.Check(vk.BeginCommandBuffer(buffers[slot], &info), "recording commands");
        writer.Buffer = buffers[slot];
        isOpen = true;
        Timestamps?.Begin(writer.Buffer, Now);
    }

    private void Submit(CommandBuffer buffer, string what)
    {
        if (Now > MostInFlight)
            WaitFor(Now - MostInFlight);
        var command = new CommandBufferSubmitInfo { CommandBuffer = buffer };
        var signal = new SemaphoreSubmitInfo { Semaphore = timeline, Value = Now, StageMask = PipelineStageFlags2.AllCommandsBit };
        var info = new SubmitInfo2 { CommandBufferInfoCount = 1, PCommandBufferInfos = &command, SignalSemaphoreInfoCount = 1, PSignalSemaphoreInfos = &signal };
        device.Check(vk.QueueSubmit2(device.Queue, 1, &info, default), what);
        LastSubmitted++;
    }

    private void End()
    {
        commands++;
        LastRecorded = Now;
    }
}
