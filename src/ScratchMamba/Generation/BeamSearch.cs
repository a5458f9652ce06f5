using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Generation;

/// <summary>
/// Looks for the continuation with the largest <c>log p / length^penalty</c>: keeps the most probable beginnings at each length, and continues all of them.
/// With one beam it is greedy.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="beams">How many beginnings are kept.</param>
/// <param name="lengthPenalty">0 prefers no length to another, and so short texts; 1 compares by the mean over tokens.</param>
public sealed class BeamSearch(Mamba2Model model, int beams, double lengthPenalty = 1)
{
    private sealed record Beam(int[] Tokens, double Score);

    /// <summary>The best continuation found, and its log probability in nats.</summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="count">The most tokens to write.</param>
    /// <param name="endOfText">The token that ends a continuation, and is its last; null where none does.</param>
    /// <param name="cancellation">Ends the search with an exception.</param>
    /// <exception cref="ArgumentException">The prompt is empty or has a token outside the vocabulary, or there is no beam.</exception>
    public (int[] Tokens, double LogProbability) Continue(int[] prompt, int count, int? endOfText = null, CancellationToken cancellation = default)
    {
        Generator.CheckPrompt(model, prompt);
        if (beams < 1)
            throw new ArgumentException($"There must be at least one beam; there are {beams}.");
        if (count == 0)
            return ([], 0);
        using var pause = Differentiation.Pause();
        using var current = new Holder();
        (Tensor logits, Mamba2State state) = current.Replace(() =>
        {
            using var session = new Session(model);
            session.Read(prompt);
            return (session.Logits(), session.State.Copy());
        });
        Beam[] alive = [new([], 0)];
        Beam? best = null;
        for (int length = 1; ; length++)
        {
            cancellation.ThrowIfCancellationRequested();
            var next = new List<(int From, Beam Beam)>();
            foreach ((int from, int token, double score) in Best(logits, alive))
            {
                var beam = new Beam([.. alive[from].Tokens, token], score);
                if (token != endOfText)
                    next.Add((from, beam));
                else if (best is null || Rank(beam.Score, length) > Rank(best.Score, best.Tokens.Length))
                    best = beam;
                if (next.Count == beams)
                    break;
            }
            // The most that those alive can come to: no further token costs anything, and the length is the most favourable one.
            double bound = next.Count == 0 ? double.NegativeInfinity : Math.Max(Rank(next[0].Beam.Score, count), Rank(next[0].Beam.Score, length));
            bool isLast = length == count || (best is not null && Rank(best.Score, best.Tokens.Length) >= bound);
            if (isLast)
            {
                Beam? last = next.Count > 0 ? next[0].Beam : null;
                Beam found = best is null || (last is not null && length == count && Rank(last.Score, length) > Rank(best.Score, best.Tokens.Length)) ? last! : best;
                return (found.Tokens, found.Score);
            }
            alive = [.. next.Select(entry => entry.Beam)];
            (logits, state) = current.Replace(() =>
            {
                Tensor rows = model.Backend.Tensor<int>([next.Count], [.. next.Select(entry => entry.From)]);
                var chosen = new Mamba2State([.. state.Layers.Select(layer => layer.With([.. layer.Tensors.Select(tensor => tensor.Gather(rows))]))]);
                return model.Step(model.Backend.Tensor<int>([alive.Length], [.. alive.Select(beam => beam.Tokens[^1])]), chosen);
            });
        }
    }

    private double Rank(double score, int length) => score / Math.Pow(length, lengthPenalty);

    /// <summary>Twice as many continuations as there are beams, the most probable first: at most half of them can have ended.</summary>
    private List<(int From, int Token, double Score)> Best(Tensor logits, Beam[] alive)
    {
        double[] all = LogProbabilities(logits);
        int vocabulary = all.Length / alive.Length;
        var heap = new PriorityQueue<(int From, int Token, double Score), (double, int)>();
        for (int i = 0; i < all.Length; i++)
        {
            double score = alive[i / vocabulary].Score + all[i];
            if (double.IsNaN(score))
                throw new NumericalException($"The logit of token {i % vocabulary} is not a number: the model's weights or its input are broken.");
            if (heap.Count < 2 * beams)
                heap.Enqueue((i / vocabulary, i % vocabulary, score), (score, -i));
            else if (score > heap.Peek().Score)
                heap.DequeueEnqueue((i / vocabulary, i % vocabulary, score), (score, -i));
        }
        var best = new List<(int, int, double)>();
        while (heap.TryDequeue(out (int, int, double) item, out _))
            best.Add(item);
        best.Reverse();
        return best;
    }

    /// <summary><c>log softmax</c> of each row, on the host and in float64.</summary>
    private static double[] LogProbabilities(Tensor logits)
    {
        double[] values = logits.ToDoubles();
        int columns = logits.Shape[^1];
        for (int start = 0; start < values.Length; start += columns)
        {
            Span<double> row = values.AsSpan(start, columns);
            double largest = double.NegativeInfinity, sum = 0;
            foreach (double value in row)
                largest = Math.Max(largest, value);
            foreach (double value in row)
                sum += Math.Exp(value - largest);
            double norm = largest + Math.Log(sum);
            foreach (ref double value in row)
                value -= norm;
        }
        return values;
    }

    /// <summary>Owns the logits and the state of one length at a time.</summary>
    private sealed class Holder : IDisposable
    {
        private Scope? held;

        /// <summary>Makes the next ones, then releases the ones before.</summary>
        public (Tensor Logits, Mamba2State State) Replace(Func<(Tensor Logits, Mamba2State State)> make)
        {
            using var scope = new Scope();
            (Tensor logits, Mamba2State state) = make();
            Scope next = Scope.Apart();
            next.Own([logits, .. state.Tensors]);
            held?.Dispose();
            held = next;
            return (logits, state);
        }

        public void Dispose() => held?.Dispose();
    }
}
