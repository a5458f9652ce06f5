namespace ScratchMamba.Tensors.Backends;

/// <summary>A backend that leaves the work to another one; the base of those that watch it.</summary>
public abstract class DecoratedBackend(Backend inner) : Backend
{
    /// <summary>The backend that does the work.</summary>
    protected Backend Inner { get; } = inner;

    /// <summary>Whether captured operations come here one by one, too; otherwise they run as the inner backend runs them: all at once, if it can.</summary>
    protected virtual bool SeesCaptured => true;

    /// <inheritdoc/>
    public override string Name => Inner.Name;

    /// <inheritdoc/>
    public override bool IsQueued => Inner.IsQueued;

    /// <inheritdoc/>
    public override Storage Allocate(TensorType type) => Inner.Allocate(type);

    /// <inheritdoc/>
    protected internal override Storage Promise(TensorType type) => Inner.Promise(type);

    /// <inheritdoc/>
    public override void Release(Storage storage) => Inner.Release(storage);

    /// <inheritdoc/>
    public override void Write(Storage storage, ReadOnlySpan<byte> data) => Inner.Write(storage, data);

    /// <inheritdoc/>
    public override void Read(Storage storage, Span<byte> data) => Inner.Read(storage, data);

    /// <inheritdoc/>
    protected internal override Func<byte[]> ReadLater(Storage storage, int bytes) => SeesCaptured ? base.ReadLater(storage, bytes) : Inner.ReadLater(storage, bytes);

    /// <inheritdoc/>
    public override void Execute(Call call) => Inner.Execute(call);

    /// <inheritdoc/>
    protected internal override CompiledProgram Compile(IReadOnlyList<CapturedCall> calls) => SeesCaptured ? base.Compile(calls) : Inner.Compile(calls);

    /// <inheritdoc/>
    protected internal override CompiledProgram Compile(IReadOnlyList<IReadOnlyList<CapturedCall>> programs) => SeesCaptured ? base.Compile(programs) : Inner.Compile(programs);

    /// <inheritdoc/>
    public override void Finish() => Inner.Finish();

    /// <inheritdoc/>
    public override void Trim() => Inner.Trim();

    /// <summary>Disposes the inner backend.</summary>
    public override void Dispose()
    {
        Inner.Dispose();
    }
}
