using ScratchMamba.Tensors;

namespace ScratchMamba.Generation;

/// <summary>
/// Chooses the next token from logits: divides them by the temperature, keeps the <see cref="TopK"/> most probable, then the fewest of these whose probabilities
/// reach <see cref="TopP"/>, and draws from what is left. The same seed gives the same choices from the same logits.
/// </summary>
public sealed record Sampler
{
    /// <summary>Logits are divided by this; 0 always takes the most probable token.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>How many of the most probable tokens are considered; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>The most probable tokens are considered until their probabilities sum to at least this.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>The seed of the draws.</summary>
    public ulong Seed { get; init; }

    /// <summary>The sampler that always takes the most probable token, the first of equals.</summary>
    public static Sampler Greedy { get; } = new() { Temperature = 0 };

    /// <summary>Throws unless the settings make sense.</summary>
    /// <exception cref="ArgumentException">They do not; the message says which.</exception>
    public Sampler Validated()
    {
        if (!(Temperature >= 0) || double.IsInfinity(Temperature))
            throw new ArgumentException($"The temperature must be 0 or a positive number; it is {Temperature}.");
        if (TopK < 0)
            throw new ArgumentException($"Top-k must be 0 (all) or a positive number; it is {TopK}.");
        if (!(TopP > 0 && TopP <= 1))
            throw new ArgumentException($"Top-p must be above 0 and at most 1; it is {TopP}.");
        return this;
    }

    /// <summary>The token that follows as number <paramref name="position"/> of the continuation of row <paramref name="row"/>.</summary>
    /// <exception cref="NumericalException">A logit is not a number.</exception>
    public int Next(ReadOnlySpan<double> logits, long position, int row = 0)
    {
        int best = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (double.IsNaN(logits[i]))
                throw new NumericalException($"The logit of token {i} is not a number: the model's weights or its input are broken.");
            if (logits[i] > logits[best])
                best = i;
        }
        if (Temperature == 0)
            return best;

        int[] order = [.. Enumerable.Range(0, logits.Length)];
        double[] keys = Array.ConvertAll(logits.ToArray(), logit => -logit);
        Array.Sort(keys, order);
        int kept = TopK == 0 ? order.Length : Math.Min(TopK, order.Length);
        var weights = new double[kept];
        for (int i = 0; i < kept; i++)
            weights[i] = Math.Exp((keys[0] - keys[i]) / Temperature);
        double total = weights.Sum();
        if (TopP < 1)
        {
            double sum = 0;
            for (int i = 0; i < kept; i++)
            {
                sum += weights[i];
                if (sum >= TopP * total)
                    kept = i + 1;
            }
            total = sum;
        }
        double draw = new Philox(Seed, (ulong)position << 16 | (uint)row).NextDouble() * total;
        for (int i = 0; i < kept - 1; i++)
        {
            draw -= weights[i];
            if (draw < 0)
                return order[i];
        }
        return order[kept - 1];
    }
}
