using ScratchMamba.Mamba2;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Studies.Measures;

/// <summary>One prompt that was answered.</summary>
/// <param name="Length">Its length, as it was asked for.</param>
/// <param name="Depth">Where the hidden thing stood, 0 to 1.</param>
/// <param name="Distance">How many tokens before the end it began.</param>
/// <param name="Right">Whether the answer was right.</param>
public readonly record struct PasskeyAnswer(int Length, double Depth, int Distance, bool Right);

/// <summary>Answers to prompts that hide something at known places.</summary>
/// <param name="Answers">The answers.</param>
public sealed record PasskeyTable(PasskeyAnswer[] Answers)
{
    /// <summary>Those of a length whose depth is in [low, high).</summary>
    public (int Right, int Count) Count(int length, double low = 0, double high = 1) => CountWhere(answer => answer.Length == length && answer.Depth >= low && answer.Depth < high);

    /// <summary>Those of a length whose hidden thing stood within the last <paramref name="distance"/> tokens.</summary>
    public (int Right, int Count) Within(int length, int distance) => CountWhere(answer => answer.Length == length && answer.Distance <= distance);

    /// <summary>Those of any length whose hidden thing stood more than <paramref name="near"/> and at most <paramref name="far"/> tokens before the end.</summary>
    public (int Right, int Count) Between(int near, int far) => CountWhere(answer => answer.Distance > near && answer.Distance <= far);

    /// <summary>Depths spread evenly: sample i of n stands at (i + ½) / n.</summary>
    public static IEnumerable<(int Length, double Depth)> Even(int length, int samples) => Enumerable.Range(0, samples).Select(i => (length, (i + 0.5) / samples));

    /// <summary>Asks each length and depth once, and continues greedily.</summary>
    /// <param name="model">The model, with its cure.</param>
    /// <param name="passkey">Makes the prompts.</param>
    /// <param name="places">The prompts' lengths and depths.</param>
    /// <param name="seed">The prompts' seed.</param>
    /// <param name="context">Progress and cancellation.</param>
    public static PasskeyTable Measure(Mamba2Model model, Passkey passkey, IReadOnlyList<(int Length, double Depth)> places, ulong seed, JobContext context)
    {
        const int RowsAtOnce = 256;
        using var pause = Differentiation.Pause();
        var answers = new List<PasskeyAnswer>();
        double total = places.Sum(place => (double)place.Length), done = 0;
        // Prompts of one length are made and read together, and then forgotten.
        foreach (IGrouping<int, int> length in Enumerable.Range(0, places.Count).GroupBy(i => places[i].Length))
        {
            (PasskeyPrompt Prompt, double Depth)[] prompts = [.. length.Select(i => (passkey.Prompt(seed, (ulong)i, places[i].Length, places[i].Depth), places[i].Depth))];
            // Of a tokenizer's, not all have equally many tokens.
            foreach ((PasskeyPrompt Prompt, double Depth)[] rows in prompts.GroupBy(row => row.Prompt.Tokens.Length).SelectMany(group => group.Chunk(RowsAtOnce)))
            {
                int[][] continuations = Continue(model, [.. rows.Select(row => row.Prompt.Tokens)], passkey.AnswerTokens, context.TokensAtOnce(model), Report, context.Cancellation);
                answers.AddRange(rows.Zip(continuations, (row, continuation) => new PasskeyAnswer(length.Key, row.Depth, row.Prompt.Distance, passkey.Accepts(row.Prompt, continuation))));

                void Report(int read) => context.Report((done += read) / total, $"{answers.Count} of {places.Count} prompts");
            }
        }
        return new PasskeyTable([.. answers]);
    }

    private (int Right, int Count) CountWhere(Func<PasskeyAnswer, bool> holds)
    {
        PasskeyAnswer[] chosen = [.. Answers.Where(holds)];
        return (chosen.Count(answer => answer.Right), chosen.Length);
    }

    private static int[][] Continue(Mamba2Model model, int[][] prompts, int count, int tokensAtOnce, Action<int> report, CancellationToken cancellation)
    {
        using var scope = new Scope();
        int rows = prompts.Length, length = prompts[0].Length, piece = Math.Max(64, tokensAtOnce / rows);
        Mamba2State state = model.EmptyState(rows);
        var chosen = new int[rows];
        for (int start = 0; start < length; start += piece)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pieces = new Scope();
            int width = Math.Min(piece, length - start);
            int[] tokens = new int[rows * width];
            for (int row = 0; row < rows; row++)
                prompts[row].AsSpan(start, width).CopyTo(tokens.AsSpan(row * width));
            (Tensor logits, Mamba2State next) = model.Prefill(model.Backend.Tensor<int>([rows, width], tokens), state);
            state.CopyFrom(next);
            report(rows * width);
            if (start + width == length)
                chosen = logits.ArgMax().ToArray<int>();
        }
        int[][] continuations = [.. Enumerable.Range(0, rows).Select(_ => new int[count])];
        for (int i = 0; i < count; i++)
        {
            for (int row = 0; row < rows; row++)
                continuations[row][i] = chosen[row];
            if (i + 1 == count)
                break;
            using var step = new Scope();
            chosen = model.StepInPlace(model.Backend.Tensor<int>([rows], chosen), state).ArgMax().ToArray<int>();
        }
        return continuations;
    }
}
