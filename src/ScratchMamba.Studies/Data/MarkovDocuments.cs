using ScratchMamba.Tensors;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// Documents of random bigram chains: each has a transition matrix of its own, whose rows are drawn from a symmetric Dirichlet distribution.
/// The best predictor counts pairs, so its loss falls with the position: a language model's loss against position in small. Every token but the first is scored.
/// </summary>
/// <example>
/// 4 symbols, concentration 0.2, seed 1, document 0:
/// <code>
/// s3 s1* s1* s2* s3* s3* s2* s1* s1* s2* s1* s2* s1* s1* s1* s1*
/// </code>
/// </example>
/// <param name="symbols">How many symbols there are.</param>
/// <param name="concentration">The Dirichlet distribution's parameter: the smaller, the fewer symbols follow another one.</param>
public sealed class MarkovDocuments(int symbols = 32, double concentration = 0.1) : StudyData
{
    /// <inheritdoc/>
    public override string Name => $"Markov documents, {symbols} symbols, concentration {concentration:0.###}";

    /// <inheritdoc/>
    public override int VocabularySize => symbols;

    /// <inheritdoc/>
    public override double ChanceLoss => Math.Log(symbols);

    /// <inheritdoc/>
    public override string Show(int id) => $"s{id}";

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number)
    {
        var random = new Philox(seed, number);
        double[][] cumulative = [.. Enumerable.Range(0, symbols).Select(_ => Row(random))];
        int symbol = random.Next(symbols);
        yield return new MarkedToken(symbol);
        while (true)
        {
            double[] row = cumulative[symbol];
            int found = Array.BinarySearch(row, random.NextDouble() * row[^1]);
            symbol = Math.Min(found < 0 ? ~found : found + 1, symbols - 1);
            yield return new MarkedToken(symbol, 0);
        }
    }

    /// <summary>Gamma variables, summed: their shares are a draw from the Dirichlet distribution.</summary>
    private double[] Row(Philox random)
    {
        var row = new double[symbols];
        double sum = 0;
        for (int i = 0; i < symbols; i++)
            row[i] = sum += Gamma(random, concentration);
        return row;
    }

    /// <summary>Source: Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables" (2000), with their step for shapes below 1.</summary>
    private static double Gamma(Philox random, double shape)
    {
        double boost = shape < 1 ? Math.Pow(1 - random.NextDouble(), 1 / shape) : 1, d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / Math.Sqrt(9 * d);
        while (true)
        {
            double x = random.NextNormal(), v = 1 + c * x;
            if (v > 0 && Math.Log(1 - random.NextDouble()) < x * x / 2 + d - d * v * v * v + d * Math.Log(v * v * v))
                return boost * d * v * v * v;
        }
    }
}
