using System.Diagnostics;
using ScratchMamba.Data;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;
using ScratchMamba.Training.Seeing;

namespace ScratchMamba.Cli;

/// <summary>What a training on text needs, as the commands train and quickstart run it.</summary>
internal sealed record TextTraining
{
    // Measuring takes as long as the update itself, so that this is a hundredth of a step at most.
    private const int MeasureEvery = 10;
    private const int SampleLength = 200, PromptTokens = 48;

    public required Mamba2Model Model { get; init; }

    public required TrainingData Data { get; init; }

    /// <summary>What makes tokens of the text; saved beside the model unless it is that of bytes.</summary>
    public required Tokenizer Tokenizer { get; init; }

    public required string Folder { get; init; }

    public required LearningRateSchedule Schedule { get; init; }

    public required int Batch { get; init; }

    public required int Length { get; init; }

    public int Accumulation { get; init; } = 1;

    public AdamWSettings Optimizer { get; init; } = new();

    public ulong Seed { get; init; }

    /// <summary>When checkpoints are saved; one always is at the end.</summary>
    public SaveInterval SaveEvery { get; init; }

    /// <summary>Every how many steps the held-out loss is measured; 0 for at the end only.</summary>
    public int EvaluateEvery { get; init; }

    /// <summary>How many batches follow each other, row by row: see <see cref="TokenBatches.Segments"/>.</summary>
    public long Segments { get; init; } = 1;

    /// <summary>Whether documents are read on into the next as if they were one.</summary>
    public bool JoinsDocuments { get; init; }

    /// <summary>Where rows begin; null for the empty state.</summary>
    public InitialStates? InitialStates { get; init; }

    /// <summary>Through how many batches of an update gradients pass with the state.</summary>
    public int Through { get; init; } = 1;

    /// <summary>From how many deviations above its mean on a loss is a spike, after which the training goes back to the last checkpoint; null for never.</summary>
    public double? Spike { get; init; }

    /// <summary>Whether to go on where the last training in the folder was stopped.</summary>
    public bool Resumes { get; init; }

    /// <summary>Whether a training that is in the folder gives way to this one, once this one has a checkpoint.</summary>
    public bool Replaces { get; init; }

    /// <summary>Is called when the folder is open and training is about to begin.</summary>
    public Action? Started { get; init; }

    /// <summary>How many checkpoints are kept beside the best one.</summary>
    public int Keep { get; init; } = 3;

    /// <summary>What happens when the loss or a gradient is not finite.</summary>
    public NonFinite OnNonFinite { get; init; }

    /// <summary>The decay of the average of the weights; 0 for none.</summary>
    public double Average { get; init; }

    /// <summary>Whether the held-out loss is that of the average.</summary>
    public bool EvaluatesAverage { get; init; }

    /// <summary>What the model continues whenever the held-out loss is measured; null for the beginning of the held-out text.</summary>
    public string? Prompt { get; init; }

    /// <summary>Whether to say beforehand how long it will take.</summary>
    public bool EstimatesTime { get; init; }

    private TokenBatches Batches => new(Data.Sources, Data.Weights, Batch, Length, Seed) { Segments = Segments, JoinsDocuments = JoinsDocuments };

    /// <summary>Trains, and measures the held-out loss at the end.</summary>
    public Evaluation Run(TextWriter output, CancellationToken cancellation)
    {
        TokenBatches batches = Batches;
        var loader = new BatchLoader(number => batches[number]);
        using var folder = new RunFolder(Folder);
        using var trainer = new Trainer(Model, number => loader[number], Length, Schedule, Optimizer, Accumulation) { OnNonFinite = OnNonFinite, InitialStates = InitialStates, Through = Through };
        trainer.Optimizer.MeasureEvery = MeasureEvery;
        WriteGroups(trainer.Optimizer, output);
        WeightAverage? average = Average > 0 ? new WeightAverage(Model, Average) : null;
        var run = new TrainingRun
        {
            Trainer = trainer,
            Folder = folder,
            Data = batches.Fingerprint,
            Spikes = Spike is { } factor ? new SpikeDetector(factor) : null,
            Tokenizer = Tokenizer,
            SaveEvery = SaveEvery,
            Keep = Keep,
            Replaces = Replaces,
            EvaluateEvery = EvaluateEvery,
            Evaluate = token =>
            {
                using IDisposable? exchanged = EvaluatesAverage ? average?.Exchange() : null;
                // No more rows than a step has, so that a step is what takes the most memory.
                return Evaluator.Evaluate(Model, Data.HeldOut, Length, rows: Math.Min(Batch, 8), cancellation: token);
            },
        };
        if (average is not null)
        {
            run.Observers.Add(average);
            run.Parts.Add(average);
        }
        using var log = new RunLog { Sample = () => Write(cancellation) };
        run.Observers.Add(log);
        var display = new TrainingDisplay(output, Schedule.Steps);
        run.Observers.Add(display);
        if (Resumes && !run.Resume())
            throw new InvalidOperationException($"{Folder} has no checkpoint to resume from.");
        Started?.Invoke();
        if (EstimatesTime)
            WriteTime(batches[0], Schedule.Steps - run.StepsDone, output);
        try
        {
            display.Show(() => run.Run(cancellation));
        }
        finally
        {
            RunReport.TryWrite(Folder);
        }
        return run.HeldOut ?? Evaluator.Evaluate(Model, Data.HeldOut, Length, rows: Math.Min(Batch, 8), cancellation: cancellation);
    }

    /// <summary>Looks for a learning rate; writes the curve, and says what is suggested.</summary>
    public void FindRate(TextWriter output, CancellationToken cancellation)
    {
        const int Steps = 100;
        const double Largest = 10;
        TokenBatches batches = Batches;
        var finder = new LearningRateFinder();
        using var trainer = new Trainer(Model, step => batches[step], Length, new LearningRateSchedule(Largest, Steps, 0, LearningRateDecay.Range), Optimizer, Accumulation);
        finder.Run(trainer, Steps, cancellation);
        string page = RunReport.WriteRates(Folder, finder);
        output.WriteLine(finder.Suggestion is { } rate
            ? $"suggested: --lr {rate:0.0e+0} (a tenth of the rate at which the loss was least)"
            : "no rate made the loss smaller: is the model trained already, or is something wrong with the data?");
        output.WriteLine($"curve: {page}");
    }

    /// <summary>A sample of what the model writes, always with the same random numbers.</summary>
    private (string Prompt, string Text) Write(CancellationToken cancellation)
    {
        string prompt = Prompt ?? System.Text.Encoding.UTF8.GetString(Tokenizer.Decode(Data.HeldOut.AsSpan(0, Math.Min(PromptTokens, Data.HeldOut.Length))));
        var sampler = new Sampler { Temperature = 0.8, Seed = Seed };
        return (prompt, ShownText.After(prompt, Tokenizer, tokens => new Generator(Model, sampler).Continue(tokens, SampleLength, cancellation)));
    }

    /// <summary>Computes the gradient of one batch a few times, of which the fastest counts, and says how long the training will take; where that is worth the time.</summary>
    private void WriteTime(TokenBatch batch, long steps, TextWriter output)
    {
        const int LeastSteps = 200;
        const double LeastSeconds = 1;
        if (steps < LeastSteps)
            return;
        // The first times include what the runtime compiles.
        TimeSpan one = TimeSpan.MaxValue;
        long first = Stopwatch.GetTimestamp();
        for (int i = 0; i < 2 || Stopwatch.GetElapsedTime(first).TotalSeconds < LeastSeconds; i++)
        {
            long start = Stopwatch.GetTimestamp();
            using var scope = new Scope();
            Trainer.Loss(Model, batch, Length).Backward();
            Model.Backend.Finish();
            one = Stopwatch.GetElapsedTime(start) is var time && time < one ? time : one;
        }
        Model.Backend.Trim();
        TimeSpan all = one * Accumulation * steps;
        string text = all.TotalDays >= 2 ? $"{all.TotalDays:0.0} days" : all.TotalHours >= 2 ? $"{all.TotalHours:0.0} h" : all.TotalMinutes >= 2 ? $"{all.TotalMinutes:0} min" : $"{all.TotalSeconds:0} s";
        output.WriteLine($"time: about {text} for {steps:#,0} steps");
    }

    private static void WriteGroups(AdamWOptimizer optimizer, TextWriter output)
    {
        foreach (OptimizerGroup group in optimizer.Groups)
        {
            // The same tensor of every layer is named once.
            IEnumerable<string> kinds = group.Paths.Select(path => System.Text.RegularExpressions.Regex.Replace(path, @"^backbone\.(layers\.\d+\.)?", "")).Distinct();
            string how = group.RateFactor == 0 ? "frozen" : group.WeightDecay > 0 ? $"weight decay {group.WeightDecay:0.###}" : "no decay";
            if (group.RateFactor is not (0 or 1))
                how += $", rate × {group.RateFactor:0.###}";
            output.WriteLine($"{how,-16}  {group.Count,12:#,0} parameters: {string.Join(", ", kinds)}");
        }
    }
}
