using System.CommandLine;
using System.Globalization;
using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Training;

namespace ScratchMamba.Cli;

/// <summary>The options that say how a model is trained: where it begins, what of it is trained, at which rates, and what is kept of it.</summary>
internal sealed class RecipeOptions
{
    private readonly Option<string?> init = new("--init") { Description = "Begin with the weights of this model, of any format, instead of random ones; its sizes and its tokenizer are used." };

    private readonly Option<double> rate = CommonOptions.Number("--lr", 2e-3, "The largest learning rate.", value => value > 0, "a positive number");

    private readonly Option<int?> warmUp = new("--warm-up")
    {
        Description = "Steps over which the learning rate rises; a tenth of all by default.",
        CustomParser = result => CommonOptions.Parse<int>("--warm-up", result, value => value >= 0, $"a whole number from 0 to {int.MaxValue}"),
    };

    private readonly Option<string> schedule = new Option<string>("--schedule")
    {
        Description = "What follows the warm-up: constant, linear (to 0), cosine (to a tenth), or wsd (stable, then linearly to 0 over the last tenth).",
        DefaultValueFactory = _ => "cosine",
    }.AcceptOnlyFromAmong("constant", "linear", "cosine", "wsd");

    private readonly Option<double> clip = CommonOptions.Number("--clip", 1, "The largest norm of the gradients; above it they are scaled down.", value => value > 0, "a positive number");

    private readonly Option<double> decay = CommonOptions.Number(
        "--weight-decay", 0.1, "The decay of weight matrices per unit of learning rate; norms, biases, embeddings, A, D and Δ's bias do not decay.", value => value >= 0, "0 or a positive number");

    private readonly Option<string[]> groups = new("--group") { Description = "PATTERN,lr=FACTOR,decay=NUMBER: another learning rate (times the factor) or decay for the parameters whose paths match, such as *.A_log,lr=0.1.", AllowMultipleArgumentsPerToken = true };

    private readonly Option<string[]> freeze = new("--freeze") { Description = "Do not train the parameters whose paths match, such as backbone.embeddings.* or *.conv1d.*.", AllowMultipleArgumentsPerToken = true };

    private readonly Option<int> rank = CommonOptions.Count("--lora", 0, "Train low-rank adapters of this rank beside the projections of --init, and nothing else; they are saved alone, and 'convert' merges them.", least: 0);

    private readonly Option<double?> alpha = new("--lora-alpha")
    {
        Description = "What adapters are scaled with, times the rank; twice the rank by default.",
        CustomParser = result => CommonOptions.Parse<double>("--lora-alpha", result, value => double.IsFinite(value) && value != 0, "a number other than 0"),
    };

    private readonly Option<string[]> targets = new Option<string[]>("--lora-on")
    {
        Description = "The projections that have adapters: in_proj, out_proj or both.",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => [.. LowRankAdaptation.AllTargets],
    }.AcceptOnlyFromAmong([.. LowRankAdaptation.AllTargets]);

    private readonly Option<double> average = CommonOptions.Number(
        "--ema", 0, "Keep a moving average of the weights with this decay, such as 0.999, and save it as a model in the folder 'average' of the run; 0 for none.", value => value is >= 0 and < 1, "at least 0 and below 1");

    private readonly Option<bool> evaluatesAverage = new("--eval-ema") { Description = "Measure the held-out loss of the average, not of the weights." };

    private readonly Option<int?> recompute = CommonOptions.Recompute("as many as it takes to fit by default");

    private readonly Option<bool> find = new("--find-lr") { Description = "Do not train: try rising learning rates on up to 100 steps, write the curve into --out, and suggest one." };

    public RecipeOptions() => groups.Validators.Add(result =>
    {
        foreach (System.CommandLine.Parsing.Token token in result.Tokens)
        {
            if (Group(token.Value) is null)
                result.AddError($"--group must be like *.A_log,lr=0.1,decay=0; it is '{token.Value}'.");
        }
    });

    /// <summary>All of the options.</summary>
    public Option[] All => [init, rate, warmUp, schedule, clip, decay, groups, freeze, rank, alpha, targets, average, evaluatesAverage, recompute, find];

    /// <summary>Whether to look for a learning rate instead of training.</summary>
    public bool Finds(ParseResult parsed) => parsed.GetValue(find);

    /// <summary>Whether adapters are trained, and nothing else.</summary>
    public bool Adapts(ParseResult parsed) => parsed.GetValue(rank) > 0;

    /// <summary>The model to begin with; null for random weights.</summary>
    public string? Init(ParseResult parsed)
    {
        if (parsed.GetValue(rank) > 0 && parsed.GetValue(init) is null)
            throw new MisuseException("--lora adapts a model that is there: name it by --init.");
        if (parsed.GetValue(evaluatesAverage) && parsed.GetValue(average) == 0)
            throw new MisuseException("--eval-ema measures an average: give its decay by --ema.");
        return parsed.GetValue(init);
    }

    /// <summary>The model as training begins with it.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="sizes">Its sizes, where it begins with random weights.</param>
    /// <param name="backend">Where it lives.</param>
    /// <param name="seed">What random weights are drawn from; null for zeros, where weights are about to be read or do not matter.</param>
    /// <param name="reads">Whether to read the weights that it begins with.</param>
    public Mamba2Model Model(ParseResult parsed, Mamba2Config sizes, Backend backend, ulong? seed, bool reads = true)
    {
        string? given = reads ? parsed.GetValue(init) : null;
        Mamba2Model model = given is null ? new Mamba2Model(sizes, backend, seed: seed) : Checkpoint.Load(given, backend);
        int lowRank = parsed.GetValue(rank);
        if (lowRank > 0)
            model.Adapt(new LowRankAdaptation(lowRank, parsed.GetValue(alpha) ?? 2 * lowRank, [.. parsed.GetValue(targets)!.Distinct()], Path.GetFullPath(parsed.GetValue(init)!)), seed);
        foreach (string pattern in parsed.GetValue(freeze) ?? [])
            Checked(() => ParameterGroup.Freeze(model, pattern));
        foreach (ParameterGroup group in Settings(parsed).Groups)
            Checked(() => group.ThrowIfEmpty(model));
        return model;
    }

    /// <summary>The optimizer.</summary>
    public AdamWSettings Settings(ParseResult parsed) => new(WeightDecay: parsed.GetValue(decay), ClipNorm: parsed.GetValue(clip))
    {
        Groups = [.. (parsed.GetValue(groups) ?? []).Select(text => Group(text)!)],
    };

    /// <summary>The learning rate over so many steps.</summary>
    public LearningRateSchedule Schedule(ParseResult parsed, int steps) => new(
        parsed.GetValue(rate), steps, parsed.GetValue(warmUp) ?? steps / 10,
        parsed.GetValue(schedule) switch { "constant" => LearningRateDecay.Constant, "linear" => LearningRateDecay.Linear, "wsd" => LearningRateDecay.WarmupStableDecay, _ => LearningRateDecay.Cosine });

    /// <summary>The decay of the average of weights; 0 for none.</summary>
    public double Average(ParseResult parsed) => parsed.GetValue(average);

    /// <summary>Whether the held-out loss is that of the average.</summary>
    public bool EvaluatesAverage(ParseResult parsed) => parsed.GetValue(evaluatesAverage);

    /// <summary>How many layers are to be computed again for their gradients; null for as many as it takes.</summary>
    public int? Recomputed(ParseResult parsed) => parsed.GetValue(recompute);

    private static void Checked(Action action)
    {
        try
        {
            action();
        }
        catch (ArgumentException fault)
        {
            throw new MisuseException(fault.Message);
        }
    }

    /// <summary>What PATTERN,lr=FACTOR,decay=NUMBER says; null for anything else.</summary>
    private static ParameterGroup? Group(string text)
    {
        string[] parts = text.Split(',');
        var group = new ParameterGroup(parts[0]);
        foreach (string part in parts[1..])
        {
            int equals = part.IndexOf('=');
            if (equals < 0 || !double.TryParse(part.AsSpan(equals + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out double value) || !(value >= 0) || double.IsInfinity(value))
                return null;
            switch (part[..equals])
            {
                case "lr" when value > 0: group = group with { RateFactor = value }; break;
                case "decay": group = group with { WeightDecay = value }; break;
                default: return null;
            }
        }
        return parts[0].Length > 0 && parts.Length > 1 ? group : null;
    }
}
