using System.Globalization;
using System.Text;
using System.Xml;
using System.Xml.Linq;
using ScratchMamba.Checkpoints;
using ScratchMamba.Reports;

namespace ScratchMamba.Training.Seeing;

/// <summary>One page about a run, made from what is in its folder: curves, samples, and how it was made.</summary>
public static class TrainingReport
{
    /// <summary>The name of the page in the run's folder.</summary>
    public const string FileName = "report.html";

    private const int MostPoints = 400, MostSamples = 8, MostNotices = 20;

    /// <summary>Writes <c>report.html</c> into a run's folder.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="command">The command line that made the run.</param>
    /// <param name="facts">What else is known of it: names with values.</param>
    /// <returns>The path of the page.</returns>
    /// <exception cref="CheckpointException">The folder has no metrics, or cannot be written to.</exception>
    public static string Write(string folder, string command, IReadOnlyList<(string Name, string Value)> facts)
    {
        MetricsRow[] rows = [.. MetricsFile.Read(folder)];
        if (rows.Length == 0)
            throw new CheckpointException($"{folder}: there is no {MetricsFile.Name} with anything in it; a training writes it");
        string path = Path.Combine(folder, FileName);
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(Page(Path.GetFileName(Path.GetFullPath(Path.TrimEndingDirectorySeparator(folder))), command, facts, rows))));
        return path;
    }

    /// <summary>The page.</summary>
    public static string Page(string name, string command, IReadOnlyList<(string Name, string Value)> facts, IReadOnlyList<MetricsRow> rows) => HtmlPage.Write(
        $"Training {name}",
        new XElement("p", new XAttribute("class", "lead"), Lead(rows)),
        new XElement("p", new XElement("code", Clean(command))),
        facts.Count == 0 ? null : new XElement("table", new XElement("tbody", facts.Select(fact => new XElement("tr", new XElement("th", Clean(fact.Name)), new XElement("td", Clean(fact.Value)))))),
        Figures(rows),
        Samples(rows),
        Notices(rows));

    private static string Lead(IReadOnlyList<MetricsRow> rows)
    {
        MetricsRow? last = rows.LastOrDefault(row => row.Values.ContainsKey(MetricsFile.Tokens));
        if (last is null)
            return "No step was made.";
        var text = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"{last.Step:#,0} steps, {Count(last[MetricsFile.Tokens])} tokens"));
        if (double.IsFinite(last[MetricsFile.Seconds]))
            text.Append(string.Create(CultureInfo.InvariantCulture, $", {HtmlPage.Duration(last[MetricsFile.Seconds])}, {last[MetricsFile.Tokens] / last[MetricsFile.Seconds]:#,0} tokens/s"));
        MetricsRow[] heldOut = [.. rows.Where(row => row.Values.ContainsKey(MetricsFile.HeldOut))];
        if (heldOut.Length > 0)
        {
            MetricsRow best = heldOut.MinBy(row => row[MetricsFile.HeldOut])!;
            text.Append(string.Create(CultureInfo.InvariantCulture, $". Held-out loss {heldOut[^1][MetricsFile.HeldOut]:0.0000} nats per token"));
            if (best.Step != heldOut[^1].Step)
                text.Append(string.Create(CultureInfo.InvariantCulture, $", least {best[MetricsFile.HeldOut]:0.0000} at step {best.Step:#,0}"));
        }
        return text.Append('.').ToString();
    }

    private static IEnumerable<XElement> Figures(IReadOnlyList<MetricsRow> rows)
    {
        Datum[] loss = Curve(rows, MetricsFile.Loss);
        Datum[] heldOut = [.. rows.Where(row => row.Values.ContainsKey(MetricsFile.HeldOut)).Select(row => new Datum(row.Step, row[MetricsFile.HeldOut]))];
        var losses = new List<Series> { new("training", loss) };
        if (heldOut.Length > 0)
            losses.Add(new Series("held out", heldOut, Color: 1));
        yield return Figure("Loss", "Nats per token; the band is from the smallest to the largest loss of the steps that a point stands for.", "loss", Scale.Linear, [.. losses]);
        if (Has(rows, MetricsFile.Penalty))
            yield return Figure("Forgetting penalty", "What is added to the loss.", "penalty", Scale.Linear, new Series("", Curve(rows, MetricsFile.Penalty)));
        yield return Figure("Learning rate", "", "thousandths", Scale.Linear, new Series("", Scaled(Curve(rows, MetricsFile.LearningRate), 1000)));
        yield return Figure("Gradient norm", "Of all gradients together, before clipping.", "norm", Scale.Log10, new Series("", Curve(rows, MetricsFile.GradientNorm)));
        if (Has(rows, MetricsFile.UpdateNorm))
        {
            Datum[] share = Curve([.. rows.Where(row => row.Values.ContainsKey(MetricsFile.UpdateNorm))
                .Select(row => new MetricsRow(row.Step) { Values = new Dictionary<string, double> { ["share"] = row[MetricsFile.UpdateNorm] / row[MetricsFile.ParameterNorm] } })], "share");
            yield return Figure("Update norm", "How far an update moved all weights together, as a share of their norm.", "share", Scale.Log10, new Series("", share));
        }
        if (Has(rows, MetricsFile.NoiseScale))
            yield return Figure("Gradient noise scale", "Batches of about so many rows are worth their size (McCandlish et al., 2018).", "rows", Scale.Log10, new Series("", Curve(rows, MetricsFile.NoiseScale)));
        yield return Figure("Speed", "", "tokens/s", Scale.Linear, new Series("", Curve(rows, MetricsFile.Speed)));
        yield return Figure("Waiting", "The share of a step's time in which it waited for data.", "% of the time", Scale.Linear, new Series("", Scaled(Curve(rows, MetricsFile.Waiting), 100)));
        yield return Figure(
            "Memory", "The most that tensors took until then, and what the process has of the host's memory.", "MiB", Scale.Linear,
            new Series("tensors", Scaled(Curve(rows, MetricsFile.Memory), 1.0 / (1 << 20))), new Series("process", Scaled(Curve(rows, MetricsFile.Resident), 1.0 / (1 << 20))));
    }

    private static XElement Figure(string title, string sentence, string unit, Scale scale, params Series[] series)
    {
        // Powers of ten tell little about what stays within two of them.
        double[] values = [.. series.SelectMany(line => line.Points).Select(point => point.Y).Where(value => value > 0)];
        if (values.Length == 0 || values.Max() / values.Min() < 30)
            scale = Scale.Linear;
        double last = series.SelectMany(line => line.Points).Select(point => point.X).DefaultIfEmpty(1).Max();
        var chart = new XyChart { Description = $"{title} by step", X = new Axis("step", Max: last), Y = new Axis(unit, scale, scale == Scale.Linear && title != "Loss" ? 0 : null), Series = series };
        return new XElement("figure", new XElement("h3", title), chart.Draw(), sentence.Length == 0 ? null : new XElement("figcaption", sentence));
    }

    /// <summary>A quantity over steps, in at most so many points: where there are more steps, a point is their mean, and its interval from the smallest to the largest.</summary>
    public static Datum[] Curve(IReadOnlyList<MetricsRow> rows, string name, int points = MostPoints)
    {
        MetricsRow[] known = [.. rows.Where(row => row.Values.ContainsKey(name))];
        if (known.Length <= points)
            return [.. known.Select(row => new Datum(row.Step, row[name]))];
        return
        [
            .. from point in Enumerable.Range(0, points)
               let part = known[(int)((long)point * known.Length / points)..(int)((long)(point + 1) * known.Length / points)]
               select new Datum(part.Average(row => (double)row.Step), part.Average(row => row[name]), part.Min(row => row[name]), part.Max(row => row[name])),
        ];
    }

    private static Datum[] Scaled(Datum[] points, double factor) => [.. points.Select(point => new Datum(point.X, point.Y * factor, point.Low * factor, point.High * factor))];

    private static bool Has(IReadOnlyList<MetricsRow> rows, string name) => rows.Any(row => row.Values.ContainsKey(name));

    private static IEnumerable<XElement> Samples(IReadOnlyList<MetricsRow> rows)
    {
        MetricsRow[] samples = [.. rows.Where(row => row.Texts.ContainsKey(MetricsFile.Sample))];
        if (samples.Length == 0)
            yield break;
        yield return new XElement("h2", "What it writes");
        // The first, the last, and some between.
        int count = Math.Min(MostSamples, samples.Length);
        for (int i = 0; i < count; i++)
        {
            MetricsRow row = samples[count == 1 ? 0 : i * (samples.Length - 1) / (count - 1)];
            yield return new XElement("h3", string.Create(CultureInfo.InvariantCulture, $"After step {row.Step:#,0}"));
            yield return new XElement("pre", new XElement("b", Clean(row.Texts.GetValueOrDefault(MetricsFile.Prompt, ""))), Clean(row.Texts[MetricsFile.Sample]));
        }
    }

    private static IEnumerable<XElement> Notices(IReadOnlyList<MetricsRow> rows)
    {
        MetricsRow[] notices = [.. rows.Where(row => row.Texts.ContainsKey(MetricsFile.Notice))];
        if (notices.Length == 0)
            yield break;
        yield return new XElement("h2", notices.Length <= MostNotices ? "What happened" : $"What happened ({notices.Length} times; the last {MostNotices})");
        yield return new XElement(
            "table",
            new XElement("thead", new XElement("tr", new XElement("th", "step"), new XElement("th"))),
            new XElement("tbody", notices.TakeLast(MostNotices).Select(row => new XElement("tr", new XElement("td", row.Step), new XElement("td", Clean(row.Texts[MetricsFile.Notice]))))));
    }

    /// <summary>A text without what a page cannot hold: models that are not trained yet write anything.</summary>
    private static string Clean(string text) => string.Concat(text.EnumerateRunes().Select(rune => rune.IsBmp && !XmlConvert.IsXmlChar((char)rune.Value) ? "\ufffd" : rune.ToString()));

    private static string Count(double value) => value >= 1e6 ? string.Create(CultureInfo.InvariantCulture, $"{value / 1e6:#,0.0} million") : string.Create(CultureInfo.InvariantCulture, $"{value:#,0}");
}
