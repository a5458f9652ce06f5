using System.Diagnostics;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Training;

/// <summary>A training from its first step, or from where it was stopped, to its last: with checkpoints on the way, measurements of held-out loss, and observers that are told of everything.</summary>
public sealed class TrainingRun : ITrainingPart
{
    private readonly List<ITrainingObserver> observers = [];
    private readonly List<ITrainingPart> parts = [];
    private const int MostReturns = 3;

    private readonly HashSet<long> saved = [];
    private readonly List<long> returns = [];
    private long lastSave = Stopwatch.GetTimestamp(), savedStep = -1, bestStep = -1;
    private double bestLoss = double.PositiveInfinity;

    /// <summary>What makes the steps.</summary>
    public required Trainer Trainer { get; init; }

    /// <summary>Where checkpoints go.</summary>
    public required RunFolder Folder { get; init; }

    /// <summary>What tells the data apart from any other; a checkpoint that was made with other data is not gone on from. Null where nobody compares.</summary>
    public string? Data { get; init; }

    /// <summary>Finds losses after which the run goes back to the last checkpoint and leaves out the batches since; null for none.</summary>
    public SpikeDetector? Spikes { get; init; }

    /// <summary>What makes tokens of text; saved beside the model unless it is that of bytes.</summary>
    public Tokenizer? Tokenizer { get; init; }

    /// <summary>When checkpoints are saved; one is always saved at the end.</summary>
    public SaveInterval SaveEvery { get; init; }

    /// <summary>How many checkpoints are kept beside the one with the smallest held-out loss.</summary>
    public int Keep { get; init; } = 3;

    /// <summary>Whether checkpoints of another training in the folder are deleted, once this one has its first.</summary>
    public bool Replaces { get; init; }

    /// <summary>Measures the held-out loss; null for never.</summary>
    public Func<CancellationToken, Evaluation>? Evaluate { get; init; }

    /// <summary>After how many steps the held-out loss is measured; 0 for at the end only.</summary>
    public long EvaluateEvery { get; init; }

    /// <summary>Who is told what happens.</summary>
    public IList<ITrainingObserver> Observers => observers;

    /// <summary>What is saved beside the trainer's own parts: an average of the weights, for example.</summary>
    public IList<ITrainingPart> Parts => parts;

    /// <summary>How many steps have been made.</summary>
    public long StepsDone => Trainer.StepsDone;

    /// <summary>How many steps the run has.</summary>
    public long Steps => Trainer.Schedule.Steps;

    /// <summary>The held-out loss after the last step; null before.</summary>
    public Evaluation? HeldOut { get; private set; }

    /// <summary>The checkpoint with the smallest held-out loss; null where none was measured.</summary>
    public (long Step, double Loss)? Best => bestStep < 0 ? null : (bestStep, bestLoss);

    private IEnumerable<ITrainingPart> AllParts => [this, .. Trainer.Parts, .. Spikes is null ? (ITrainingPart[])[] : [Spikes], .. parts];

    /// <inheritdoc/>
    string ITrainingPart.Name => "run";

    /// <summary>Goes back to the newest checkpoint that is whole.</summary>
    /// <returns>Whether there is one.</returns>
    /// <exception cref="CheckpointException">There are checkpoints, but none that this training can go on from; the message is about the newest.</exception>
    public bool Resume()
    {
        CheckpointException? first = null;
        foreach ((long step, string folder) in RunFolder.CheckpointsIn(Folder.Path))
        {
            try
            {
                Checkpoint.LoadInto(Trainer.Model, folder);
                using var state = new StateReader(folder);
                state.Restore(AllParts);
                savedStep = step;
                return true;
            }
            catch (CheckpointException fault)
            {
                first ??= fault;
                Tell(observer => observer.Noticed(step, $"{fault.Message}; trying the checkpoint before"));
            }
        }
        return first is null ? false : throw first;
    }

    /// <summary>Trains until all steps are made.</summary>
    /// <exception cref="OperationCanceledException">It was cancelled; what was done is saved.</exception>
    /// <exception cref="NumericalException">The loss or a gradient was not finite; the state before that step is saved.</exception>
    /// <exception cref="CheckpointException">The last checkpoint cannot be written.</exception>
    public void Run(CancellationToken cancellation)
    {
        lastSave = Stopwatch.GetTimestamp();
        Tell(observer => observer.Begun(this));
        try
        {
            while (StepsDone < Steps)
            {
                cancellation.ThrowIfCancellationRequested();
                StepReport report = Trainer.Step();
                Tell(observer => observer.Stepped(report));
                if (report.Skipped is null && Spikes?.IsSpike(report.Loss) == true && GoBack(report))
                    continue;
                if (StepsDone < Steps)
                    AfterStep(cancellation);
            }
            Measure(cancellation);
            Save();
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            if (StepsDone == 0)
                throw new OperationCanceledException("stopped before the first step; nothing was saved");
            Save();
            throw new OperationCanceledException($"stopped after {StepsDone} of {Steps} steps; saved in {Folder.Path}");
        }
        catch (NumericalException) when (StepsDone > 0)
        {
            Save();
            throw;
        }
        finally
        {
            Tell(observer => observer.Ended(this));
        }
    }

    /// <inheritdoc/>
    void ITrainingPart.Save(StateWriter state)
    {
        state.Values["data"] = Data;
        state.Values["best_step"] = bestStep;
        state.Values["best_loss"] = bestStep < 0 ? null : bestLoss;
    }

    /// <inheritdoc/>
    void ITrainingPart.Restore(StateReader state)
    {
        if (Data is not null && state.Value<string>("data") != Data)
            throw new CheckpointException($"{Folder.Path}: was trained on other data, or read them in another way (--batch, --length, --seed, --segments, --weights); it cannot go on exactly with these");
        bestStep = state.Value<long>("best_step");
        bestLoss = bestStep < 0 ? double.PositiveInfinity : state.Value<double>("best_loss");
    }

    /// <summary>Goes back to the last checkpoint, and past the batches since. Says whether there is one.</summary>
    private bool GoBack(StepReport report)
    {
        if (savedStep < 0)
        {
            Tell(observer => observer.Noticed(report.Step, $"the loss of {report.Loss:0.000} is a spike, but there is no checkpoint to go back to"));
            return false;
        }
        long passed = Trainer.BatchesPassed;
        Resume();
        if (returns.Count > 0 && returns[^1] == StepsDone && returns.Count(step => step == StepsDone) >= MostReturns)
            throw new NumericalException($"The loss of step {report.Step} is a spike, {report.Loss:0.000}, and so it was the last {MostReturns} times after step {StepsDone}, with other batches each time.");
        returns.Add(StepsDone);
        // The batches that led to the spike are left out, all of them.
        Trainer.SkipBatches(passed - Trainer.BatchesPassed);
        Tell(observer => observer.Returned(StepsDone));
        Tell(observer => observer.Noticed(StepsDone, $"the loss of step {report.Step} was a spike, {report.Loss:0.000}; back to the checkpoint of step {StepsDone}, and past the batches since"));
        return true;
    }

    private void AfterStep(CancellationToken cancellation)
    {
        bool isBest = EvaluateEvery > 0 && StepsDone % EvaluateEvery == 0 && Measure(cancellation);
        if (!SaveEvery.IsDue(StepsDone, Stopwatch.GetElapsedTime(lastSave)) && !(isBest && !SaveEvery.IsNever))
            return;
        try
        {
            Save();
        }
        catch (CheckpointException fault)
        {
            // There may be room again by the time of the next one; the checkpoints before are whole.
            Tell(observer => observer.Noticed(StepsDone, fault.Message));
            lastSave = Stopwatch.GetTimestamp();
        }
    }

    /// <summary>Measures the held-out loss, and says whether it is the smallest yet.</summary>
    private bool Measure(CancellationToken cancellation)
    {
        if (Evaluate is null)
            return false;
        // Beside the memory of a step it would need some of its own: a step is what takes the most.
        Trainer.Rest();
        Evaluation measured = Evaluate(cancellation);
        HeldOut = measured;
        Tell(observer => observer.Evaluated(StepsDone, measured));
        Trainer.Rest();
        if (!(measured.Loss < bestLoss))
            return false;
        (bestStep, bestLoss) = (StepsDone, measured.Loss);
        return true;
    }

    private void Save()
    {
        if (StepsDone == savedStep)
            return;
        string folder = Folder.Save(StepsDone, partial =>
        {
            Checkpoint.Write(Trainer.Model, partial, SafetensorsWriter.DefaultShardBytes, Tokenizer);
            StateWriter.Write(partial, StepsDone, AllParts);
        });
        (lastSave, savedStep) = (Stopwatch.GetTimestamp(), StepsDone);
        saved.Add(StepsDone);
        if (Replaces)
            Folder.KeepOnly(saved);
        Folder.Prune(Keep, bestStep);
        Tell(observer => observer.Saved(StepsDone, folder));
    }

    private void Tell(Action<ITrainingObserver> what)
    {
        foreach (ITrainingObserver observer in observers)
            what(observer);
    }
}
