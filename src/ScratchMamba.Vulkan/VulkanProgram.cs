using ScratchMamba.Tensors;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>A captured sequence of operations as one command buffer that is recorded once and submitted for every run. It is ordered as a whole before and after everything else.</summary>
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
    private readonly IReadOnlyList<CapturedProgram> definitions;
    private ulong lastRun;

    public VulkanProgram(VulkanBackend backend, VulkanDevice device, CommandStream stream, Pipelines pipelines, IReadOnlyList<(CapturedCall Call, Launch? Launch)> calls, IReadOnlyList<CapturedProgram> definitions)
    {
        (this.backend, this.device, this.stream, this.pipelines, this.definitions) = (backend, device, stream, pipelines, definitions);
        (pool, CommandBuffer buffer) = device.MakeCommandBuffer(CommandPoolCreateFlags.None);
        writer = new CommandWriter(device.Vk) { Buffer = buffer };
        var info = new CommandBufferBeginInfo { Flags = CommandBufferUsageFlags.SimultaneousUseBit };
        device.Check(device.Vk.BeginCommandBuffer(buffer, &info), "recording a program");
        writer.OrderAll();
        foreach ((CapturedCall call, Launch? launch) in calls)
        {
            if (launch is null)
                Copy((VulkanStorage)call.Inputs[0].Storage, (VulkanStorage)call.Outputs[0].Storage);
            else
                LaunchWriter.Write(this, call.Operation, call.Inputs, call.Outputs, launch);
        }
        writer.OrderAll();
        writer.ShowHost();
        device.Check(device.Vk.EndCommandBuffer(buffer), "recording a program");
    }

    public override void Run()
    {
        foreach (VulkanStorage storage in accesses.Keys)
            ObjectDisposedException.ThrowIf(storage.IsGone, storage);
        lastRun = stream.Run(writer.Buffer);
        foreach ((VulkanStorage storage, bool writes) in accesses)
            storage.Touch(lastRun, writes);
    }

    public override void Dispose()
    {
        base.Dispose();
        stream.WaitFor(lastRun);
        device.Vk.DestroyCommandPool(device.Handle, pool, null);
        foreach (VulkanStorage storage in scratch)
            backend.ReturnScratch(storage);
        foreach (CapturedProgram definition in definitions)
            definition.Dispose();
    }

    public void Dispatch(Dispatch dispatch, ReadOnlySpan<byte> push, ReadOnlySpan<Access> accesses) =>
        writer.Dispatch(pipelines.Get(dispatch), pipelines.Layout, push, dispatch.Groups, accesses);

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

    private void Copy(VulkanStorage source, VulkanStorage target)
    {
        writer.Copy(source.Block, source.Offset, target.Block, target.Offset, target.Bytes);
        Touch(source, writes: false);
        Touch(target, writes: true);
    }
}
