namespace ScratchMamba.Tensors.Backends;

/// <summary>Computes nothing and holds no data: checks shapes, counts parameters and measures peak memory (<see cref="Backend.PeakBytes"/>) of what runs on it.</summary>
public sealed class NullBackend : Backend
{
    /// <inheritdoc/>
    public override string Name => "null";

    /// <inheritdoc/>
    public override Storage Allocate(TensorType type) => new NullStorage(type.Bytes);

    /// <inheritdoc/>
    protected internal override Storage Promise(TensorType type) => Allocate(type);

    /// <inheritdoc/>
    public override void Release(Storage storage)
    {
    }

    /// <inheritdoc/>
    public override void Write(Storage storage, ReadOnlySpan<byte> data)
    {
    }

    /// <summary>Reads zeros.</summary>
    public override void Read(Storage storage, Span<byte> data) => data.Clear();

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
    }

    private sealed class NullStorage(long bytes) : Storage(bytes)
    {
        protected internal override void Place(Storage whole, long offset)
        {
        }
    }
}
