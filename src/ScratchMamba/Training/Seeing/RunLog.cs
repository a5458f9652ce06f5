using ScratchMamba.Modules;
using ScratchMamba.Tensors;

namespace ScratchMamba.Training.Seeing;

/// <summary>
/// Notes how a training goes, in its folder: <c>metrics.jsonl</c> (<see cref="MetricsFile"/>) and <c>tensorboard/</c> (<see cref="TensorBoardFile"/>) with the same numbers and texts,
/// and there, whenever the held-out loss is measured, how the values of every weight are spread.
/// </summary>
public sealed class RunLog : ITrainingObserver, IDisposable
{
    private readonly TimeProvider clock;
    private TrainingRun? run;
    private MetricsFile? metrics;
    private TensorBoardFile? board;
    private double seconds, tokens;

    /// <summary>A log of the run that it is made an observer of.</summary>
    public RunLog(TimeProvider? clock = null) => this.clock = clock ?? TimeProvider.System;

    /// <summary>Lets the model write, whenever the held-out loss is measured: what it was given, and what it went on with. Null for nothing.</summary>
    public Func<(string Prompt, string Text)>? Sample { get; init; }

    /// <inheritdoc/>
    public void Begun(TrainingRun run)
    {
        this.run = run;
        Open(run.StepsDone);
    }

    /// <inheritdoc/>
    public void Stepped(StepReport report)
    {
        seconds += report.Seconds;
        tokens += report.Tokens;
        AdamWOptimizer optimizer = run!.Trainer.Optimizer;
        var values = new Dictionary<string, double>
        {
            [MetricsFile.Loss] = report.Loss,
            [MetricsFile.LearningRate] = report.LearningRate,
            [MetricsFile.GradientNorm] = report.GradientNorm,
            [MetricsFile.UpdateNorm] = optimizer.UpdateNorm ?? double.NaN,
            [MetricsFile.ParameterNorm] = optimizer.ParameterNorm ?? double.NaN,
            [MetricsFile.NoiseScale] = report.NoiseScale ?? double.NaN,
            [MetricsFile.Speed] = report.Tokens / report.Seconds,
            [MetricsFile.Waiting] = report.Waited / report.Seconds,
            [MetricsFile.Memory] = run.Trainer.Model.Backend.PeakBytes,
            [MetricsFile.Resident] = Environment.WorkingSet,
            [MetricsFile.Tokens] = tokens,
            [MetricsFile.Seconds] = Math.Round(seconds, 3),
        };
        if (report.LossScale is { } scale)
            values[MetricsFile.LossScale] = scale;
        if (run.Trainer.Penalty is not null)
            values[MetricsFile.Penalty] = report.Penalty;
        foreach (string missing in values.Where(entry => !double.IsFinite(entry.Value)).Select(entry => entry.Key).ToArray())
            values.Remove(missing);
        Note(new MetricsRow(report.Step) { Values = values, Texts = report.Skipped is null ? new Dictionary<string, string>() : new() { [MetricsFile.Notice] = $"skipped: {report.Skipped}" } });
    }

    /// <inheritdoc/>
    public void Evaluated(long step, Evaluation heldOut)
    {
        Note(new MetricsRow(step) { Values = new Dictionary<string, double> { [MetricsFile.HeldOut] = heldOut.Loss, [MetricsFile.Seconds] = Math.Round(seconds, 3) } });
        if (Sample?.Invoke() is { } sample)
            Note(new MetricsRow(step) { Texts = new Dictionary<string, string> { [MetricsFile.Prompt] = sample.Prompt, [MetricsFile.Sample] = sample.Text } });
        foreach ((string path, Parameter parameter) in run!.Trainer.Model.Parameters())
        {
            if (!parameter.IsFrozen && parameter.Value.DType == DType.F32)
                Show(events => events.Histogram(clock.GetUtcNow(), step, $"weights/{path}", parameter.Value.ToArray<float>()));
        }
    }

    /// <inheritdoc/>
    public void Returned(long step) => Open(step);

    /// <inheritdoc/>
    public void Noticed(long step, string what)
    {
        // Before the run begins nobody knows yet which lines count.
        if (metrics is not null)
            Note(new MetricsRow(step) { Texts = new Dictionary<string, string> { [MetricsFile.Notice] = what } });
    }

    /// <inheritdoc/>
    public void Ended(TrainingRun run) => Dispose();

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        metrics?.Dispose();
        board?.Dispose();
        (metrics, board) = (null, null);
    }

    private void Open(long lastStep)
    {
        Dispose();
        metrics = new MetricsFile(run!.Folder.Path, lastStep);
        (seconds, tokens) = metrics.Last is { } last ? (Or0(last[MetricsFile.Seconds]), Or0(last[MetricsFile.Tokens])) : (0, 0);
        try
        {
            board = new TensorBoardFile(Path.Combine(run.Folder.Path, "tensorboard"), lastStep == 0 ? 0 : lastStep + 1, clock.GetUtcNow());
        }
        catch (Exception error) when (IsFull(error))
        {
        }

        static double Or0(double value) => double.IsFinite(value) ? value : 0;
    }

    private void Note(MetricsRow row)
    {
        // A disk that is full must not end the training; there may be room again later.
        try
        {
            metrics!.Write(row);
        }
        catch (Exception error) when (IsFull(error))
        {
        }
        Show(events =>
        {
            DateTimeOffset now = clock.GetUtcNow();
            if (row.Values.Count > 0)
                events.Scalars(now, row.Step, row.Values.Select(entry => ($"training/{entry.Key}", entry.Value)));
            foreach ((string name, string text) in row.Texts)
            {
                if (name != MetricsFile.Prompt)
                    events.Text(now, row.Step, $"training/{name}", name == MetricsFile.Sample ? $"    {row.Texts[MetricsFile.Prompt]}{text}".ReplaceLineEndings("\n    ") : text);
            }
        });
    }

    // The last is what the runtime makes of a file system's limit on the size of a file.
    private static bool IsFull(Exception error) => error is IOException or UnauthorizedAccessException or ArgumentOutOfRangeException;

    private void Show(Action<TensorBoardFile> what)
    {
        if (board is null)
            return;
        try
        {
            what(board);
        }
        catch (Exception error) when (IsFull(error))
        {
            // Behind a torn record nothing can be read.
            board.Dispose();
            board = null;
        }
    }
}
