using System.Diagnostics;
using ScratchMamba.Studies.Laboratory;
using Spectre.Console;

namespace ScratchMamba.Cli;

/// <summary>Shows how studies go: one line that is redrawn on a terminal, a line now and then elsewhere.</summary>
/// <param name="output">Where.</param>
/// <param name="isShort">Whether it takes seconds only: then a terminal alone is worth a line.</param>
internal sealed class StudyDisplay(TextWriter output, bool isShort = false)
{
    private readonly bool isTerminal = ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected && AnsiConsole.Profile.Capabilities.Ansi;
    private long shown;
    private double shownShare = -1;

    /// <summary>Takes note of progress.</summary>
    public void Report(StudyProgress progress)
    {
        const double RedrawSeconds = 0.1, LineShare = 0.05;
        string text = $"{100 * progress.Share,3:0} %  {(int)progress.Left.TotalHours}:{progress.Left:mm\\:ss} left  {progress.Text}";
        if (isTerminal)
        {
            if (shown != 0 && Stopwatch.GetElapsedTime(shown).TotalSeconds < RedrawSeconds)
                return;
            shown = Stopwatch.GetTimestamp();
            int width = Math.Max(1, AnsiConsole.Profile.Width - 1);
            output.Write("\r" + (text.Length > width ? text[..width] : text.PadRight(width)));
        }
        else if (!isShort && (progress.Share >= shownShare + LineShare || shownShare < 0))
        {
            shownShare = progress.Share;
            output.WriteLine(text);
        }
    }

    /// <summary>Removes the line.</summary>
    public void Finish()
    {
        if (isTerminal)
            output.Write("\r" + new string(' ', Math.Max(1, AnsiConsole.Profile.Width - 1)) + "\r");
    }
}
