using ScratchMamba.Tensors;

namespace ScratchMamba.Vulkan;

/// <summary>Captured operations as launches: in the place of an operation without a shader stand those of its definition, which is captured for that.</summary>
internal sealed class ProgramExpansion(VulkanBackend backend) : IDisposable
{
    private readonly List<CapturedProgram> definitions = [];
    private readonly List<ArenaPool> pools = [];
    private readonly List<IReadOnlyList<(CapturedCall Call, Launch? Launch)>> sequences = [];

    /// <summary>What a definition that becomes part of a larger program is compiled to.</summary>
    public static CompiledProgram Part { get; } = new PartOfProgram();

    /// <summary>The launches of each sequence, in order; a call without a launch is a copy.</summary>
    public IReadOnlyList<IReadOnlyList<(CapturedCall Call, Launch? Launch)>> Sequences => sequences;

    /// <summary>Adds sequences that do not depend on each other.</summary>
    public void Add(IReadOnlyList<IReadOnlyList<CapturedCall>> programs)
    {
        foreach (IReadOnlyList<CapturedCall> calls in programs)
        {
            var flat = new List<(CapturedCall, Launch?)>();
            // Definitions of one sequence follow each other: what one needs in between, the next may have.
            var pool = new ArenaPool();
            pools.Add(pool);
            Expand(calls, flat, pool);
            sequences.Add(flat);
        }
    }

    /// <summary>Releases the tensors of definitions.</summary>
    public void Dispose()
    {
        foreach (CapturedProgram definition in definitions)
            definition.Dispose();
        foreach (ArenaPool pool in pools)
            pool.Dispose();
    }

    private void Expand(IReadOnlyList<CapturedCall> calls, List<(CapturedCall Call, Launch? Launch)> flat, ArenaPool pool)
    {
        foreach (CapturedCall call in calls)
        {
            if (backend.LaunchOf(call.Operation, call.Inputs, call.Outputs) is { } launch)
            {
                flat.Add((call, launch));
                continue;
            }
            Tensor[] results = [];
            ulong revived = call.Revive();
            // By the backend that its tensors belong to, which may be one around this: that is where its operations come.
            Backend owner = call.Inputs.Length > 0 ? call.Inputs[0].Backend : backend;
            CapturedProgram definition;
            try
            {
                definition = owner.Capture(() => results = VulkanBackend.Define(call.Operation, call.Inputs), pool);
            }
            finally
            {
                call.Release(revived);
            }
            definitions.Add(definition);
            Expand(definition.Calls, flat, pool);
            for (int i = 0; i < results.Length; i++)
            {
                if (results[i].Count > 0)
                    flat.Add((new CapturedCall(call.Operation, [results[i]], [call.Outputs[i]]), null));
            }
            definition.Lend();
        }
    }

    private sealed class PartOfProgram : CompiledProgram
    {
        public override void Run() => throw new InvalidOperationException("This program is part of another one.");
    }
}
