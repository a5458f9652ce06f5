using System.CommandLine;

namespace ScratchMamba.Cli.Commands;

/// <summary>report: one page about a training.</summary>
internal static class ReportCommand
{
    public static Verb Create()
    {
        Option<string> run = CommonOptions.Text("--run", "The folder of the training, going on or done.");
        var verb = new Verb("report", "Write a page about a training: curves, samples, and how it was made.", "scratchmamba report --run runs/book", run);
        verb.SetAction(parsed =>
        {
            string folder = parsed.GetValue(run)!;
            if (!Directory.Exists(folder))
                throw new DirectoryNotFoundException($"There is no folder {folder}.");
            parsed.InvocationConfiguration.Output.WriteLine(RunReport.Write(folder));
            return CommandLine.Done;
        });
        return verb;
    }
}
