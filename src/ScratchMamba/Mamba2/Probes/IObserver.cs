using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2.Probes;

/// <summary>Is shown the inside of a model's layers while it reads: <c>model.Observer = …</c>.</summary>
public interface IObserver
{
    /// <summary>A layer has read tokens. What is shown is valid during the call only.</summary>
    /// <param name="layer">The layer, from 0.</param>
    /// <param name="observation">What went on inside.</param>
    void Observe(int layer, Observation observation);
}

/// <summary>The inside of one layer while it reads a stretch of tokens; in training the tensors carry their history.</summary>
public sealed class Observation
{
    private readonly Recurrence given, changed;
    private readonly Tensor? initial;
    private readonly CureMemory? begun;
    private readonly bool isPacked;
    private readonly LayerCure? cure;
    private readonly Mamba2Config config;

    internal Observation(Recurrence given, Recurrence changed, Tensor? initial, CureMemory? begun, bool isPacked, LayerState after, LayerCure? cure, Mamba2Config config)
    {
        this.given = given;
        this.changed = changed;
        this.initial = initial;
        this.begun = begun;
        this.isPacked = isPacked;
        this.cure = cure;
        this.config = config;
        After = after;
    }

    /// <summary>How many tokens.</summary>
    public int Length => given.Length;

    /// <summary>x, what is inserted, after the convolution: [B, L, H, P].</summary>
    public Tensor X => given.X;

    /// <summary>Δ after softplus and limits, before any cure: [B, L, H].</summary>
    public Tensor TimeStep => given.Step;

    /// <summary>A, [H], negative.</summary>
    public Tensor A => given.A;

    /// <summary>B, [B, L, G, N].</summary>
    public Tensor B => given.B;

    /// <summary>C, [B, L, G, N].</summary>
    public Tensor C => given.C;

    /// <summary>log αₜ = Δₜ A with all that a cure does to it: [B, L, H].</summary>
    public Tensor LogDecay => changed.Step * changed.A;

    /// <summary>The state after the last token.</summary>
    public LayerState After { get; }

    /// <summary>Computes the recurrent state, [B, H, P, N], after <paramref name="first"/>, <paramref name="first"/> + <paramref name="stride"/>, … tokens of the stretch, apart from the model's own computation.</summary>
    /// <param name="first">At least 1.</param>
    /// <param name="stride">At least 1.</param>
    /// <param name="visit">Is given each number of tokens and the state after them.</param>
    /// <exception cref="NotSupportedException">The rows hold several documents each.</exception>
    public void VisitStates(int first, int stride, Action<int, Tensor> visit)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(first, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(stride, 1);
        if (isPacked)
            throw new NotSupportedException("States within rows of several documents cannot be visited: rows begin documents at different tokens.");
        using var pause = Differentiation.Pause();
        using var scope = new Scope();
        Tensor? state = initial;
        CureMemory? memory = begun;
        int done = 0;
        for (int next = first; next <= Length; next += stride)
        {
            Recurrence part = changed.Part(done, next - done);
            if (cure is null)
                (_, state) = part.Scan(state, null, config.ChunkSize);
            else
                (_, state, memory) = cure.Scan(part, state, memory, null);
            visit(next, state);
            done = next;
        }
    }
}
