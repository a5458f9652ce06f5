using ScratchMamba.Mamba2;

namespace ScratchMamba.Generation;

/// <summary>Continues token sequences with a model: reads the prompt in large pieces, then one token after the other with a state of constant size.</summary>
public sealed class Generator(Mamba2Model model, Sampler sampler)
{
    // Tokens that a device makes without asking the host: enough to hide the host, few enough to look like a stream.
    private const int Burst = 16;

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

    /// <summary>The tokens that follow a text, one after the other; each is part of it when it is given.</summary>
    /// <param name="session">The text, of at least one token.</param>
    /// <param name="count">How many tokens to generate.</param>
    /// <param name="cancellation">Ends the continuation early.</param>
    public IEnumerable<int> Continue(Session session, int count, CancellationToken cancellation = default)
    {
        for (int made = 0; made < count && !cancellation.IsCancellationRequested; made++)
            yield return session.Next(sampler);
    }

    /// <summary>Throws unless a model can read a prompt.</summary>
    internal static void CheckPrompt(Mamba2Model model, ReadOnlySpan<int> prompt)
    {
        if (prompt.IsEmpty)
            throw new ArgumentException("A prompt needs at least one token.");
        Session.CheckTokens(model, prompt);
    }

    private IEnumerable<int> Run(int[] prompt, int count, CancellationToken cancellation)
    {
        using var session = new Session(model);
        session.Read(prompt);
        int made = 0;
        // Several tokens are made before it is known whether the first is wanted, so the text is nobody else's.
        if (model.Backend.IsQueued && model.StepsAlike && sampler.TakesLargest && count > Burst && !cancellation.IsCancellationRequested)
        {
            int next = session.Next(sampler);
            made++;
            yield return next;
            using var greedy = new GreedyBurst(model, session.State, next, Burst);
            Lazy<int[]>? burst = greedy.Start();
            for (; burst is not null && !cancellation.IsCancellationRequested; made += Burst)
            {
                // The device makes the next tokens while these are read and used.
                Lazy<int[]>? following = made + 2 * Burst <= count ? greedy.Start() : null;
                foreach (int token in burst.Value)
                {
                    session.MarkRead();
                    session.Write(token);
                    yield return token;
                }
                burst = following;
            }
        }
        foreach (int token in Continue(session, count - made, cancellation))
            yield return token;
    }
}
