using System.Diagnostics;
using ScratchMamba.Training;
using Spectre.Console;

namespace ScratchMamba.Cli;

/// <summary>Shows how training goes: a live bar on a terminal, a line now and then elsewhere.</summary>
internal sealed class TrainingDisplay(TextWriter output, long steps, long tokensPerStep)
{
    private readonly long start = Stopwatch.GetTimestamp();
    private ProgressTask? bar;
    private double smoothLoss = double.NaN;

    /// <summary>Whether lines can be redrawn: the output is a terminal.</summary>
    private static bool IsTerminal(TextWriter output) => ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected;

    /// <summary>Runs the training; <paramref name="train"/> reports each step to the display it is given.</summary>
    public void Run(Action<TrainingDisplay> train)
    {
        if (!IsTerminal(output))
        {
            train(this);
            return;
        }
        AnsiConsole.Progress()
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn())
            .Start(context =>
            {
                bar = context.AddTask("training", maxValue: steps);
                train(this);
            });
    }

    /// <summary>Takes note of a step.</summary>
    public void Report(StepReport report)
    {
        smoothLoss = double.IsNaN(smoothLoss) ? report.Loss : 0.9 * smoothLoss + 0.1 * report.Loss;
        double seconds = Math.Max(1e-9, Stopwatch.GetElapsedTime(start).TotalSeconds);
        double speed = report.Step * tokensPerStep / seconds;
        var left = TimeSpan.FromSeconds((steps - report.Step) * seconds / report.Step);
        if (bar is not null)
        {
            bar.Description = $"step {report.Step,6}  loss {smoothLoss:0.000}  {speed,8:#,0} tokens/s  {left:mm\\:ss} left";
            bar.Value = report.Step;
        }
        else if (report.Step == 1 || report.Step == steps || report.Step * 20 / steps != (report.Step - 1) * 20 / steps)
        {
            output.WriteLine(
                $"step {report.Step,6}/{steps}  loss {report.Loss:0.0000}  gradient norm {report.GradientNorm:0.000}  lr {report.LearningRate:0.00e+0}  {speed,8:#,0} tokens/s");
        }
    }

    /// <summary>Writes a line above the bar.</summary>
    public void Line(string text)
    {
        if (bar is null)
            output.WriteLine(text);
        else
            AnsiConsole.WriteLine(text);
    }
}
