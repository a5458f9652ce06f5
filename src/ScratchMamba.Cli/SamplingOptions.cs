using System.CommandLine;
using System.Globalization;
using ScratchMamba.Generation;

namespace ScratchMamba.Cli;

/// <summary>The options of a <see cref="Sampler"/>.</summary>
internal sealed class SamplingOptions
{
    private readonly Option<double> temperature = CommonOptions.Number(
        "--temperature", 0.8, "0 always takes the most probable token; 1 follows the model's probabilities.", value => value >= 0, "0 or a positive number");

    private readonly Option<int> topK = CommonOptions.Count("--top-k", 40, "Consider only this many of the most probable tokens; 0 for all.", least: 0);

    private readonly Option<double> topP = CommonOptions.Number(
        "--top-p", 1, "Consider only the most probable tokens that reach this probability together.", value => value is > 0 and <= 1, "above 0 and at most 1");

    private readonly Option<double> minP = CommonOptions.Number(
        "--min-p", 0, "Consider only tokens at least this fraction as probable as the most probable one.", value => value is >= 0 and <= 1, "from 0 to 1");

    private readonly Option<double> typical = CommonOptions.Number(
        "--typical", 1, "Consider only the tokens of the most typical surprise that reach this probability together.", value => value is > 0 and <= 1, "above 0 and at most 1");

    private readonly Option<double> repetition = CommonOptions.Number(
        "--repetition-penalty", 1, "Divide the positive logits of tokens that were there already by this, and multiply the negative ones.", value => value > 0, "a positive number");

    private readonly Option<double> presence = CommonOptions.Number(
        "--presence-penalty", 0, "Subtract this from the logit of every token that the continuation has.", _ => true, "a number");

    private readonly Option<double> frequency = CommonOptions.Number(
        "--frequency-penalty", 0, "Subtract this from a token's logit each time that the continuation has it.", _ => true, "a number");

    private readonly Option<string[]> bias = new("--logit-bias") { Description = "TOKEN=NUMBER adds the number to a token's logit; -inf forbids it.", AllowMultipleArgumentsPerToken = true };

    private readonly Option<ulong> seed = CommonOptions.Seed();

    public SamplingOptions() => bias.Validators.Add(result =>
    {
        foreach (System.CommandLine.Parsing.Token token in result.Tokens)
        {
            if (Bias(token.Value) is null)
                result.AddError($"--logit-bias must be like 42=-1.5 or 42=-inf; it is '{token.Value}'.");
        }
    });

    /// <summary>All of the options.</summary>
    public Option[] All => [temperature, topK, topP, minP, typical, repetition, presence, frequency, bias, seed];

    /// <summary>What they say.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="continued">The seed of a text that is continued, which holds unless another is given.</param>
    public Sampler Read(ParseResult parsed, ulong? continued = null)
    {
        var biases = new Dictionary<int, double>();
        foreach (string given in parsed.GetValue(bias) ?? [])
            biases[Bias(given)!.Value.Token] = Bias(given)!.Value.Value;
        return new Sampler
        {
            Temperature = parsed.GetValue(temperature),
            TopK = parsed.GetValue(topK),
            TopP = parsed.GetValue(topP),
            MinP = parsed.GetValue(minP),
            TypicalP = parsed.GetValue(typical),
            RepetitionPenalty = parsed.GetValue(repetition),
            PresencePenalty = parsed.GetValue(presence),
            FrequencyPenalty = parsed.GetValue(frequency),
            LogitBias = biases,
            Seed = continued is { } before && parsed.GetResult(seed) is not { Implicit: false } ? before : parsed.GetValue(seed),
        };
    }

    private static (int Token, double Value)? Bias(string given)
    {
        string[] parts = given.Split('=');
        if (parts.Length != 2 || !int.TryParse(parts[0], NumberStyles.None, null, out int token))
            return null;
        if (parts[1] == "-inf")
            return (token, double.NegativeInfinity);
        return double.TryParse(parts[1], NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && double.IsFinite(value) ? (token, value) : null;
    }
}
