using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Studies.Laboratory;

/// <summary>What a job may use while it runs.</summary>
/// <param name="Backend">Where it computes; no other job uses it meanwhile.</param>
/// <param name="Store">Where results are kept.</param>
/// <param name="Report">Takes note of the share of the job that is done, with a few words.</param>
/// <param name="Cancellation">Ends it.</param>
public sealed record JobContext(Backend Backend, Store Store, Action<double, string> Report, CancellationToken Cancellation)
{
    /// <summary>How many tokens a measurement reads at once, all its prompts together: what fits a processor's cache; a graphics card is filled, with 256 MB of logits.</summary>
    public int TokensAtOnce(Mamba2Model model) => Backend is CpuBackend ? 8192 : Math.Max(8192, (1 << 26) / model.Config.VocabularySize);
}

/// <summary>A piece of work whose result is kept, and that is not done again while it is there.</summary>
public abstract class Job
{
    /// <summary>What determines the result: jobs with the same settings are the same job.</summary>
    public abstract string Settings { get; }

    /// <summary>A few words, for who waits.</summary>
    public abstract string Title { get; }

    /// <summary>The work, in tokens trained on; reading a token costs about a third of that.</summary>
    public abstract double Cost { get; }

    /// <summary>What must be done before.</summary>
    public virtual IReadOnlyList<Job> Needs => [];

    /// <summary>Whether the result is there.</summary>
    public abstract bool IsDone(Store store);

    /// <summary>How long it took, in seconds, without what it needs.</summary>
    public abstract double Seconds(Store store);

    /// <summary>Whether another one had better be done together with this one, on a device that neither fills alone.</summary>
    public virtual bool CanJoin(Job other) => false;

    /// <summary>What share of the most work that is done together this is.</summary>
    public virtual double Share => 1;

    /// <summary>Does the work and keeps its result, and that of others that can join it.</summary>
    public abstract void Run(JobContext context, IReadOnlyList<Job> joined);
}

/// <summary>Trains a model.</summary>
/// <param name="plan">What determines it.</param>
public sealed class TrainingJob(TrainingPlan plan) : Job
{
    /// <summary>What determines the model.</summary>
    public TrainingPlan Plan => plan;

    /// <inheritdoc/>
    public override string Settings => plan.Settings;

    /// <inheritdoc/>
    public override string Title => $"train T = {plan.Length}, N = {plan.Config.StateSize}, seed {plan.Seed}{(plan.Method == TrainingMethod.Plain ? "" : $", {plan.Method}")}";

    /// <inheritdoc/>
    public override double Cost => plan.Tokens;

    /// <inheritdoc/>
    public override IReadOnlyList<Job> Needs => plan.Start is null ? [] : [new TrainingJob(plan.Start)];

    /// <inheritdoc/>
    public override bool IsDone(Store store) => File.Exists(store.NoteOf(plan));

    /// <inheritdoc/>
    public override double Seconds(Store store) => store.Seconds(plan);

    /// <inheritdoc/>
    public override bool CanJoin(Job other) => other is TrainingJob training && training.Plan.Steps == plan.Steps && IsCaptured && training.IsCaptured;

    /// <inheritdoc/>
    public override double Share => (double)plan.Rows * plan.Length * plan.Config.Width * plan.Config.Layers / MostNumbers;

    // In the residual streams: 80 GB, and a submission of less than a second on an H200, where six models of 2 × 64 on 1M tokens each learn from 16.2 million tokens a second, and one from 6.
    private const long MostNumbers = 1 << 30;

    // Where states are passed or heads penalised, steps are not captured.
    private bool IsCaptured => plan.Method == TrainingMethod.Plain;

    /// <inheritdoc/>
    public override void Run(JobContext context, IReadOnlyList<Job> joined)
    {
        try
        {
            RunTogether(context, joined);
        }
        catch (InsufficientMemoryException) when (joined.Count > 0)
        {
            foreach (Job job in joined.Prepend(this))
                job.Run(context, []);
        }
    }

    private void RunTogether(JobContext context, IReadOnlyList<Job> joined)
    {
        using var scope = new Scope();
        long start = Stopwatch.GetTimestamp();
        context.Backend.ResetPeak();
        Training[] trainings = [.. joined.Prepend(this).Select(job => new Training(((TrainingJob)job).Plan, context))];
        try
        {
            using var ensemble = new Ensemble([.. trainings.Select(training => training.Trainer)]);
            for (int step = 1; step <= plan.Steps; step++)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                StepReport[] reports = trainings.Length == 1 ? [trainings[0].Trainer.Step()] : ensemble.Step();
                for (int i = 0; i < reports.Length; i++)
                    trainings[i].Note(reports[i], context.Store);
                double speed = step * trainings.Sum(training => (double)training.Plan.Tokens / plan.Steps) / Stopwatch.GetElapsedTime(start).TotalSeconds;
                context.Report(step / (double)plan.Steps, $"{(joined.Count > 0 ? $"{1 + joined.Count} models, " : "")}step {step}/{plan.Steps}, loss {reports[0].Loss:0.000}, {speed:#,0} tokens/s");
            }
            foreach (Training training in trainings)
                training.Finish(context.Store, Stopwatch.GetElapsedTime(start).TotalSeconds / trainings.Length, context.Backend.PeakBytes);
        }
        finally
        {
            foreach (Training training in trainings)
                training.Dispose();
        }
    }
}

/// <summary>A model on its way through a plan.</summary>
file sealed class Training : IDisposable
{
    private readonly CarriedStates? carried;
    private readonly List<double> losses = [];

    public Training(TrainingPlan plan, JobContext context)
    {
        Plan = plan;
        Mamba2Model model = plan.Start is null ? new Mamba2Model(plan.Config, context.Backend, seed: plan.Seed) : Checkpoint.Load(context.Store.ModelFolder(plan.Start), context.Backend);
        model.Precision = plan.Precision;
        ulong seed = plan.DocumentSeed;
        // Truncated: rows that began in the empty state amid a document would be asked for what they never saw.
        carried = plan.Method switch
        {
            TrainingMethod.StatePassing => new CarriedStates(model, plan.EmptyShare, seed),
            TrainingMethod.Truncated => new CarriedStates(model),
            _ => null,
        };
        var batches = new BatchLoader(step => plan.Data.Batch(seed, step, plan.Rows, plan.Length, plan.Segments, plan.ScoredOnly));
        Trainer = new Trainer(model, step => batches[step], plan.Length, new LearningRateSchedule(plan.Rate, plan.Steps, plan.WarmUp, plan.Decay))
        {
            InitialStates = plan.Method == TrainingMethod.FittedNoise ? new FittedNoise(model, plan.EmptyShare, seed) : carried,
            Penalty = plan.Method == TrainingMethod.Penalty ? new ForgettingPenalty(plan.PenaltyWeight) : null,
        };
    }

    public TrainingPlan Plan { get; }

    public Trainer Trainer { get; }

    public void Note(StepReport report, Store store)
    {
        losses.Add(report.Loss);
        if (Plan.Checkpoints.Contains((int)report.Step) && report.Step < Plan.Steps)
            Checkpoint.Save(Trainer.Model, store.ModelFolder(Plan, (int)report.Step));
    }

    public void Finish(Store store, double seconds, long peak)
    {
        Checkpoint.Save(Trainer.Model, store.ModelFolder(Plan), tokenizer: (Plan.Data as TokenizedDocuments)?.Tokenizer as BpeTokenizer);
        WriteNote(store.NoteOf(Plan), seconds, peak);
    }

    public void Dispose()
    {
        Trainer.Dispose();
        carried?.Dispose();
    }

    private void WriteNote(string path, double seconds, long peak) => AtomicFile.Write(path, stream =>
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteString("settings", Plan.Settings);
        json.WriteNumber("seconds", Math.Round(seconds, 3));
        json.WriteNumber("tokens", Plan.Tokens);
        json.WriteNumber("tokens_per_second", Math.Round(Plan.Tokens / seconds));
        json.WriteNumber("peak_bytes", peak);
        json.WriteString("sha256", Store.HashOf(Path.GetDirectoryName(path)!));
        json.WriteStartArray("loss");
        foreach (double loss in losses)
            json.WriteNumberValue(Math.Round(loss, 4));
        json.WriteEndArray();
        json.WriteEndObject();
    });
}

/// <summary>A model that is there or will have been trained.</summary>
/// <param name="Job">What trains it; null for one that is there.</param>
/// <param name="Step">The step after which it is looked at; null for the end.</param>
/// <param name="Path">The folder of one that is there.</param>
public sealed record ModelSource(TrainingJob? Job, int? Step = null, string? Path = null)
{
    /// <summary>What determines it.</summary>
    public string Settings => Candidates.Count > 0 ? $"of these the one that answers most: {string.Join("; ", Candidates.Select(candidate => candidate.Asked.Settings))}"
        : Job is null ? $"{Path}, written {Written:o}" : Step is { } step ? $"{Job.Settings}; after step {step}" : Job.Settings;

    /// <summary>Models among which it is chosen by what they answer, the last of the best; none where it is what it is.</summary>
    public IReadOnlyList<(ModelSource Model, MeasurementJob<PasskeyTable> Asked)> Candidates { get; init; } = [];

    /// <summary>What must be done before it is there.</summary>
    public IReadOnlyList<Job> Needs => Candidates.Count > 0 ? [.. Candidates.Select(candidate => candidate.Asked)] : Job is null ? [] : [Job];

    /// <summary>The one that was chosen, or itself.</summary>
    public ModelSource Chosen(Store store) => Candidates.Count > 0 ? Candidates.Reverse().MaxBy(candidate => candidate.Asked.Result(store).Answers.Count(answer => answer.Right)).Model : this;

    /// <summary>Its folder.</summary>
    public string Folder(Store store) => Candidates.Count > 0 ? Chosen(store).Folder(store) : Job is null ? Path! : Step is { } step && step != Job.Plan.Steps ? store.ModelFolder(Job.Plan, step) : store.ModelFolder(Job.Plan);

    // A model that was trained again in the same folder is another one.
    private DateTime Written => Directory.EnumerateFiles(Path!).Select(File.GetLastWriteTimeUtc).DefaultIfEmpty().Max();
}

/// <summary>Measures a model.</summary>
/// <typeparam name="T">The result.</typeparam>
/// <param name="model">The model.</param>
/// <param name="settings">What determines the result, beside the model.</param>
/// <param name="title">A few words, for who waits.</param>
/// <param name="cost">The work, in tokens trained on.</param>
/// <param name="type">How the result is written.</param>
/// <param name="measure">The measurement.</param>
public sealed class MeasurementJob<T>(ModelSource model, string settings, string title, double cost, JsonTypeInfo<T> type, Func<Mamba2Model, JobContext, T> measure) : Job
{
    /// <inheritdoc/>
    public override string Settings => $"{settings} of [{model.Settings}]";

    /// <inheritdoc/>
    public override string Title => title;

    /// <inheritdoc/>
    public override double Cost => cost;

    /// <inheritdoc/>
    public override IReadOnlyList<Job> Needs => model.Needs;

    /// <inheritdoc/>
    public override bool IsDone(Store store) => File.Exists(store.ResultFile(Settings));

    /// <summary>The result.</summary>
    public T Result(Store store) => store.Read(Settings, type);

    /// <inheritdoc/>
    public override double Seconds(Store store) => store.Seconds(Settings);

    /// <inheritdoc/>
    public override void Run(JobContext context, IReadOnlyList<Job> joined)
    {
        using var scope = new Scope();
        long start = Stopwatch.GetTimestamp();
        T value = measure(Checkpoint.Load(model.Folder(context.Store), context.Backend), context);
        context.Store.Write(Settings, value, Stopwatch.GetElapsedTime(start).TotalSeconds, type);
    }
}
