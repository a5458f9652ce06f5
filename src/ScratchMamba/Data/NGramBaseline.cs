namespace ScratchMamba.Data;

/// <summary>
/// What counting alone achieves on a text: a model of single tokens and one of pairs, the yardsticks a language model must beat.
/// Pairs never seen are backed by single tokens: <c>p(b|a) = (count(ab) + κ p(b)) / (count(a) + κ)</c>, <c>p(b) = (count(b) + 1) / (total + V)</c>.
/// </summary>
public sealed class NGramBaseline
{
    // The weight of the single-token estimate beside the counts of a pair; near the best for texts from 100 kB to 10 MB.
    private const double Backing = 4;

    private readonly double[] single;
    private readonly Dictionary<(int, int), int> pairs = [];
    private readonly int[] firsts;

    /// <summary>Counts the training text.</summary>
    public NGramBaseline(ReadOnlySpan<int> training, int vocabularySize)
    {
        single = new double[vocabularySize];
        firsts = new int[vocabularySize];
        Array.Fill(single, 1);
        foreach (int token in training)
            single[token]++;
        for (int i = 0; i < single.Length; i++)
            single[i] /= training.Length + (double)vocabularySize;
        for (int i = 1; i < training.Length; i++)
        {
            firsts[training[i - 1]]++;
            (int, int) pair = (training[i - 1], training[i]);
            pairs[pair] = pairs.GetValueOrDefault(pair) + 1;
        }
    }

    /// <summary>The mean loss of each model on a text, in nats per token; the first token is not counted.</summary>
    public (double Unigram, double Bigram) Evaluate(ReadOnlySpan<int> text)
    {
        double unigram = 0, bigram = 0;
        for (int i = 1; i < text.Length; i++)
        {
            double alone = single[text[i]];
            int seen = pairs.GetValueOrDefault((text[i - 1], text[i]));
            unigram -= Math.Log(alone);
            bigram -= Math.Log((seen + Backing * alone) / (firsts[text[i - 1]] + Backing));
        }
        return (unigram / (text.Length - 1), bigram / (text.Length - 1));
    }
}
