using System.CommandLine;
using ScratchMamba.Mamba2;
using ScratchMamba.Training;

namespace ScratchMamba.Cli;

/// <summary>--initial-state and what goes with it: where the rows of a training's batches begin.</summary>
internal sealed class InitialStateOptions
{
    private readonly Option<string> kind = new Option<string>("--initial-state")
    {
        Description = "Where rows begin: empty; carried, where the row of the batch before ended, of which it is the continuation (truncated backpropagation through time); "
            + "passed, where the row of an unrelated batch ended; random or fitted, in noise, of a given deviation or of the last states'.",
        DefaultValueFactory = _ => "empty",
    }.AcceptOnlyFromAmong("empty", "carried", "passed", "random", "fitted");

    private readonly Option<int> segments = CommonOptions.Count("--segments", 12, "With carried states: how many batches follow each other before rows jump to other places; 0 for all the data.", least: 0);

    private readonly Option<int> through = CommonOptions.Count("--through", 1, "With carried states: through how many of the batches of an update (--accumulate) gradients pass.");

    private readonly Option<double> reset = CommonOptions.Number("--reset", 0, "With this probability a row begins in the empty state all the same.", value => value is >= 0 and <= 1, "a probability, from 0 to 1");

    private readonly Option<double> deviation = CommonOptions.Number("--state-deviation", 1, "With random states: their deviation.", value => value > 0, "a positive number");

    /// <summary>The options, to be added to a verb.</summary>
    public Option[] All => [kind, segments, through, reset, deviation];

    /// <summary>What was asked for; null for empty states.</summary>
    public InitialStates? Of(ParseResult parsed, Mamba2Model model, ulong seed, int accumulation)
    {
        string name = parsed.GetValue(kind)!;
        foreach ((Option option, string needed) in new (Option, string)[] { (segments, "carried"), (through, "carried"), (deviation, "random") })
        {
            if (name != needed && parsed.GetResult(option) is { Implicit: false })
                throw new MisuseException($"{option.Name} needs --initial-state {needed}.");
        }
        if (accumulation % parsed.GetValue(through) != 0)
            throw new MisuseException($"--through must divide --accumulate, {accumulation}; it is {parsed.GetValue(through)}.");
        double share = parsed.GetValue(reset);
        return name switch
        {
            "carried" or "passed" => new CarriedStates(model, share, seed),
            "random" => new RandomNoise(model, parsed.GetValue(deviation), share, seed),
            "fitted" => new FittedNoise(model, share, seed),
            _ => null,
        };
    }

    /// <summary>How many batches follow each other.</summary>
    public long SegmentsOf(ParseResult parsed) => parsed.GetValue(kind) != "carried" ? 1 : parsed.GetValue(segments) is > 0 and int count ? count : long.MaxValue;

    /// <summary>Through how many batches gradients pass.</summary>
    public int ThroughOf(ParseResult parsed) => parsed.GetValue(through);
}
