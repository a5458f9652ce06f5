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

    /// <summary>How much arithmetic it is.</summary>
    public Work Work => Operation.CountWork(Tensor.TypesOf(Inputs));

    /// <summary>Bytes of all inputs and outputs together.</summary>
    public long Bytes
    {
        get
        {
            long bytes = 0;
            foreach (Tensor input in Inputs)
                bytes += input.Type.Bytes;
            foreach (Tensor output in Outputs)
                bytes += output.Type.Bytes;
            return bytes;
        }
    }
}

/// <summary>
/// A place where tensors live and operations run. It knows no operation by name: five methods are all there is
/// (allocate, release, write, read, execute), so a decorator is short.
/// </summary>
public abstract class Backend : IDisposable
{
    private CapturedProgram? capturing;

    /// <summary>The name used in messages.</summary>
    public abstract string Name { get; }

    /// <summary>Whether operations are queued and run later, so that reading after each of them costs more than their work.</summary>
    public virtual bool IsQueued => false;

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

    /// <summary>Makes a storage for one tensor that has no memory yet: <see cref="Storage.Place"/> makes it a part of another one.</summary>
    protected internal abstract Storage Promise(TensorType type);

    /// <summary>Takes memory back.</summary>
    public abstract void Release(Storage storage);

    /// <summary>Copies bytes from the host into a storage.</summary>
    public abstract void Write(Storage storage, ReadOnlySpan<byte> data);

    /// <summary>Copies a storage's first bytes to the host, after all that was executed before.</summary>
    public abstract void Read(Storage storage, Span<byte> data);

    /// <summary>Begins to copy so many bytes of a tensor's data to the host, as the operations before leave it. The function waits for them, but for no operation that comes later.</summary>
    protected internal virtual Func<byte[]> ReadLater(Storage storage, int bytes)
    {
        var data = new byte[bytes];
        Read(storage, data);
        return () => data;
    }

    /// <summary>Runs an operation.</summary>
    public abstract void Execute(Call call);

    /// <summary>Waits until all that was executed is done: for measuring. Reading waits by itself.</summary>
    public virtual void Finish()
    {
    }

    /// <summary>Gives memory that waits to be reused back to where it came from: for when what follows needs other sizes.</summary>
    public virtual void Trim()
    {
    }

    /// <summary>Releases everything that still lives here.</summary>
    public abstract void Dispose();

    /// <summary>
    /// Records the operations that <paramref name="body"/> runs instead of running them. Tensors made in it belong to the program and have their values after its first run;
    /// within it nothing can be read, and nothing written by the host.
    /// </summary>
    /// <exception cref="InvalidOperationException">Something is being captured already.</exception>
    public CapturedProgram Capture(Action body) => Capture(body, null);

    /// <summary>The same with memory from a pool.</summary>
    internal CapturedProgram Capture(Action body, ArenaPool? pool)
    {
        if (capturing is not null)
            throw new InvalidOperationException("Operations are being captured already.");
        var program = new CapturedProgram(this, pool);
        capturing = program;
        try
        {
            using var scope = new Scope();
            using (Differentiation.Pause())
                body();
        }
        finally
        {
            capturing = null;
        }
        try
        {
            program.Place();
            program.Complete(Compile(program.Calls));
        }
        catch
        {
            program.Dispose();
            throw;
        }
        return program;
    }

    /// <summary>
    /// Several captured programs that do not depend on each other as one: where a device is not filled by one of them, they run side by side. They may still be run alone, and are released by who captured them.
    /// </summary>
    /// <exception cref="InvalidOperationException">One of them writes what another one reads or writes.</exception>
    public CapturedProgram Combine(IReadOnlyList<CapturedProgram> programs)
    {
        CapturedProgram combined = CapturedProgram.Of(this, programs);
        combined.Complete(Compile([.. programs.Select(program => program.Calls)]));
        return combined;
    }

    /// <summary>Prepares programs that do not depend on each other to be run as a whole, in any order: here, one after the other.</summary>
    protected internal virtual CompiledProgram Compile(IReadOnlyList<IReadOnlyList<CapturedCall>> programs) => Compile([.. programs.SelectMany(calls => calls)]);

    /// <summary>Prepares captured operations to be run as a whole: here, one after the other.</summary>
    protected internal virtual CompiledProgram Compile(IReadOnlyList<CapturedCall> calls) => new Replay(this, calls);

    internal void Perform(Call call)
    {
        if (capturing is null)
            Execute(call);
        else
            capturing.Add(call);
    }

    internal void ThrowIfCapturing(string what)
    {
        if (capturing is not null)
            throw new InvalidOperationException($"A tensor cannot be {what} while operations are captured: they have not run yet.");
    }

    internal Storage Rent(TensorType type)
    {
        Storage storage;
        if (capturing is null)
        {
            storage = Take(type);
        }
        else
        {
            storage = Promise(type);
            storage.Backend = this;
            capturing.Own(storage);
        }
        Scope.Adopt(storage);
        return storage;
    }

    internal Storage Take(TensorType type)
    {
        Storage storage = Allocate(type);
        storage.Backend = this;
        LiveBytes += storage.Bytes;
        LiveCount++;
        PeakBytes = Math.Max(PeakBytes, LiveBytes);
        return storage;
    }

    internal void Return(Storage storage)
    {
        if (storage.Program is { } program)
        {
            // Until the capture ends, later operations may have its memory; afterwards it waits for the next run.
            if (capturing == program)
                program.TakeBack(storage);
            return;
        }
        LiveBytes -= storage.Bytes;
        LiveCount--;
        Release(storage);
    }

    private sealed class Replay(Backend backend, IReadOnlyList<CapturedCall> calls) : CompiledProgram
    {
        public override void Run()
        {
            foreach (CapturedCall call in calls)
            {
                ulong revived = call.Revive();
                try
                {
                    backend.Execute(new Call(call.Operation, call.Inputs, call.Outputs));
                }
                finally
                {
                    call.Release(revived);
                }
            }
        }
    }
}
