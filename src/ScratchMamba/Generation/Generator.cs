using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Generation;

/// <summary>Continues token sequences with a model: reads the prompt at once, then one token after the other with a state of constant size.</summary>
public sealed class Generator(Mamba2Model model, Sampler sampler)
{
    // A prompt is read in pieces, so that its length does not matter for memory.
    private const int PrefillLength = 1024;

    // Tokens that a device makes without asking the host: enough to hide the host, few enough to look like a stream.
    private const int Burst = 8;

    private readonly Sampler sampler = sampler.Validated();

    /// <summary>The tokens that follow a prompt, one after the other.</summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="count">How many tokens to generate.</param>
    /// <param name="cancellation">Ends the continuation early.</param>
    /// <exception cref="ArgumentException">The prompt is empty, or has a token outside the vocabulary.</exception>
    public IEnumerable<int> Continue(int[] prompt, int count, CancellationToken cancellation = default)
    {
        CheckPrompt(model, prompt);
        return Run(prompt, count, cancellation);
    }

    /// <summary>Throws unless a model can read a prompt.</summary>
    internal static void CheckPrompt(Mamba2Model model, int[] prompt)
    {
        if (prompt.Length == 0)
            throw new ArgumentException("A prompt needs at least one token.");
        foreach (int token in prompt)
        {
            if ((uint)token >= (uint)model.Config.VocabularySize)
                throw new ArgumentException($"The prompt's token {token} is outside the model's vocabulary of {model.Config.VocabularySize}.");
        }
    }

    /// <summary>Reads tokens in pieces, advances the state in place, and gives the logits of what follows, [1, vocabulary].</summary>
    internal static Tensor Prefill(Mamba2Model model, ReadOnlySpan<int> tokens, Mamba2State state)
    {
        Tensor? logits = null;
        for (int start = 0; start < tokens.Length; start += PrefillLength)
        {
            using var scope = new Scope();
            ReadOnlySpan<int> piece = tokens.Slice(start, Math.Min(PrefillLength, tokens.Length - start));
            (logits, Mamba2State after) = model.Prefill(model.Backend.Tensor([1, piece.Length], piece), state);
            state.CopyFrom(after);
            scope.Keep(logits);
        }
        return logits!;
    }

    private IEnumerable<int> Run(int[] prompt, int count, CancellationToken cancellation)
    {
        // Between two tokens the caller may open and close scopes of its own: the state belongs to none of them.
        using Scope home = Scope.Apart();
        Mamba2State state = model.EmptyState(1);
        home.Own(state.Tensors);
        TokenHistory? history = sampler.NeedsHistory ? new TokenHistory() : null;
        history?.Read(prompt);
        int next = Advance(prompt, state, 0, history);
        int made = 0;
        if (model.Backend.IsQueued && model.StepsAlike && sampler.TakesLargest && count > Burst)
        {
            using var greedy = new GreedyBurst(model, state, next, Burst);
            for (; made + Burst < count && !cancellation.IsCancellationRequested; made += Burst)
            {
                yield return next;
                int[] tokens = greedy.Run();
                for (int i = 0; i + 1 < Burst; i++)
                    yield return tokens[i];
                next = tokens[^1];
            }
        }
        for (; made < count && !cancellation.IsCancellationRequested; made++)
        {
            yield return next;
            if (made + 1 < count)
                next = Advance([next], state, made + 1, history);
        }
    }

    private int Advance(ReadOnlySpan<int> tokens, Mamba2State state, long position, TokenHistory? history)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        Tensor logits = tokens.Length == 1 ? model.StepInPlace(model.Backend.Tensor([1], tokens), state) : Prefill(model, tokens, state);
        int next = sampler.Next(logits.ToDoubles(), position, history: history);
        history?.Write(next);
        return next;
    }
}
