using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;

namespace ScratchMamba.Studies;

/// <summary>The extent of the studies: a preset, with what the user changes in it.</summary>
public sealed record StudyOptions
{
    /// <summary>Minutes on two cores.</summary>
    public static StudyOptions Tiny { get; } = new()
    {
        Preset = "tiny", Steps = 2500, Prompts = 32, PasskeySamples = 60, StreamLength = 1 << 20,
        CapacityStates = [4, 16], CapacityLengths = [16, 64, 256], CapacityTokens = 1_000_000, CapacitySeeds = 1,
    };

    /// <summary>An hour on two cores, or minutes on a graphics card.</summary>
    public static StudyOptions Small { get; } = new()
    {
        Preset = "small", Steps = 5000, Prompts = 64, PasskeySamples = 100, StreamLength = 1 << 20,
        CapacityStates = [4, 8, 16, 24, 32, 48], CapacityLengths = [32, 64, 128, 256], CapacityTokens = 3_000_000, CapacitySeeds = 3,
    };

    /// <summary>The preset's name.</summary>
    public required string Preset { get; init; }

    /// <summary>What models learn from.</summary>
    public StudyData Data { get; init; } = new StreamingRecall();

    /// <summary>D: the width of the residual stream.</summary>
    public int Width { get; init; } = 64;

    /// <summary>The number of blocks.</summary>
    public int Layers { get; init; } = 2;

    /// <summary>P: the channels of a head.</summary>
    public int HeadSize { get; init; } = 32;

    /// <summary>N: the size of the state of a channel.</summary>
    public int StateSize { get; init; } = 16;

    /// <summary>The training length.</summary>
    public int Length { get; init; } = 64;

    /// <summary>The number of updates.</summary>
    public required int Steps { get; init; }

    /// <summary>Tokens of a batch.</summary>
    public int TokensPerStep { get; init; } = 4096;

    /// <summary>The largest learning rate.</summary>
    public double Rate { get; init; } = 3e-3;

    /// <summary>How many models are trained alike, with seeds 1, 2, …: claims are made about all of them.</summary>
    public int Seeds { get; init; } = 3;

    /// <summary>The first seed.</summary>
    public ulong FirstSeed { get; init; } = 1;

    /// <summary>How many prompts each model reads.</summary>
    public required int Prompts { get; init; }

    /// <summary>How many times the training length the prompts are long.</summary>
    public int LengthFactor { get; init; } = 64;

    /// <summary>Passkey prompts of each length.</summary>
    public required int PasskeySamples { get; init; }

    /// <summary>Tokens of the prompt that is streamed.</summary>
    public required long StreamLength { get; init; }

    /// <summary>The state sizes N of the capacity study.</summary>
    public required IReadOnlyList<int> CapacityStates { get; init; }

    /// <summary>The training lengths of the capacity study.</summary>
    public required IReadOnlyList<int> CapacityLengths { get; init; }

    /// <summary>The tokens that each model of the capacity study learns from.</summary>
    public required long CapacityTokens { get; init; }

    /// <summary>The largest learning rate of the capacity study.</summary>
    public double CapacityRate { get; init; } = 8e-3;

    /// <summary>
    /// The first updates of the capacity study are made on short rows, where recall is found at once: on rows of 64 tokens, at a rate of 0.003, the loss stayed where it is without recall for
    /// 0.3 to 5 million tokens, depending on the seed; on rows of 256 for longer than a million. 0 for none. Other studies do without: models that began so, at a rate of 0.008, read 64 times the
    /// training length at a loss of 2.9; those that did not, at 5.2.
    /// </summary>
    public int EarlySteps { get; init; } = 250;

    /// <summary>The length of these rows, where the training length is not shorter.</summary>
    public int EarlyLength { get; init; } = 16;

    /// <summary>How many models of the capacity study are trained alike.</summary>
    public required int CapacitySeeds { get; init; }

    /// <summary>The cures to study; null for the usual ones.</summary>
    public IReadOnlyList<Cure>? Cures { get; init; }

    /// <summary>A model's sizes. Heads begin with all time constants from long to short: see the paper's specification, 12.1.</summary>
    public Mamba2Config Config(int stateSize) => new()
    {
        VocabularySize = Data.VocabularySize, Width = Width, Layers = Layers, HeadSize = HeadSize, StateSize = stateSize, DecayRange = (0.05, 1), DrawsDecayInLog = true,
    };

    /// <summary>The plans of the models that most studies look at: one for each seed, saved three times on the way.</summary>
    public IReadOnlyList<TrainingPlan> Plans => [.. Enumerable.Range(0, Seeds).Select(i => Plan(StateSize, Length, Steps, Rate, FirstSeed + (ulong)i) with
    {
        Checkpoints = [.. new[] { Steps / 4, Steps / 2, Steps * 3 / 4 }.Where(step => step > 0).Distinct()],
    })];

    /// <summary>The plan of a short training after another one: a twentieth of its steps, at a third of its rate.</summary>
    public static TrainingPlan After(TrainingPlan start, TrainingMethod method)
    {
        int steps = Math.Max(1, start.Steps / 20);
        return start with { Start = start, Method = method, Steps = steps, Rate = start.Rate / 3, WarmUp = steps / 10, Checkpoints = [] };
    }

    /// <summary>The plan of a model of the capacity study. Models of one size and seed begin alike, on short rows.</summary>
    public TrainingPlan CapacityPlan(int stateSize, int length, ulong seed)
    {
        int rows = Math.Max(1, TokensPerStep / length);
        TrainingPlan plan = Plan(stateSize, length, (int)Math.Max(1, CapacityTokens / (rows * (long)length)), CapacityRate, seed);
        return EarlySteps == 0 ? plan : plan with { Start = Plan(stateSize, Math.Min(EarlyLength, length), EarlySteps, CapacityRate, seed) };
    }

    private TrainingPlan Plan(int stateSize, int length, int steps, double rate, ulong seed) => new()
    {
        Data = Data, Config = Config(stateSize), Length = length, Steps = steps, TokensPerStep = TokensPerStep, Rate = rate, WarmUp = Math.Min(100, steps / 10), Seed = seed,
    };
}
