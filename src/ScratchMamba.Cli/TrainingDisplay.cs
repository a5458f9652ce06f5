using System.Diagnostics;
using ScratchMamba.Training;
using Spectre.Console;

namespace ScratchMamba.Cli;

/// <summary>Shows how training goes: a few lines that are redrawn on a terminal, a line now and then elsewhere.</summary>
internal sealed class TrainingDisplay(TextWriter output, long steps) : ITrainingObserver
{
    private const double RedrawSeconds = 0.1, Smoothing = 0.9;
    private const int CurveWidth = 32, MostLosses = 512;

    private readonly List<double> losses = [];
    private long start = Stopwatch.GetTimestamp(), drawn, firstStep, tokens, stride = 1;
    private double waited, smoothLoss = double.NaN;
    private string heldOut = "", saved = "";
    private LiveDisplayContext? live;
    private TrainingRun? run;

    /// <summary>Runs a training that this display observes.</summary>
    public void Show(Action train)
    {
        // Lines can be redrawn on a terminal only.
        if (!ReferenceEquals(output, Console.Out) || Console.IsOutputRedirected || !AnsiConsole.Profile.Capabilities.Ansi)
        {
            train();
            return;
        }
        AnsiConsole.Live(new Text("")).Start(context =>
        {
            live = context;
            train();
        });
        live = null;
    }

    /// <inheritdoc/>
    public void Begun(TrainingRun run)
    {
        this.run = run;
        (start, firstStep) = (Stopwatch.GetTimestamp(), run.StepsDone);
        if (run.StepsDone > 0)
            Line($"going on after step {run.StepsDone} of {steps}");
    }

    /// <inheritdoc/>
    public void Stepped(StepReport report)
    {
        if (report.Skipped is { } why)
        {
            Line($"step {report.Step,6}/{steps}  skipped: {why}");
            return;
        }
        smoothLoss = double.IsNaN(smoothLoss) ? report.Loss : Smoothing * smoothLoss + (1 - Smoothing) * report.Loss;
        tokens += report.Tokens;
        waited += report.Waited;
        if (report.Step % stride == 0)
            losses.Add(smoothLoss);
        if (losses.Count == MostLosses)
        {
            stride *= 2;
            for (int i = 0; i < MostLosses / 2; i++)
                losses[i] = losses[2 * i + 1];
            losses.RemoveRange(MostLosses / 2, MostLosses / 2);
        }
        if (live is not null)
            Draw(report);
        else if (report.Step == firstStep + 1 || report.Step == steps || report.Step * 20 / steps != (report.Step - 1) * 20 / steps)
            output.WriteLine($"step {report.Step,6}/{steps}  loss {report.Loss:0.0000}  gradient norm {report.GradientNorm:0.000}  lr {report.LearningRate:0.00e+0}  {Speed,8:#,0} tokens/s");
    }

    /// <inheritdoc/>
    public void Evaluated(long step, Evaluation measured)
    {
        heldOut = $"held out {measured.Loss:0.0000} at step {step:#,0}";
        if (step < steps && live is null)
            Line($"step {step,6}/{steps}  held-out loss {measured.Loss:0.0000}");
    }

    /// <inheritdoc/>
    public void Saved(long step, string folder) => saved = $"saved at step {step:#,0}";

    /// <inheritdoc/>
    public void Noticed(long step, string what) => Line($"step {step,6}/{steps}  {what}");

    private double Seconds => Math.Max(1e-9, Stopwatch.GetElapsedTime(start).TotalSeconds);

    private double Speed => tokens / Seconds;

    /// <summary>A curve of as many columns at most, in eight heights from the smallest value to the largest.</summary>
    internal static string Curve(IReadOnlyList<double> values, int columns)
    {
        const string Heights = "▁▂▃▄▅▆▇█";
        int count = Math.Min(columns, values.Count);
        if (count == 0)
            return "";
        double[] means = [.. Enumerable.Range(0, count).Select(i => values.Skip(i * values.Count / count).Take((i + 1) * values.Count / count - i * values.Count / count).Average())];
        double low = means.Min(), range = means.Max() - low;
        return string.Concat(means.Select(value => Heights[range > 0 ? (int)Math.Min(7, 8 * (value - low) / range) : 0]));
    }

    private void Draw(StepReport report)
    {
        if (drawn != 0 && Stopwatch.GetElapsedTime(drawn).TotalSeconds < RedrawSeconds && report.Step < steps)
            return;
        drawn = Stopwatch.GetTimestamp();
        int width = Math.Max(1, AnsiConsole.Profile.Width - 1), filled = (int)(CurveWidth * report.Step / steps);
        TimeSpan left = TimeSpan.FromSeconds(Math.Min((steps - report.Step) * Seconds / Math.Max(1, report.Step - firstStep), 1e9));
        string time = left.TotalDays < 1 ? $"{(int)left.TotalHours}:{left:mm\\:ss} left" : $"{left.TotalDays:0.0} days left";
        string[] lines =
        [
            $"step {report.Step:#,0}/{steps:#,0}  {100.0 * report.Step / steps,3:0} %  {new string('━', filled)}{new string('╌', CurveWidth - filled)}  {time}",
            $"loss {smoothLoss:0.0000}  {Curve(losses, CurveWidth)}  {heldOut}",
            $"lr {report.LearningRate:0.00e+0}  gradient norm {report.GradientNorm:0.000}  {Speed:#,0} tokens/s  waiting {100 * waited / Seconds:0.0} %  {Memory.Size(run!.Trainer.Model.Backend.PeakBytes)}  {saved}",
        ];
        live!.UpdateTarget(new Rows(lines.Select(line => new Text(line.Length > width ? line[..width] : line))));
        live.Refresh();
    }

    /// <summary>Writes a line above what is redrawn.</summary>
    private void Line(string text)
    {
        if (live is null)
            output.WriteLine(text);
        else
            AnsiConsole.WriteLine(text);
    }
}
