using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Cli;

/// <summary>One training on text, as the commands train and quickstart run it: held-out loss and checkpoints included.</summary>
internal sealed record TrainingRun
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

    /// <summary>Every how many steps a checkpoint is saved; 0 for at the end only.</summary>
    public int SaveEvery { get; init; }

    /// <summary>Every how many steps the held-out loss is measured; 0 for at the end only.</summary>
    public int EvaluateEvery { get; init; }

    /// <summary>The bytes of text that the held-out loss is measured on.</summary>
    public int HeldOutBytes => Math.Min(HeldOutLimit, Corpus.HeldOut.Length);

    /// <summary>Trains, saves, and measures the held-out loss at the end.</summary>
    public Evaluation Run(TextWriter output, CancellationToken cancellation)
    {
        int[] training = Tokenizer.Encode(Corpus.Training), heldOut = Tokenizer.Encode(Corpus.HeldOut.AsSpan(0, HeldOutBytes));
        if (heldOut.Length < 2)
            throw new InvalidDataException($"The data is too short: {Corpus.Training.Length + Corpus.HeldOut.Length} bytes leave nothing to hold out for evaluation.");
        var batches = new TokenBatches(training, Batch, Length, Seed);
        var trainer = new Trainer(Model, step => batches[step], Length, Schedule, Optimizer, Accumulation);
        WriteGroups(trainer.Optimizer, output);

        var display = new TrainingDisplay(output, Schedule.Steps, (long)Batch * Length * Accumulation);
        try
        {
            display.Run(shown =>
            {
                while (trainer.StepsDone < Schedule.Steps)
                {
                    cancellation.ThrowIfCancellationRequested();
                    shown.Report(trainer.Step());
                    long done = trainer.StepsDone;
                    if (done == Schedule.Steps)
                        break;
                    if (EvaluateEvery > 0 && done % EvaluateEvery == 0)
                        shown.Line($"step {done,6}/{Schedule.Steps}  held-out loss {Evaluator.Evaluate(Model, heldOut, Length, cancellation: cancellation).Loss:0.0000}");
                    if (SaveEvery > 0 && done % SaveEvery == 0)
                        Checkpoint.Save(Model, Folder, tokenizer: Tokenizer);
                }
            });
            Checkpoint.Save(Model, Folder, tokenizer: Tokenizer);
            return Evaluator.Evaluate(Model, heldOut, Length, cancellation: cancellation);
        }
        catch (OperationCanceledException)
        {
            if (trainer.StepsDone == 0)
                throw new OperationCanceledException("stopped before the first step; nothing was saved");
            Checkpoint.Save(Model, Folder, tokenizer: Tokenizer);
            throw new OperationCanceledException($"stopped after {trainer.StepsDone} of {Schedule.Steps} steps; saved in {Folder}");
        }
    }

    private static void WriteGroups(AdamWOptimizer optimizer, TextWriter output)
    {
        foreach ((bool decays, IReadOnlyList<string> paths, long count) in optimizer.Groups)
        {
            // The same tensor of every layer is named once.
            IEnumerable<string> kinds = paths.Select(path => System.Text.RegularExpressions.Regex.Replace(path, @"^backbone\.(layers\.\d+\.)?", "")).Distinct();
            output.WriteLine($"{(decays ? "weight decay" : "no decay    ")}  {count,12:#,0} parameters: {string.Join(", ", kinds)}");
        }
    }
}
