using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Studies;

/// <summary>A part of a training that goes from short prompts to long ones.</summary>
/// <param name="Longest">The longest prompts; 0 for nothing but what is hidden and the question.</param>
/// <param name="Length">Tokens of a row: gradients reach so far.</param>
/// <param name="Rows">Rows of a batch.</param>
/// <param name="Steps">The number of updates.</param>
/// <param name="Rate">The largest learning rate.</param>
/// <param name="Segments">How many batches continue a document, with its states; 1 for rows that do not.</param>
public sealed record PasskeyStage(int Longest, int Length, int Rows, int Steps, double Rate, int Segments = 1)
{
    /// <summary>Whether every token is learned, as a language model does, and not only what can be known from what was said before.</summary>
    public bool LearnsAll { get; init; }

    /// <summary>Whether the learning rate falls to 0 all the way, and not over the last tenth: where a step learns from few answers, and recall goes up and down from step to step.</summary>
    public bool Falls { get; init; }

    /// <summary>How many models of it are kept, evenly over its steps: the study goes on with the one of them that answers most of the prompts that there are to choose by.</summary>
    public int Candidates { get; init; } = 1;

    /// <summary>Whether rows begin in the last states of others.</summary>
    public bool Passes { get; init; }

    /// <summary>How rows begin.</summary>
    public TrainingMethod Method => Segments > 1 ? TrainingMethod.Truncated : Passes ? TrainingMethod.StatePassing : TrainingMethod.Plain;
}

/// <summary>The extent of the studies: a preset, with what the user changes in it.</summary>
public sealed record StudyOptions
{
    /// <summary>Minutes on two cores.</summary>
    public static StudyOptions Tiny { get; } = new()
    {
        Preset = "tiny", Steps = 2500, Prompts = 32, PasskeySamples = 60, StreamLength = 1 << 17, StreamPrompts = 4,
        CapacityStates = [4, 16], CapacityLengths = [16, 64, 256], CapacityTokens = 1_000_000, CapacitySeeds = 1,
        PasskeyModels = [(64, 2, 16)], PasskeySeeds = 1, PasskeyStages = [new(0, 128, 32, 400, 0.008), new(1024, 1024, 8, 300, 0.005)], PasskeyLongest = 4096,
        UnseenModels = [(32, 2, 16)], UnseenStages = [new(192, 512, 8, 200, 0.005) { LearnsAll = true }, new(64, 512, 8, 100, 0.005), new(1024, 1024, 4, 50, 0.003) { Passes = true }],
    };

    /// <summary>An hour on two cores, or minutes on a graphics card.</summary>
    public static StudyOptions Small { get; } = new()
    {
        Preset = "small", Steps = 5000, Prompts = 64, PasskeySamples = 100, StreamLength = 1 << 20, StreamPrompts = 8,
        CapacityStates = [4, 8, 16, 24, 32, 48], CapacityLengths = [32, 64, 128, 256], CapacityTokens = 3_000_000, CapacitySeeds = 3,
        PasskeyModels = [(64, 2, 16)], PasskeySeeds = 1, PasskeyStages = [new(0, 128, 32, 400, 0.008), new(1024, 1024, 16, 200, 0.005), new(4096, 4096, 8, 200, 0.005), new(16384, 16384, 4, 200, 0.004)],
        PasskeyLongest = 65536,
        UnseenModels = [(64, 2, 32)],
        UnseenStages =
        [
            new(192, 512, 16, 1000, 0.005) { LearnsAll = true }, new(64, 512, 16, 1200, 0.005), new(192, 512, 16, 3000, 0.004), new(1024, 1024, 16, 500, 0.004), new(4096, 4096, 8, 200, 0.004),
            new(16384, 4096, 16, 50, 0.001, Segments: 16), new(16384, 16384, 4, 200, 0.003),
        ],
    };

    /// <summary>Minutes on a large graphics card, each study: see docs/studies.md for how they are divided among commands.</summary>
    public static StudyOptions Gpu { get; } = new()
    {
        Preset = "gpu", Steps = 5000, Prompts = 128, PasskeySamples = 200, StreamLength = 1 << 20, StreamPrompts = 128,
        CapacityStates = [4, 8, 16, 32, 64, 128], CapacityLengths = [32, 64, 128, 256, 512], CapacityTokens = 8_000_000, CapacitySeeds = 3,
        PasskeyModels = [(16, 2, 16), (32, 2, 16), (64, 2, 16), (128, 2, 32)], PasskeySeeds = 1,
        PasskeyStages =
        [
            new(0, 128, 64, 600, 0.008), new(1024, 1024, 64, 300, 0.005), new(4096, 4096, 32, 300, 0.005), new(16384, 16384, 16, 200, 0.004), new(65536, 65536, 8, 150, 0.004), new(262144, 262144, 4, 120, 0.003),
            new(262144, 16384, 64, 100, 0.001, Segments: 64), new(1 << 20, 1 << 20, 2, 60, 0.001),
        ],
        PasskeyLongest = 1 << 21,
        UnseenModels = [(64, 2, 32)], UnseenSeeds = 6,
        UnseenStages =
        [
            new(192, 512, 16, 1000, 0.005) { LearnsAll = true }, new(1024, 1024, 16, 400, 0.005) { LearnsAll = true }, new(64, 512, 16, 1200, 0.005), new(192, 512, 16, 4500, 0.004),
            new(1024, 1024, 64, 1200, 0.004), new(4096, 4096, 32, 300, 0.003), new(16384, 16384, 16, 120, 0.003), new(65536, 65536, 8, 100, 0.002), new(262144, 262144, 4, 100, 0.002) { Falls = true, Candidates = 5 },
        ],
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

    /// <summary>How exactly matrix products are computed in training; what is measured is measured in float32.</summary>
    public MatMulPrecision Precision { get; init; }

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

    /// <summary>Tokens of a prompt that is streamed.</summary>
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

    /// <summary>How many prompts are streamed.</summary>
    public required int StreamPrompts { get; init; }

    /// <summary>The sizes of the models of the study passkey: the width, the number of blocks, N.</summary>
    public required IReadOnlyList<(int Width, int Layers, int StateSize)> PasskeyModels { get; init; }

    /// <summary>The sizes of the models of the study passkey-unseen.</summary>
    public required IReadOnlyList<(int Width, int Layers, int StateSize)> UnseenModels { get; init; }

    /// <summary>
    /// How they are trained, on records among lines: never on a passkey. What is told is first asked for at once, in small batches: of 36 models that began so all learned to look a record up
    /// within 10 million tokens; of 4 that began with passages of up to 192 bytes, 2 within 50 million; of 2 with such passages and batches of 65,536 tokens, 1 within 118 million.
    /// How far that reaches differs among seeds: see docs/studies.md.
    /// </summary>
    public required IReadOnlyList<PasskeyStage> UnseenStages { get; init; }

    /// <summary>The text in these; null for the one that is always there.</summary>
    public Prose? Prose { get; init; }

    /// <summary>What makes tokens of text.</summary>
    public Tokenizer Tokenizer { get; init; } = new ByteTokenizer();

    /// <summary>How many models of each size are trained alike.</summary>
    public required int PasskeySeeds { get; init; }

    /// <summary>How many of the study passkey-unseen are.</summary>
    public int UnseenSeeds { get; init; } = 1;

    /// <summary>How they are trained: each stage goes on with the model of the one before.</summary>
    public required IReadOnlyList<PasskeyStage> PasskeyStages { get; init; }

    /// <summary>The length of the longest prompts that they are asked.</summary>
    public required int PasskeyLongest { get; init; }

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

    /// <summary>The plans of a model of the study passkey, or of the study passkey-unseen, one for each stage.</summary>
    public IReadOnlyList<TrainingPlan> PasskeyPlans((int Width, int Layers, int StateSize) size, ulong seed, bool isTrainedOn = true)
    {
        var plans = new List<TrainingPlan>();
        foreach (PasskeyStage stage in isTrainedOn ? PasskeyStages : UnseenStages)
        {
            StudyData data = isTrainedOn ? new PasskeyDocuments(stage.Longest, Tokenizer) : new RecordDocuments(Prose ?? Prose.Default, stage.Longest);
            plans.Add(new TrainingPlan
            {
                Data = data, Length = stage.Length, TokensPerStep = stage.Length * stage.Rows, Steps = stage.Steps, Rate = stage.Rate, WarmUp = Math.Min(100, stage.Steps / 10), Decay = stage.Falls ? LearningRateDecay.Linear : LearningRateDecay.WarmupStableDecay, Seed = seed, Precision = Precision, ScoredOnly = !stage.LearnsAll,
                Method = stage.Method, Segments = stage.Segments, Start = plans.LastOrDefault(), Checkpoints = [.. Enumerable.Range(1, stage.Candidates - 1).Select(i => stage.Steps * i / stage.Candidates)],
                // Among few heads one that retains for long is found at once where −A may begin at a thousandth.
                Config = Config(size.StateSize) with { VocabularySize = data.VocabularySize, Width = size.Width, Layers = size.Layers, DecayRange = (0.001, 1) },
            });
        }
        return plans;
    }

    private TrainingPlan Plan(int stateSize, int length, int steps, double rate, ulong seed) => new()
    {
        Data = Data, Config = Config(stateSize), Length = length, Steps = steps, TokensPerStep = TokensPerStep, Rate = rate, WarmUp = Math.Min(100, steps / 10), Seed = seed, Precision = Precision,
    };
}
