using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Xml.Linq;
using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Reports;
using ScratchMamba.Training;
using ScratchMamba.Training.Seeing;

namespace ScratchMamba.Cli;

/// <summary>Writes pages about trainings from what is in their folders.</summary>
internal static class RunReport
{
    /// <summary>Writes a run's <c>report.html</c>.</summary>
    /// <returns>The path of the page.</returns>
    public static string Write(string folder)
    {
        var facts = new List<(string, string)>();
        if (RunFolder.Newest(folder) is { } newest && TryConfig(newest) is { } config)
            facts.Add(("model", $"{config.ParameterCount:#,0} parameters, {config.Layers} layers, width {config.Width}, state {config.StateSize}, heads of {config.HeadSize}, vocabulary {config.VocabularySize:#,0}"));
        return TrainingReport.Write(folder, Command(folder), facts);
    }

    /// <summary>Writes a run's page, if there is anything to write and room for it.</summary>
    public static void TryWrite(string folder)
    {
        try
        {
            Write(folder);
        }
        catch (CheckpointException)
        {
            // A run that made no step, or a full disk: it has an error of its own.
        }
    }

    /// <summary>Writes what a finder of learning rates found, as <c>learning-rates.html</c> and <c>learning-rates.csv</c>.</summary>
    /// <returns>The path of the page.</returns>
    public static string WriteRates(string folder, LearningRateFinder finder)
    {
        var table = new Table("learning-rates", "rate", "loss", "smooth_loss");
        foreach ((double rate, double loss, double smooth) in finder.Points)
            table.Add(rate, loss, smooth);
        double least = finder.Points.Count == 0 ? double.NaN : finder.Points.Min(point => point.Loss), first = finder.Points.Count == 0 ? double.NaN : finder.Points[0].Smooth;
        var chart = new XyChart
        {
            Description = "Loss by learning rate",
            X = new Axis("learning rate", Scale.Log10),
            // What diverges would make everything else flat.
            Y = new Axis("loss, nats per token", Min: Math.Max(0, least - 0.1 * (first - least)), Max: first + 0.3 * (first - least)),
            Series = [new Series("loss", [.. finder.Points.Select(point => new Datum(point.Rate, point.Loss))], Mark.Curve, 7), new Series("mean", [.. finder.Points.Select(point => new Datum(point.Rate, point.Smooth))])],
            VerticalGuides = finder.Suggestion is { } suggestion ? [new Guide(suggestion, $"suggested: {suggestion:0.0e+0}")] : [],
        };
        string page = HtmlPage.Write(
            "Learning rates",
            new XElement("p", new XAttribute("class", "lead"), finder.Suggestion is { } rate2 ? $"Suggested: {rate2:0.0e+0}, a tenth of the rate at which the smoothed loss was least." : "No rate made the loss smaller."),
            new XElement("figure", chart.Draw(), new XElement("figcaption", "The loss while the rate rises by the same factor at each step, and its mean over nine steps.")));
        Directory.CreateDirectory(folder);
        AtomicFile.Write(Path.Combine(folder, table.Name + ".csv"), stream => stream.Write(Encoding.UTF8.GetBytes(table.ToCsv())));
        string path = Path.Combine(folder, table.Name + ".html");
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(page)));
        return path;
    }

    /// <summary>The command line of a training, as far as its folder tells.</summary>
    public static string Command(string folder)
    {
        try
        {
            var words = new List<string> { "scratchmamba", "train" };
            foreach ((string name, JsonNode? values) in JsonNode.Parse(File.ReadAllBytes(Path.Combine(folder, RunArguments.FileName)))!["options"]!.AsObject())
                words.AddRange([name, .. values!.AsArray().Select(value => Quoted(value!.GetValue<string>()))]);
            return string.Join(' ', words);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or NullReferenceException)
        {
            // What was not started by the verb 'train' has no such file.
            return "scratchmamba";
        }
    }

    /// <summary>A word as a shell takes it for one.</summary>
    private static string Quoted(string word) => word.Length > 0 && word.All(c => char.IsAsciiLetterOrDigit(c) || "-_./=:+,".Contains(c)) ? word : $"'{word.Replace("'", @"'\''")}'";

    private static Mamba2Config? TryConfig(string checkpoint)
    {
        try
        {
            return Checkpoint.LoadConfig(checkpoint);
        }
        catch (CheckpointException)
        {
            return null;
        }
    }
}
