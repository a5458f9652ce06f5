using ScratchMamba.Generation;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Server;

/// <summary>One text that is being written.</summary>
internal sealed class RunningText(TextRequest request, int choice, Session session, Tokenizer tokenizer)
{
    private readonly Sampler sampler = request.Sampler with { Seed = unchecked(request.Sampler.Seed + (ulong)choice) };
    private readonly Utf8Decoder decoder = new();
    private readonly StopStrings stops = new(request.Stops);
    private int written;

    public Session Session => session;

    public bool IsDone { get; private set; }

    public bool IsCancelled => request.Cancellation.IsCancellationRequested;

    /// <summary>Chooses the next token, and sends what it adds.</summary>
    public void Continue(double[] logits)
    {
        TokenProbability[]? probabilities = null;
        int token = session.Take(sampler, logits);
        if (request.LogProbabilities is { } most)
            probabilities = Probabilities(logits, token, most);
        written++;
        if (token == tokenizer.EndOfText)
        {
            Send(stops.Append(decoder.Finish()) + stops.Finish(), null, null, "stop");
            return;
        }
        // A vocabulary may be padded with tokens that mean nothing.
        string text = stops.Append(decoder.Append(token < tokenizer.VocabularySize ? tokenizer.Decode(token).Span : "\uFFFD"u8));
        if (written == request.Most && !stops.IsStopped)
            text += stops.Append(decoder.Finish()) + stops.Finish();
        Send(text, token, probabilities, stops.IsStopped ? "stop" : written == request.Most ? "length" : null);
    }

    /// <summary>Ends the text with an error.</summary>
    public void Fail(string fault)
    {
        IsDone = true;
        request.Output.TryWrite(new Piece(request.FirstIndex + choice, "", null, null, null, fault));
    }

    private void Send(string text, int? token, TokenProbability[]? probabilities, string? finish)
    {
        IsDone = finish is not null;
        request.Output.TryWrite(new Piece(request.FirstIndex + choice, text, token, probabilities, finish));
    }

    /// <summary>The chosen token's, then those of the most probable ones, the first first.</summary>
    private static TokenProbability[] Probabilities(double[] logits, int token, int most)
    {
        double largest = logits.Max(), norm = largest + Math.Log(logits.Sum(logit => Math.Exp(logit - largest)));
        int[] best = most == 0 ? [] : [.. Enumerable.Range(0, logits.Length).OrderByDescending(i => logits[i]).Take(most)];
        return [new(token, logits[token] - norm), .. best.Select(i => new TokenProbability(i, logits[i] - norm))];
    }
}
