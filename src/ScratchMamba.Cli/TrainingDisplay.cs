using System.Diagnostics;
using ScratchMamba.Training;
using Spectre.Console;

namespace ScratchMamba.Cli;

/// <summary>Shows how training goes: a live bar on a terminal, a line now and then elsewhere.</summary>
internal sealed class TrainingDisplay(TextWriter output, long steps) : ITrainingObserver
{
    private long start = Stopwatch.GetTimestamp(), tokens;
    private long firstStep;
    private ProgressTask? bar;
    private double smoothLoss = double.NaN;

    /// <summary>Runs a training that this display observes.</summary>
    public void Show(Action train)
    {
        // Lines can be redrawn on a terminal only.
        if (!ReferenceEquals(output, Console.Out) || Console.IsOutputRedirected || !AnsiConsole.Profile.Capabilities.Ansi)
        {
            train();
            return;
        }
        // What the numbers leave of the line is the bar's.
        int room = Math.Clamp(AnsiConsole.Profile.Width - Status(0, 0, TimeSpan.Zero).Length - 8, 0, 40);
        ProgressColumn[] numbers = [new TaskDescriptionColumn { Alignment = Justify.Left }];
        AnsiConsole.Progress()
            .Columns(room < 8 ? numbers : [.. numbers, new ProgressBarColumn { Width = room }, new PercentageColumn()])
            .Start(context =>
            {
                bar = context.AddTask(Status(0, double.NaN, TimeSpan.Zero), maxValue: steps);
                train();
            });
        bar = null;
    }

    /// <inheritdoc/>
    public void Begun(TrainingRun run)
    {
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
        smoothLoss = double.IsNaN(smoothLoss) ? report.Loss : 0.9 * smoothLoss + 0.1 * report.Loss;
        tokens += report.Tokens;
        double seconds = Math.Max(1e-9, Stopwatch.GetElapsedTime(start).TotalSeconds), speed = tokens / seconds;
        if (bar is not null)
        {
            bar.Description = Status(report.Step, speed, TimeSpan.FromSeconds((steps - report.Step) * seconds / Math.Max(1, report.Step - firstStep)));
            bar.Value = report.Step;
        }
        else if (report.Step == firstStep + 1 || report.Step == steps || report.Step * 20 / steps != (report.Step - 1) * 20 / steps)
        {
            output.WriteLine(
                $"step {report.Step,6}/{steps}  loss {report.Loss:0.0000}  gradient norm {report.GradientNorm:0.000}  lr {report.LearningRate:0.00e+0}  {speed,8:#,0} tokens/s");
        }
    }

    /// <inheritdoc/>
    public void Evaluated(long step, Evaluation heldOut)
    {
        if (step < steps)
            Line($"step {step,6}/{steps}  held-out loss {heldOut.Loss:0.0000}");
    }

    /// <inheritdoc/>
    public void Returned(long step)
    {
        if (bar is not null)
            bar.Value = step;
    }

    /// <inheritdoc/>
    public void Noticed(long step, string what) => Line($"step {step,6}/{steps}  {what}");

    /// <summary>Writes a line above the bar.</summary>
    private void Line(string text)
    {
        if (bar is null)
            output.WriteLine(text);
        else
            AnsiConsole.WriteLine(text);
    }

    /// <summary>A line of numbers that is never longer than the terminal is wide, whatever has to be left out.</summary>
    private string Status(long step, double speed, TimeSpan left)
    {
        string done = $"step {step.ToString().PadLeft(steps.ToString().Length)}/{steps}", loss = $"loss {(double.IsNaN(smoothLoss) ? "-    " : smoothLoss.ToString("0.000"))}";
        string time = left.TotalDays < 1 ? $"{(int)left.TotalHours}:{left:mm\\:ss} left" : $"{left.TotalDays:0.0} days left";
        string[] parts = [done, loss, time, $"{speed,7:#,0} tokens/s"];
        for (int count = parts.Length; count > 0; count--)
        {
            string line = string.Join("  ", parts[..count]);
            if (line.Length < AnsiConsole.Profile.Width)
                return line;
        }
        return "";
    }
}
