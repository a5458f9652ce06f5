using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Vulkan;

/// <summary>
/// Runs operations on a Vulkan device. Operations are recorded and run in submissions; the host waits only where it reads a tensor. An operation without a shader
/// runs its definition.
/// </summary>
public unsafe class VulkanBackend : Backend, ICommandSink
{
    private readonly VulkanDevice device;
    private readonly MemoryTypes types;
    private readonly CommandStream stream;
    private readonly TensorMemory memory;
    private readonly StagingRing staging;
    private readonly Pipelines pipelines;
    private readonly KernelSelection kernels;
    private readonly Lock gate = new();
    private ProgramExpansion? expansion;
    private bool disposed;

    /// <summary>A backend on one device.</summary>
    /// <param name="wish">The device's number or a part of its name; nothing for the best one.</param>
    /// <exception cref="VulkanUnavailableException">There is no loader or no such device, or it lacks something; the message says what to do.</exception>
    public VulkanBackend(string? wish = null) : this(wish, CacheFolder.OfUser)
    {
    }

    /// <summary>A backend that keeps its pipelines in a folder, or nowhere.</summary>
    internal VulkanBackend(string? wish, string? cacheFolder)
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
        pipelines = new Pipelines(device, cacheFolder);
        kernels = new KernelSelection(this, KernelFile.Load(cacheFolder, device.Info.Limits.CacheKey));
        Traits = device.Info.Traits;
    }

    /// <inheritdoc/>
    public override string Name => device.Info.ToString();

    /// <inheritdoc/>
    public override bool IsQueued => true;

    /// <summary>The device.</summary>
    public VulkanDeviceInfo Device => device.Info;

    /// <summary>
    /// Is told what the user should know of the device's kernels: that some compute wrongly and are not used, or that what was written down of them is damaged.
    /// </summary>
    public Action<string>? Notice
    {
        get;
        set
        {
            field = value;
            if (kernels.File.Complaint is { } complaint)
                value?.Invoke(complaint);
        }
    }

    /// <summary>What the device has, as operations see it that are not tested; tests change it.</summary>
    internal DeviceTraits Traits { get; set; }

    /// <summary>Bytes taken from the device, whether tensors live there or not.</summary>
    public long HeldBytes => memory.HeldBytes;

    /// <summary>Whether programs that are captured from now on are timed as a whole, which costs nothing that could be measured.</summary>
    public bool TimesPrograms { get; set; }

    /// <summary>How long the device has worked on captured programs that are timed, but for the last run of each.</summary>
    public TimeSpan ProgramTime { get; internal set; }

    /// <summary>How long the host has waited for the device.</summary>
    public TimeSpan Waited => stream.Waited;

    /// <summary>The most bytes to take from the device; tests lower it.</summary>
    internal long MemoryLimit
    {
        get => memory.Limit;
        set => memory.Limit = value;
    }

    /// <summary>Makes the next call of the driver answer that the device is lost; for tests.</summary>
    internal void SimulateLoss() => device.IsLost = true;

    /// <summary>Bytes left free before and after each tensor; tests look there for what does not belong.</summary>
    internal virtual long Padding => 0;

    /// <inheritdoc/>
    public override Storage Allocate(TensorType type)
    {
        long bytes = BytesOf(type);
        lock (gate)
            return new VulkanStorage(bytes, Rent(bytes + 2 * Padding, type.ToString()), Padding);
    }

    /// <inheritdoc/>
    protected internal override Storage Promise(TensorType type) => new VulkanStorage(BytesOf(type), default, 0);

    private long BytesOf(TensorType type)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (type.DType is DType.F64)
            throw new NotSupportedException($"{Name} does not hold {type}. Use --device cpu for {type.DType}.");
        if (type.Count > int.MaxValue)
            throw new NotSupportedException($"A tensor of {type} has {type.Count:N0} elements; the Vulkan backend holds at most {int.MaxValue:N0} in one tensor. Split the batch.");
        // Shaders read and write words: a last number of 16 bits has one of its own.
        return (type.Bytes + sizeof(uint) - 1) / sizeof(uint) * sizeof(uint);
    }

    /// <inheritdoc/>
    public override void Release(Storage storage)
    {
        var released = (VulkanStorage)storage;
        lock (gate)
        {
            released.IsGone = true;
            if (!disposed)
                memory.Return(released.Range with { LastUse = released.LastUse });
        }
    }

    /// <inheritdoc/>
    public override void Trim()
    {
        lock (gate)
            memory.Trim();
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
                target.Touch(stream.LastRecorded, writes: true);
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

    /// <inheritdoc/>
    protected internal override Func<byte[]> ReadLater(Storage storage, int bytes)
    {
        if (bytes > StagingRing.MostBytes)
            return base.ReadLater(storage, bytes);
        var source = (VulkanStorage)storage;
        lock (gate)
        {
            byte[]? data = null;
            ulong value = 0;
            long place = 0;
            place = staging.Reserve(bytes, Fetch);
            stream.Copy(source.Block, source.Offset, staging.Block, place, bytes);
            value = stream.LastRecorded;
            source.Touch(value, writes: false);
            stream.Submit();
            return () =>
            {
                lock (gate)
                {
                    Fetch();
                    return data!;
                }
            };

            void Fetch()
            {
                if (data is not null)
                    return;
                ObjectDisposedException.ThrowIf(disposed, this);
                stream.WaitFor(value);
                data = staging.At(place, bytes).ToArray();
            }
        }
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
            source.Touch(stream.LastRecorded, writes: false);
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
            target.Touch(stream.LastRecorded, writes: true);
        }
    }

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (call.Operation is ITunable tunable)
            kernels.Tuner?.Meet(tunable, call);
        if (LaunchOf(call.Operation, call.Inputs, call.Outputs) is not { } launch)
            RunDefinition(call);
        else
            Run(call, launch);
    }

    internal void Run(Call call, Launch launch)
    {
        lock (gate)
        {
            LaunchWriter.Write(this, call.Operation, call.Inputs, call.Outputs, launch);
            stream.Timestamps?.EndOperation(call.Operation.Name, call.Bytes, call.Work);
            stream.EndOperation();
            device.ThrowIfMisused();
        }
    }

    /// <summary>
    /// From now on measures the kernels that can run an operation wherever one comes whose like was not met before; programs that are captured from now on run operation by operation.
    /// </summary>
    public void StartTuning() => kernels.Tuner ??= new KernelTuner(this, kernels);

    /// <summary>Ends what <see cref="StartTuning"/> began, and keeps the choices for this device with this driver: they hold at once, and for every later backend.</summary>
    /// <returns>What was measured.</returns>
    public IReadOnlyList<TunedOperation> FinishTuning()
    {
        IReadOnlyList<TunedOperation> results = kernels.Tuner?.Results ?? [];
        kernels.Tuner = null;
        kernels.File.Save();
        return results;
    }

    /// <summary>Runs what nobody asked for, and what therefore is in no trace.</summary>
    internal T Untraced<T>(Func<T> work)
    {
        Timestamps? traced = stream.Timestamps;
        stream.Submit();
        stream.Timestamps = null;
        try
        {
            return work();
        }
        finally
        {
            stream.Submit();
            stream.Timestamps = traced;
        }
    }

    /// <summary>Times every operation from now on; programs that are captured from now on run operation by operation.</summary>
    public void StartTrace()
    {
        lock (gate)
        {
            stream.Submit();
            stream.Timestamps ??= new Timestamps(device, stream);
        }
    }

    /// <summary>What was timed since <see cref="StartTrace"/>.</summary>
    public IReadOnlyList<TraceEvent> Trace
    {
        get
        {
            lock (gate)
                return stream.Timestamps?.Events ?? [];
        }
    }

    /// <summary>How long the device was between the end of a kernel and the begin of the next, of those of one submission that were timed since <see cref="StartTrace"/>.</summary>
    public TimeSpan BetweenKernels
    {
        get
        {
            lock (gate)
            {
                if (stream.Timestamps is not { } timestamps)
                    return default;
                _ = timestamps.Events;
                return timestamps.Between;
            }
        }
    }

    /// <inheritdoc/>
    public override void Finish()
    {
        lock (gate)
            stream.Finish();
    }

    /// <summary>Waits for the device and releases everything.</summary>
    public override void Dispose()
    {
        if (disposed)
            return;
        disposed = true;
        if (!device.IsLost)
            stream.Finish();
        stream.Timestamps?.Dispose();
        pipelines.Dispose();
        staging.Dispose();
        memory.Dispose();
        stream.Dispose();
        device.Dispose();
        GC.SuppressFinalize(this);
    }

    void ICommandSink.Dispatch(Dispatch dispatch, ReadOnlySpan<byte> push, ReadOnlySpan<Access> accesses) =>
        stream.Dispatch(dispatch.Shader, pipelines.Get(dispatch), pipelines.Layout, push, dispatch.Groups, accesses);

    void ICommandSink.Touch(VulkanStorage storage, bool writes) => storage.Touch(stream.LastRecorded, writes);

    VulkanStorage ICommandSink.RentScratch(long bytes, string operation) => RentScratch(bytes, operation);

    void ICommandSink.ReturnScratch(VulkanStorage scratch) => ReturnScratch(scratch);

    internal VulkanStorage RentScratch(long bytes, string operation) => new(bytes, Rent(bytes, $"the scratch memory of {operation}"), 0);

    internal void ReturnScratch(VulkanStorage scratch) => memory.Return(scratch.Range with { LastUse = scratch.LastUse });

    /// <summary>What runs an operation, or nothing where it has no shader.</summary>
    internal Launch? LaunchOf(IPrimitive operation, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> outputs)
    {
        // A kernel is tested when first asked for, and a test runs kernels.
        lock (gate)
            return kernels.LaunchOf(operation, Tensor.TypesOf(inputs), Tensor.TypesOf(outputs));
    }

    /// <summary>Runs an operation without a shader by others.</summary>
    internal static Tensor[] Define(IPrimitive operation, ReadOnlySpan<Tensor> inputs) => Widening.Run(operation, inputs) ?? operation.Definition(inputs)
        ?? throw new NotSupportedException($"{operation.Name} has no shader for {string.Join<TensorType>(", ", Tensor.TypesOf(inputs))}, and no definition in smaller operations; use --device cpu.");

    private void RunDefinition(Call call)
    {
        using var scope = new Scope();
        using Differentiation.Mode paused = Differentiation.Pause();
        Tensor[] results = Define(call.Operation, call.Inputs);
        lock (gate)
        {
            for (int i = 0; i < results.Length; i++)
            {
                var source = (VulkanStorage)results[i].Storage;
                var target = (VulkanStorage)call.Outputs[i].Storage;
                if (target.Bytes == 0)
                    continue;
                stream.Copy(source.Block, source.Offset, target.Block, target.Offset, target.Bytes);
                source.Touch(stream.LastRecorded, writes: false);
                target.Touch(stream.LastRecorded, writes: true);
            }
            stream.EndOperation();
        }
    }

    /// <inheritdoc/>
    protected internal override CompiledProgram Compile(IReadOnlyList<CapturedCall> calls) => stream.Timestamps is null ? Compile([calls]) : base.Compile(calls);

    /// <inheritdoc/>
    protected internal override CompiledProgram Compile(IReadOnlyList<IReadOnlyList<CapturedCall>> programs)
    {
        if (expansion is not null)
            return ProgramExpansion.Part;
        // Operations that are recorded as a whole cannot be timed one by one.
        if (stream.Timestamps is not null || kernels.Tuner is not null)
            return base.Compile(programs);
        expansion = new ProgramExpansion(this);
        try
        {
            expansion.Add(programs);
            lock (gate)
                return new VulkanProgram(this, device, stream, pipelines, expansion);
        }
        catch
        {
            expansion.Dispose();
            throw;
        }
        finally
        {
            expansion = null;
        }
    }

    private MemoryRange Rent(long bytes, string what)
    {
        long most = (long)Math.Min(device.Info.Limits.MaxAllocationBytes, device.Info.Limits.MaxBufferBytes);
        if (bytes > most)
            throw new NotSupportedException($"{what} takes {Megabytes(bytes)}; {Name} allows at most {Megabytes(most)} in one piece. Use a smaller batch.");
        return memory.TryRent(bytes) ?? throw new InsufficientMemoryException(
            $"{Name} has no memory for {what} ({Megabytes(bytes)}): tensors hold {Megabytes(LiveBytes)}, {Megabytes(memory.HeldBytes)} of the device's {Megabytes(types.HeapBytes)} are taken. "
            + "Use a smaller batch, recompute activations, or another device.");
    }

    private static string Megabytes(long bytes) => bytes < 1e6 ? $"{bytes:N0} bytes" : $"{bytes / 1e6:N0} MB";
}
