using System.Runtime.InteropServices;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Vulkan;

/// <summary>
/// Runs operations on a Vulkan device. Operations are recorded and run in submissions; the host waits only where it reads a tensor. An operation without a shader
/// runs its definition.
/// </summary>
public unsafe class VulkanBackend : Backend
{
    private readonly VulkanDevice device;
    private readonly MemoryTypes types;
    private readonly CommandStream stream;
    private readonly TensorMemory memory;
    private readonly StagingRing staging;
    private readonly Pipelines pipelines;
    private readonly Lock gate = new();
    private bool disposed;

    /// <summary>A backend on one device.</summary>
    /// <param name="wish">The device's number or a part of its name; nothing for the best one.</param>
    /// <exception cref="VulkanUnavailableException">There is no loader or no such device, or it lacks something; the message says what to do.</exception>
    public VulkanBackend(string? wish = null)
    {
        var instance = new VulkanInstance();
        try
        {
            device = new VulkanDevice(instance, VulkanDevices.Select(VulkanDevices.List(instance), wish));
        }
        catch
        {
            instance.Dispose();
            throw;
        }
        types = new MemoryTypes(device);
        stream = new CommandStream(device);
        memory = new TensorMemory(device, types, stream);
        staging = new StagingRing(device, types, stream);
        pipelines = new Pipelines(device);
    }

    /// <inheritdoc/>
    public override string Name => device.Info.ToString();

    /// <summary>The device.</summary>
    public VulkanDeviceInfo Device => device.Info;

    /// <summary>Bytes taken from the device, whether tensors live there or not.</summary>
    public long HeldBytes => memory.HeldBytes;

    /// <summary>Bytes left free before and after each tensor; tests look there for what does not belong.</summary>
    internal virtual long Padding => 0;

    /// <inheritdoc/>
    public override Storage Allocate(TensorType type)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (type.DType is not (DType.F32 or DType.I32))
            throw new NotSupportedException($"{Name} holds tensors of F32 and I32, not {type}. Use --device cpu for {type.DType}.");
        if (type.Count > int.MaxValue)
            throw new NotSupportedException($"A tensor of {type} has {type.Count:N0} elements; the Vulkan backend holds at most {int.MaxValue:N0} in one tensor. Split the batch.");
        lock (gate)
            return new VulkanStorage(type.Bytes, Rent(type.Bytes + 2 * Padding, type.ToString()), Padding);
    }

    /// <inheritdoc/>
    public override void Release(Storage storage)
    {
        var released = (VulkanStorage)storage;
        lock (gate)
        {
            if (!disposed)
                memory.Return(released.Range with { LastUse = released.LastUse });
        }
    }

    /// <inheritdoc/>
    public override void Write(Storage storage, ReadOnlySpan<byte> data)
    {
        var target = (VulkanStorage)storage;
        lock (gate)
        {
            if (types.IsUnified && stream.HasPassed(target.LastUse))
            {
                data.CopyTo(new Span<byte>(target.Block.Host + target.Offset, data.Length));
                return;
            }
            for (int start = 0; start < data.Length; start += (int)StagingRing.MostBytes)
            {
                ReadOnlySpan<byte> part = data.Slice(start, Math.Min(data.Length - start, (int)StagingRing.MostBytes));
                long place = staging.Reserve(part.Length);
                part.CopyTo(staging.At(place, part.Length));
                stream.Copy(staging.Block, place, target.Block, target.Offset + start, part.Length);
                target.LastUse = target.LastWrite = stream.LastRecorded;
            }
        }
    }

    /// <inheritdoc/>
    public override void Read(Storage storage, Span<byte> data)
    {
        var source = (VulkanStorage)storage;
        lock (gate)
            ReadAt(source, 0, data);
    }

    /// <summary>Copies bytes that start at an offset from a tensor's data, which may be negative where there is padding.</summary>
    internal void ReadAt(VulkanStorage source, long offset, Span<byte> data)
    {
        if (types.IsUnified)
        {
            stream.WaitFor(source.LastWrite);
            new ReadOnlySpan<byte>(source.Block.Host + source.Offset + offset, data.Length).CopyTo(data);
            return;
        }
        for (int start = 0; start < data.Length; start += (int)StagingRing.MostBytes)
        {
            Span<byte> part = data.Slice(start, Math.Min(data.Length - start, (int)StagingRing.MostBytes));
            long place = staging.Reserve(part.Length);
            stream.Copy(source.Block, source.Offset + offset + start, staging.Block, place, part.Length);
            source.LastUse = stream.LastRecorded;
            stream.WaitFor(stream.LastRecorded);
            staging.At(place, part.Length).CopyTo(part);
        }
    }

    /// <summary>Fills memory around and in a tensor.</summary>
    internal void FillAt(VulkanStorage target, long offset, long bytes, uint pattern)
    {
        lock (gate)
        {
            stream.Fill(target.Block, target.Offset + offset, bytes, pattern);
            target.LastUse = target.LastWrite = stream.LastRecorded;
        }
    }

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Launch? launch = call.Operation.Launch(new LaunchCall(Types(call.Inputs), Types(call.Outputs), device.Info.Traits));
        if (launch is null)
        {
            RunDefinition(call);
            return;
        }
        lock (gate)
            Run(call, launch);
    }

    /// <summary>Waits for the device and releases everything.</summary>
    public override void Dispose()
    {
        if (disposed)
            return;
        disposed = true;
        stream.Finish();
        pipelines.Dispose();
        staging.Dispose();
        memory.Dispose();
        stream.Dispose();
        device.Dispose();
        GC.SuppressFinalize(this);
    }

    private static TensorType[] Types(ReadOnlySpan<Tensor> tensors)
    {
        var types = new TensorType[tensors.Length];
        for (int i = 0; i < types.Length; i++)
            types[i] = tensors[i].Type;
        return types;
    }

    private void Run(Call call, Launch launch)
    {
        var scratch = new VulkanStorage[launch.ScratchBytes.Count];
        for (int i = 0; i < scratch.Length; i++)
            scratch[i] = new VulkanStorage(launch.ScratchBytes[i], Rent(launch.ScratchBytes[i], $"{call.Operation.Name}'s scratch memory"), 0);
        Span<byte> push = stackalloc byte[Dispatch.MaxPushBytes];
        Span<Access> accesses = stackalloc Access[Dispatch.MaxPushBytes / sizeof(ulong)];
        foreach (Dispatch dispatch in launch.Dispatches)
        {
            IReadOnlyList<Slot> slots = dispatch.Buffers;
            for (int i = 0; i < slots.Count; i++)
            {
                VulkanStorage storage = Resolve(slots[i], call, scratch);
                ulong address = storage.Address;
                MemoryMarshal.Write(push[(8 * i)..], in address);
                accesses[i] = storage.Access(slots[i].Writes);
            }
            dispatch.Scalars.Span.CopyTo(push[(8 * slots.Count)..]);
            int length = (8 * slots.Count + dispatch.Scalars.Length + 3) & ~3;
            stream.Dispatch(pipelines.Get(dispatch), pipelines.Layout, push[..length], dispatch.Groups, accesses[..slots.Count]);
            foreach (Slot slot in slots)
            {
                VulkanStorage storage = Resolve(slot, call, scratch);
                storage.LastUse = stream.LastRecorded;
                if (slot.Writes)
                    storage.LastWrite = stream.LastRecorded;
            }
        }
        foreach (VulkanStorage storage in scratch)
            memory.Return(storage.Range with { LastUse = storage.LastUse });
        device.ThrowIfMisused();
    }

    private static VulkanStorage Resolve(Slot slot, Call call, VulkanStorage[] scratch) => slot.Kind switch
    {
        SlotKind.Input => (VulkanStorage)call.Inputs[slot.Index].Storage,
        SlotKind.Output => (VulkanStorage)call.Outputs[slot.Index].Storage,
        _ => scratch[slot.Index],
    };

    private void RunDefinition(Call call)
    {
        using var scope = new Scope();
        using Differentiation.Mode paused = Differentiation.Pause();
        Tensor[] results = call.Operation.Definition(call.Inputs)
            ?? throw new NotSupportedException($"{call.Operation.Name} has no shader for {string.Join(", ", Types(call.Inputs))}, and no definition in smaller operations; use --device cpu.");
        lock (gate)
        {
            for (int i = 0; i < results.Length; i++)
            {
                var source = (VulkanStorage)results[i].Storage;
                var target = (VulkanStorage)call.Outputs[i].Storage;
                if (target.Bytes == 0)
                    continue;
                stream.Copy(source.Block, source.Offset, target.Block, target.Offset, target.Bytes);
                source.LastUse = target.LastUse = target.LastWrite = stream.LastRecorded;
            }
        }
    }

    private MemoryRange Rent(long bytes, string what)
    {
        if ((ulong)bytes > Math.Min(device.Info.Limits.MaxAllocationBytes, device.Info.Limits.MaxBufferBytes))
            throw new NotSupportedException($"{what} takes {Megabytes(bytes)}; {Name} allows at most {Megabytes((long)Math.Min(device.Info.Limits.MaxAllocationBytes, device.Info.Limits.MaxBufferBytes))} in one piece. Use a smaller batch.");
        return memory.TryRent(bytes) ?? throw new InsufficientMemoryException(
            $"{Name} has no memory for {what} ({Megabytes(bytes)}); tensors hold {Megabytes(LiveBytes)} of the {Megabytes(types.HeapBytes)} there. Use a smaller batch or a shorter length, recompute activations, or another device.");
    }

    private static string Megabytes(long bytes) => bytes < 1e6 ? $"{bytes:N0} bytes" : $"{bytes / 1e6:N0} MB";
}
