using System.Runtime.InteropServices;
using ScratchMamba.Tensors;

namespace ScratchMamba.Vulkan;

/// <summary>Where an operation's commands go: into the stream, to run now, or into a program, to run later.</summary>
internal interface ICommandSink
{
    /// <summary>Runs a compute shader after everything that it depends on.</summary>
    void Dispatch(Dispatch dispatch, ReadOnlySpan<byte> push, ReadOnlySpan<Access> accesses);

    /// <summary>Says that the command before accesses a storage.</summary>
    void Touch(VulkanStorage storage, bool writes);

    /// <summary>Memory until <see cref="ReturnScratch"/>.</summary>
    VulkanStorage RentScratch(long bytes, string operation);

    /// <summary>Takes scratch memory back: a later command may use it.</summary>
    void ReturnScratch(VulkanStorage scratch);
}

/// <summary>Turns a launch, which is data, into commands.</summary>
internal static class LaunchWriter
{
    public static void Write(ICommandSink sink, IPrimitive operation, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> outputs, Launch launch)
    {
        VulkanStorage[] scratch = launch.ScratchBytes.Count == 0 ? [] : new VulkanStorage[launch.ScratchBytes.Count];
        for (int i = 0; i < scratch.Length; i++)
            scratch[i] = sink.RentScratch(launch.ScratchBytes[i], operation.Name);
        Span<byte> push = stackalloc byte[Dispatch.MaxPushBytes];
        Span<Access> accesses = stackalloc Access[Dispatch.MaxPushBytes / sizeof(ulong)];
        VulkanStorage? parted = null;
        foreach (Dispatch dispatch in launch.Dispatches)
        {
            int count = dispatch.Buffers.Count;
            for (int i = 0; i < count; i++)
            {
                Slot slot = dispatch.Buffers[i];
                VulkanStorage storage = Resolve(slot, inputs, outputs, scratch);
                ulong address = storage.Address;
                MemoryMarshal.Write(push[(8 * i)..], in address);
                accesses[i] = storage.Access(slot.Writes) with { IsApart = slot.IsApart && storage == parted };
                if (slot.IsApart)
                    parted = storage;
            }
            dispatch.Scalars.Span.CopyTo(push[(8 * count)..]);
            sink.Dispatch(dispatch, push[..(8 * count + dispatch.Scalars.Length)], accesses[..count]);
            for (int i = 0; i < count; i++)
                sink.Touch(Resolve(dispatch.Buffers[i], inputs, outputs, scratch), dispatch.Buffers[i].Writes);
        }
        foreach (VulkanStorage storage in scratch)
            sink.ReturnScratch(storage);
    }

    private static VulkanStorage Resolve(Slot slot, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> outputs, VulkanStorage[] scratch) => slot.Kind switch
    {
        SlotKind.Input => (VulkanStorage)inputs[slot.Index].Storage,
        SlotKind.Output => (VulkanStorage)outputs[slot.Index].Storage,
        _ => scratch[slot.Index],
    };
}
