using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Cli;

/// <summary>What a training on text needs, as the commands train and quickstart run it.</summary>
internal sealed record TextTraining
{
    // Enough held-out text for a loss to three digits, and little enough to be read in seconds.
    private const int HeldOutLimit = 64 * 1024;

    public required Mamba2Model Model { get; init; }

    public required TextCorpus Corpus { get; init; }

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

    /// <summary>The bytes of text that the held-out loss is measured on.</summary>
    public int HeldOutBytes => Math.Min(HeldOutLimit, Corpus.HeldOut.Length);

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

    /// <summary>Trains, and measures the held-out loss at the end.</summary>
    public Evaluation Run(TextWriter output, CancellationToken cancellation)
    {
        int[] training = Tokenizer.Encode(Corpus.Training), heldOut = Tokenizer.Encode(Corpus.HeldOut.AsSpan(0, HeldOutBytes));
        if (heldOut.Length < 2)
            throw new InvalidDataException($"The data is too short: {Corpus.Training.Length + Corpus.HeldOut.Length} bytes leave nothing to hold out for evaluation.");
        var batches = new TokenBatches(training, Batch, Length, Seed);
        using var folder = new RunFolder(Folder);
        var trainer = new Trainer(Model, step => batches[step], Length, Schedule, Optimizer, Accumulation) { OnNonFinite = OnNonFinite };
        WriteGroups(trainer.Optimizer, output);
        var run = new TrainingRun
        {
            Trainer = trainer,
            Folder = folder,
            Tokenizer = Tokenizer,
            SaveEvery = SaveEvery,
            Keep = Keep,
            Replaces = Replaces,
            EvaluateEvery = EvaluateEvery,
            Evaluate = token => Evaluator.Evaluate(Model, heldOut, Length, cancellation: token),
        };
        var display = new TrainingDisplay(output, Schedule.Steps);
        run.Observers.Add(display);
        if (Resumes && !run.Resume())
            throw new InvalidOperationException($"{Folder} has no checkpoint to resume from.");
        Started?.Invoke();
        display.Show(() => run.Run(cancellation));
        return run.HeldOut!.Value;
    }

    private static void WriteGroups(AdamWOptimizer optimizer, TextWriter output)
    {
        foreach (OptimizerGroup group in optimizer.Groups)
        {
            // The same tensor of every layer is named once.
            IEnumerable<string> kinds = group.Paths.Select(path => System.Text.RegularExpressions.Regex.Replace(path, @"^backbone\.(layers\.\d+\.)?", "")).Distinct();
            string how = group.RateFactor == 0 ? "frozen" : group.WeightDecay > 0 ? $"decay {group.WeightDecay:0.###}" : "no decay";
            if (group.RateFactor is not (0 or 1))
                how += $", rate × {group.RateFactor:0.###}";
            output.WriteLine($"{how,-12}  {group.Count,12:#,0} parameters: {string.Join(", ", kinds)}");
        }
    }
}
