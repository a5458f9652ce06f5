using ScratchMamba.Tensors;

namespace ScratchMamba.Generation;

/// <summary>
/// Chooses the next token from logits. The steps, in this order, each with what the one before has left:
/// <list type="number">
/// <item><see cref="LogitBias"/> is added;</item>
/// <item>tokens that were there already pay <see cref="RepetitionPenalty"/>, then <see cref="FrequencyPenalty"/> and <see cref="PresencePenalty"/>;</item>
/// <item>at <see cref="Temperature"/> 0 the most probable token is taken, the first of equals; otherwise logits are divided by it;</item>
/// <item><see cref="TopK"/>, <see cref="TopP"/>, <see cref="MinP"/> and <see cref="TypicalP"/> leave out tokens;</item>
/// <item>a token is drawn from the probabilities of those that are left.</item>
/// </list>
/// At least one token is always left. The same seed gives the same choices from the same logits.
/// </summary>
public sealed record Sampler
{
    private static readonly Dictionary<int, double> NoBias = [];

    /// <summary>Logits are divided by this; 0 always takes the most probable token.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>How many of the most probable tokens are kept, of equals the first; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>The fewest of the most probable tokens are kept whose probabilities sum to at least this.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Tokens are kept whose probability is at least this fraction of the most probable one's.</summary>
    public double MinP { get; init; }

    /// <summary>
    /// The fewest tokens are kept, nearest first by |−log p − H| where H = −Σ p log p, whose probabilities sum to at least this.
    /// Source: Meister and others, "Locally Typical Sampling" (2023).
    /// </summary>
    public double TypicalP { get; init; } = 1;

    /// <summary>
    /// The logit of every token of the prompt and the continuation is divided by this where it is positive and multiplied by it where it is negative.
    /// Source: Keskar and others, "CTRL" (2019).
    /// </summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from the logit of every token that the continuation has.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Subtracted from a token's logit once for each time that the continuation has it.</summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>Added to the logits of these tokens; −∞ forbids one.</summary>
    public IReadOnlyDictionary<int, double> LogitBias { get; init; } = NoBias;

    /// <summary>The seed of the draws.</summary>
    public ulong Seed { get; init; }

    /// <summary>The sampler that always takes the most probable token, the first of equals.</summary>
    public static Sampler Greedy { get; } = new() { Temperature = 0 };

    /// <summary>Whether choices depend on the tokens before.</summary>
    public bool NeedsHistory => RepetitionPenalty != 1 || PresencePenalty != 0 || FrequencyPenalty != 0;

    /// <summary>Whether the choice is the position of the largest logit as it is.</summary>
    internal bool TakesLargest => Temperature == 0 && !NeedsHistory && LogitBias.Count == 0;

    /// <summary>Throws unless the settings make sense.</summary>
    /// <exception cref="ArgumentException">They do not; the message says which.</exception>
    public Sampler Validated()
    {
        Require(Temperature >= 0 && double.IsFinite(Temperature), "temperature", "0 or a positive number", Temperature);
        Require(TopK >= 0, "top-k", "0 (all) or a positive number", TopK);
        Require(TopP is > 0 and <= 1, "top-p", "above 0 and at most 1", TopP);
        Require(MinP is >= 0 and <= 1, "min-p", "from 0 to 1", MinP);
        Require(TypicalP is > 0 and <= 1, "typical p", "above 0 and at most 1", TypicalP);
        Require(RepetitionPenalty > 0 && double.IsFinite(RepetitionPenalty), "repetition penalty", "a positive number", RepetitionPenalty);
        Require(double.IsFinite(PresencePenalty), "presence penalty", "a number", PresencePenalty);
        Require(double.IsFinite(FrequencyPenalty), "frequency penalty", "a number", FrequencyPenalty);
        foreach ((int token, double bias) in LogitBias)
            Require(token >= 0 && bias < double.PositiveInfinity, $"bias of token {token}", "a number or −∞, and of a token", bias);
        return this;

        static void Require(bool holds, string what, string rule, double value)
        {
            if (!holds)
                throw new ArgumentException($"The {what} must be {rule}; it is {value}.");
        }
    }

    /// <summary>The token that follows as number <paramref name="position"/> of the continuation of row <paramref name="row"/>.</summary>
    /// <param name="logits">A logit for each token.</param>
    /// <param name="position">Which draw of the seed's this is.</param>
    /// <param name="row">Which of several texts it is for.</param>
    /// <param name="history">What penalties are for; null for nothing.</param>
    /// <exception cref="NumericalException">A logit is not a number, or every token is forbidden.</exception>
    public int Next(ReadOnlySpan<double> logits, long position, int row = 0, TokenHistory? history = null)
    {
        if (NeedsHistory && history is not null || LogitBias.Count > 0)
            logits = Adjusted(logits, history);
        int best = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (double.IsNaN(logits[i]))
                throw new NumericalException($"The logit of token {i} is not a number: the model's weights or its input are broken.");
            if (logits[i] > logits[best])
                best = i;
        }
        if (double.IsNegativeInfinity(logits[best]))
            throw new NumericalException("Every token is forbidden: all logits are −∞.");
        if (Temperature == 0)
            return best;
        var candidates = new Candidates(logits, logits[best], Temperature);
        if (TopK > 0)
            candidates.KeepLargest(TopK);
        if (TopP < 1)
            candidates.KeepMass(TopP);
        if (MinP > 0)
            candidates.KeepLikely(MinP);
        if (TypicalP < 1)
            candidates.KeepTypical(TypicalP);
        return candidates.Draw(new Philox(Seed, (ulong)position << 16 | (uint)row).NextDouble());
    }

    /// <summary>Throws unless all tokens that have a bias are of the vocabulary.</summary>
    /// <exception cref="ArgumentException">One is not.</exception>
    public void CheckBiases(int vocabularySize)
    {
        foreach (int token in LogitBias.Keys)
        {
            if (token >= vocabularySize)
                throw new ArgumentException($"There is a bias for token {token}; the vocabulary has {vocabularySize}.");
        }
    }

    private double[] Adjusted(ReadOnlySpan<double> logits, TokenHistory? history)
    {
        double[] adjusted = logits.ToArray();
        CheckBiases(adjusted.Length);
        foreach ((int token, double bias) in LogitBias)
            adjusted[token] += bias;
        if (history is null)
            return adjusted;
        if (RepetitionPenalty != 1)
        {
            foreach (int token in history.Seen)
                adjusted[token] = adjusted[token] > 0 ? adjusted[token] / RepetitionPenalty : adjusted[token] * RepetitionPenalty;
        }
        foreach ((int token, int count) in history.Written)
            adjusted[token] -= FrequencyPenalty * count + PresencePenalty;
        return adjusted;
    }
}
