namespace ScratchMamba.Tensors;

/// <summary>One operation of a <see cref="CapturedProgram"/>.</summary>
/// <param name="Operation">What it is.</param>
/// <param name="Inputs">What it reads.</param>
/// <param name="Outputs">What it writes.</param>
public sealed record CapturedCall(IPrimitive Operation, Tensor[] Inputs, Tensor[] Outputs)
{
    /// <summary>
    /// Lets a definition read the inputs although scopes have ended since they were captured: their memory is the program's, and holds what it did.
    /// Returns which of them were released, for <see cref="Release"/>.
    /// </summary>
    internal ulong Revive()
    {
        ulong revived = 0;
        for (int i = 0; i < Inputs.Length; i++)
        {
            if (!Inputs[i].Storage.Released)
                continue;
            Inputs[i].Storage.Released = false;
            revived |= 1UL << i;
        }
        return revived;
    }

    internal void Release(ulong revived)
    {
        for (int i = 0; i < Inputs.Length; i++)
            Inputs[i].Storage.Released |= (revived >> i & 1) != 0;
    }
}

/// <summary>Captured operations as a backend has prepared them.</summary>
public abstract class CompiledProgram : IDisposable
{
    /// <summary>Runs all of them.</summary>
    public abstract void Run();

    /// <summary>Releases what was prepared.</summary>
    public virtual void Dispose() => GC.SuppressFinalize(this);
}

/// <summary>
/// A sequence of operations that was captured once and runs again as a whole, on the same tensors: on a device, with one submission and no work of the host between operations.
/// Whatever is to differ between two runs lives in a tensor that the operations read, and that somebody writes in between.
/// </summary>
/// <example><code>
/// using CapturedProgram step = backend.Capture(() => Tensor.Overwrite(new Add(), [total, increment], total));
/// step.Run();
/// step.Run();     // total has grown by 2 · increment
/// </code></example>
public sealed class CapturedProgram : IDisposable
{
    private readonly Backend backend;
    private readonly List<CapturedCall> calls = [];
    private readonly List<Storage> owned = [];
    private readonly List<Storage> free = [];
    private CompiledProgram? compiled;

    internal CapturedProgram(Backend backend) => this.backend = backend;

    /// <summary>The operations, in order.</summary>
    public IReadOnlyList<CapturedCall> Calls => calls;

    /// <summary>Runs all operations again. Results are there once they are read, as with operations that run one by one.</summary>
    public void Run()
    {
        ObjectDisposedException.ThrowIf(compiled is null, this);
        compiled.Run();
    }

    /// <summary>Releases the memory of the tensors that were made while capturing.</summary>
    public void Dispose()
    {
        if (compiled is null)
            return;
        compiled.Dispose();
        compiled = null;
        foreach (Storage storage in owned)
        {
            storage.Program = null;
            storage.Released = true;
            backend.Return(storage);
        }
    }

    internal void Add(Call call)
    {
        foreach (Tensor output in call.Outputs)
            output.Storage.Version++;
        calls.Add(new CapturedCall(call.Operation, call.Inputs.ToArray(), call.Outputs.ToArray()));
    }

    internal void Complete(CompiledProgram program) => compiled = program;

    /// <summary>Memory that no operation of the program needs any more, or null. It is never lent outside: a later run writes to it again.</summary>
    internal Storage? Reuse(long bytes)
    {
        int best = -1;
        for (int i = 0; i < free.Count; i++)
        {
            if (free[i].Bytes >= bytes && free[i].Bytes <= 2 * bytes && (best < 0 || free[i].Bytes < free[best].Bytes))
                best = i;
        }
        if (best < 0)
            return null;
        Storage storage = free[best];
        free.RemoveAt(best);
        (storage.Released, storage.Kept, storage.Pins) = (false, false, 0);
        return storage;
    }

    internal void Own(Storage storage)
    {
        storage.Program = this;
        owned.Add(storage);
    }

    internal void TakeBack(Storage storage) => free.Add(storage);
}
