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
    // Devices allow so much in one piece, and what is free may lie in several.
    private const long MostOfArena = 1L << 30;

    private readonly Backend backend;
    private readonly ArenaPool? pool;
    private readonly List<CapturedCall> calls = [];
    private readonly Dictionary<Storage, Lifetime> lifetimes = [];
    private readonly List<Storage> arenas = [];
    private CompiledProgram? compiled;

    internal CapturedProgram(Backend backend, ArenaPool? pool = null) => (this.backend, this.pool) = (backend, pool);

    internal static CapturedProgram Of(Backend backend, IReadOnlyList<CapturedProgram> programs)
    {
        var combined = new CapturedProgram(backend);
        // By which program it is accessed, or several.
        var accessed = new Dictionary<Storage, (int Program, bool IsWritten)>();
        for (int i = 0; i < programs.Count; i++)
        {
            foreach (CapturedCall call in programs[i].calls)
            {
                foreach (Tensor input in call.Inputs)
                    Access(input.Storage, i, writes: false);
                foreach (Tensor output in call.Outputs)
                    Access(output.Storage, i, writes: true);
            }
            combined.calls.AddRange(programs[i].calls);
        }
        return combined;

        void Access(Storage storage, int program, bool writes)
        {
            (int Program, bool IsWritten) before = accessed.GetValueOrDefault(storage, (program, false));
            if (before.Program != program && (writes || before.IsWritten))
                throw new InvalidOperationException("Programs cannot be combined when one writes what another one needs: they may run side by side.");
            accessed[storage] = (program, writes || before.IsWritten);
        }
    }

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
        compiled?.Dispose();
        compiled = null;
        foreach (Storage storage in lifetimes.Keys)
            storage.Released = true;
        if (pool is null)
        {
            foreach (Storage arena in arenas)
                backend.Return(arena);
        }
        arenas.Clear();
    }

    /// <summary>Lets programs that are placed from now on in the same pool have this one's memory: it has run when they do.</summary>
    internal void Lend() => pool?.GiveBack(arenas);

    internal void Add(Call call)
    {
        foreach (Tensor output in call.Outputs)
            output.Storage.Version++;
        calls.Add(new CapturedCall(call.Operation, call.Inputs.ToArray(), call.Outputs.ToArray()));
    }

    /// <summary>A tensor made while capturing is needed from the next operation on, until it is taken back or for good.</summary>
    internal void Own(Storage storage)
    {
        storage.Program = this;
        lifetimes.Add(storage, new Lifetime(storage.Bytes, calls.Count, int.MaxValue));
    }

    /// <summary>No later operation needs a tensor.</summary>
    internal void TakeBack(Storage storage) => lifetimes[storage] = lifetimes[storage] with { End = Math.Max(calls.Count, lifetimes[storage].Begin + 1) };

    /// <summary>Gives the tensors their memory.</summary>
    internal void Place()
    {
        var plan = new MemoryPlan([.. lifetimes.Values], MostOfArena);
        foreach (long size in plan.Sizes)
        {
            var type = new TensorType(DType.I32, [(int)(size / sizeof(int))]);
            arenas.Add(pool?.Take(backend, type) ?? backend.Take(type));
        }
        int next = 0;
        foreach (Storage storage in lifetimes.Keys)
        {
            (int arena, long offset) = plan.Places[next++];
            storage.Place(arenas[arena], offset);
        }
    }

    internal void Complete(CompiledProgram program) => compiled = program;
}
