namespace ScratchMamba.Tensors;

/// <summary>One execution of an operation: what it is, what it reads and what it must write.</summary>
public readonly ref struct Call(IPrimitive operation, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> outputs)
{
    /// <summary>The operation.</summary>
    public IPrimitive Operation { get; } = operation;

    /// <summary>What it reads.</summary>
    public ReadOnlySpan<Tensor> Inputs { get; } = inputs;

    /// <summary>What it must write, allocated and uninitialised.</summary>
    public ReadOnlySpan<Tensor> Outputs { get; } = outputs;
}

/// <summary>
/// A place where tensors live and operations run. It knows no operation by name: five methods are all there is
/// (allocate, release, write, read, execute), so a decorator is short.
/// </summary>
public abstract class Backend : IDisposable
{
    /// <summary>The name used in messages.</summary>
    public abstract string Name { get; }

    /// <summary>Bytes of all tensors that live here now.</summary>
    public long LiveBytes { get; private set; }

    /// <summary>The largest value of <see cref="LiveBytes"/> since the backend was made or <see cref="ResetPeak"/> was called.</summary>
    public long PeakBytes { get; private set; }

    /// <summary>The number of tensors' storages that live here now.</summary>
    public long LiveCount { get; private set; }

    /// <summary>Starts measuring <see cref="PeakBytes"/> afresh.</summary>
    public void ResetPeak() => PeakBytes = LiveBytes;

    /// <summary>Makes memory for one tensor; its content is undefined.</summary>
    /// <exception cref="InsufficientMemoryException">There is not enough; the message says how much was asked and is in use.</exception>
    public abstract Storage Allocate(TensorType type);

    /// <summary>Takes memory back.</summary>
    public abstract void Release(Storage storage);

    /// <summary>Copies bytes from the host into a storage.</summary>
    public abstract void Write(Storage storage, ReadOnlySpan<byte> data);

    /// <summary>Copies a storage's first bytes to the host, after all that was executed before.</summary>
    public abstract void Read(Storage storage, Span<byte> data);

    /// <summary>Runs an operation.</summary>
    public abstract void Execute(Call call);

    /// <summary>Waits until all that was executed is done: for measuring. Reading waits by itself.</summary>
    public virtual void Finish()
    {
    }

    /// <summary>Releases everything that still lives here.</summary>
    public abstract void Dispose();

    internal Storage Rent(TensorType type)
    {
        Storage storage = Allocate(type);
        storage.Backend = this;
        LiveBytes += storage.Bytes;
        LiveCount++;
        PeakBytes = Math.Max(PeakBytes, LiveBytes);
        Scope.Adopt(storage);
        return storage;
    }

    internal void Return(Storage storage)
    {
        LiveBytes -= storage.Bytes;
        LiveCount--;
        Release(storage);
    }
}
