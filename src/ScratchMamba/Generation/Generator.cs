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
        if (prompt.Length == 0)
            throw new ArgumentException("A prompt needs at least one token.");
        foreach (int token in prompt)
        {
            if ((uint)token >= (uint)model.Config.VocabularySize)
                throw new ArgumentException($"The prompt's token {token} is outside the model's vocabulary of {model.Config.VocabularySize}.");
        }
        return Run(prompt, count, cancellation);
    }

    private IEnumerable<int> Run(int[] prompt, int count, CancellationToken cancellation)
    {
        // Between two tokens the caller may open and close scopes of its own: the state belongs to none of them.
        using Scope home = Scope.Apart();
        Mamba2State state = model.EmptyState(1);
        home.Own(state.Tensors);
        int next = 0;
        for (int start = 0; start < prompt.Length; start += PrefillLength)
            next = Advance(prompt.AsSpan(start, Math.Min(PrefillLength, prompt.Length - start)), state, 0);
        int made = 0;
        if (model.Backend.IsQueued && model.StepsAlike && sampler.Temperature == 0 && count > Burst)
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
                next = Advance([next], state, made + 1);
        }
    }

    private int Advance(ReadOnlySpan<int> tokens, Mamba2State state, long position)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        if (tokens.Length == 1)
            return sampler.Next(model.StepInPlace(model.Backend.Tensor([1], tokens), state).ToDoubles(), position);
        (Tensor logits, Mamba2State after) = model.Prefill(model.Backend.Tensor([1, tokens.Length], tokens), state);
        state.CopyFrom(after);
        return sampler.Next(logits.ToDoubles(), position);
    }
}
