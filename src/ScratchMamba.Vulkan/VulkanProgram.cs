using ScratchMamba.Tensors;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>
/// Captured sequences of operations as one command buffer that is recorded once and submitted for every run. It is ordered as a whole before and after everything else.
/// Sequences take turns, command by command: those that stand next to each other do not depend on each other, and one barrier orders all of them.
/// </summary>
internal sealed unsafe class VulkanProgram : CompiledProgram, ICommandSink
{
    private readonly VulkanBackend backend;
    private readonly VulkanDevice device;
    private readonly CommandStream stream;
    private readonly Pipelines pipelines;
    private readonly CommandPool pool;
    private readonly CommandWriter writer;

    // What the commands access, and whether they write it.
    private readonly Dictionary<VulkanStorage, bool> accesses = [];
    private readonly List<VulkanStorage> scratch = [], freeScratch = [];
    private readonly ProgramExpansion expansion;
    private List<Action> listed = [];
    private readonly ProgramClock? clock;
    private ulong lastRun;

    public VulkanProgram(VulkanBackend backend, VulkanDevice device, CommandStream stream, Pipelines pipelines, ProgramExpansion expansion)
    {
        (this.backend, this.device, this.stream, this.pipelines, this.expansion) = (backend, device, stream, pipelines, expansion);
        (pool, CommandBuffer buffer) = device.MakeCommandBuffer(CommandPoolCreateFlags.None);
        writer = new CommandWriter(device.Vk, expansion.Sequences.Count) { Buffer = buffer };
        clock = backend.TimesPrograms ? new ProgramClock(device) : null;
        try
        {
            Record(buffer);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public override void Run()
    {
        foreach (VulkanStorage storage in accesses.Keys)
            ObjectDisposedException.ThrowIf(storage.IsGone, storage);
        if (clock is not null && lastRun > 0 && stream.HasPassed(lastRun))
            backend.ProgramTime += clock.Last;
        lastRun = stream.Run(writer.Buffer);
        foreach ((VulkanStorage storage, bool writes) in accesses)
            storage.Touch(lastRun, writes);
    }

    public override void Dispose()
    {
        base.Dispose();
        stream.WaitFor(lastRun);
        clock?.Dispose();
        device.Vk.DestroyCommandPool(device.Handle, pool, null);
        foreach (VulkanStorage storage in scratch)
            backend.ReturnScratch(storage);
        expansion.Dispose();
    }

    public void Dispatch(Dispatch dispatch, ReadOnlySpan<byte> push, ReadOnlySpan<Access> accesses)
    {
        byte[] ownPush = [.. push];
        Access[] ownAccesses = [.. accesses];
        listed.Add(() => writer.Dispatch(pipelines.Get(dispatch), pipelines.Layout, ownPush, dispatch.Groups, ownAccesses));
    }

    public void Touch(VulkanStorage storage, bool writes) => accesses[storage.Whole] = writes || accesses.GetValueOrDefault(storage.Whole);

    public VulkanStorage RentScratch(long bytes, string operation)
    {
        int best = freeScratch.FindIndex(storage => storage.Bytes >= bytes && storage.Bytes <= 2 * bytes);
        if (best >= 0)
        {
            VulkanStorage found = freeScratch[best];
            freeScratch.RemoveAt(best);
            return found;
        }
        VulkanStorage made = backend.RentScratch(bytes, operation);
        scratch.Add(made);
        return made;
    }

    public void ReturnScratch(VulkanStorage storage) => freeScratch.Add(storage);

    private void Record(CommandBuffer buffer)
    {
        var info = new CommandBufferBeginInfo { Flags = CommandBufferUsageFlags.SimultaneousUseBit };
        device.Check(device.Vk.BeginCommandBuffer(buffer, &info), "recording a program");
        writer.OrderAll();
        clock?.Begin(buffer);
        List<Action>[] commands = [.. expansion.Sequences.Select(ListOf)];
        for (int i = 0; commands.Any(part => i < part.Count); i++)
        {
            foreach (List<Action> part in commands)
            {
                if (i < part.Count)
                    part[i]();
            }
        }
        writer.OrderAll();
        clock?.End(buffer);
        writer.ShowHost();
        device.Check(device.Vk.EndCommandBuffer(buffer), "recording a program");
    }

    /// <summary>The commands of one sequence.</summary>
    private List<Action> ListOf(IReadOnlyList<(CapturedCall Call, Launch? Launch)> calls)
    {
        listed = [];
        foreach ((CapturedCall call, Launch? launch) in calls)
        {
            if (launch is null)
                Copy((VulkanStorage)call.Inputs[0].Storage, (VulkanStorage)call.Outputs[0].Storage);
            else
                LaunchWriter.Write(this, call.Operation, call.Inputs, call.Outputs, launch);
        }
        // What the next sequence uses it may use at the same time.
        freeScratch.Clear();
        return listed;
    }

    private void Copy(VulkanStorage source, VulkanStorage target)
    {
        listed.Add(() => writer.Copy(source.Block, source.Offset, target.Block, target.Offset, target.Bytes));
        Touch(source, writes: false);
        Touch(target, writes: true);
    }
}
