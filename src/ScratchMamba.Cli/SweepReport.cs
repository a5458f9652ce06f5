using System.Globalization;
using System.Text;
using System.Xml.Linq;
using ScratchMamba.Checkpoints;
using ScratchMamba.Reports;
using ScratchMamba.Training.Seeing;

namespace ScratchMamba.Cli;

/// <summary>What a sweep found: a page with a table and curves, and the table as CSV.</summary>
internal static class SweepReport
{
    private const int MostCurves = 16;

    private static readonly string[] Measured = ["steps", "held-out loss", "loss", "tokens/s", "memory", ""];

    /// <summary>Writes <c>sweep.html</c> and <c>sweep.csv</c>.</summary>
    /// <param name="folder">The sweep's folder.</param>
    /// <param name="grid">Its trainings.</param>
    /// <param name="faults">Why those that failed did, by their names.</param>
    /// <returns>The path of the page, and the name of the training with the smallest held-out loss.</returns>
    public static (string Page, string? Best) Write(string folder, SweepGrid grid, IReadOnlyDictionary<string, string> faults)
    {
        Result[] results = [.. grid.Points.Select(point => new Result(point, [.. MetricsFile.Read(Path.Combine(folder, point.Name))], faults.GetValueOrDefault(point.Name)))];
        Result? best = results.Where(result => double.IsFinite(result.HeldOut)).MinBy(result => result.HeldOut);
        var table = new Table("sweep", [.. grid.Keys, "steps", "held_out_loss", "least_held_out_loss", "loss", "tokens_per_second", "seconds", "memory_bytes", "fault"]);
        foreach (Result result in results)
            table.Add([.. grid.Keys.Select(key => Cell(result.Point.Values[key])), result.Steps, result.HeldOut, result.Least, result.Loss, result.Speed, result.Seconds, result.Memory, result.Fault]);
        AtomicFile.Write(Path.Combine(folder, "sweep.csv"), stream => stream.Write(Encoding.UTF8.GetBytes(table.ToCsv())));
        string name = Path.GetFileName(Path.GetFullPath(Path.TrimEndingDirectorySeparator(folder)));
        string text = HtmlPage.Write(
            $"Sweep {name}",
            new XElement("p", new XAttribute("class", "lead"), string.Create(CultureInfo.InvariantCulture, $"{results.Length} trainings over {string.Join(", ", grid.Keys)}.")
                + (best is null ? "" : string.Create(CultureInfo.InvariantCulture, $" The smallest held-out loss, {best.HeldOut:0.0000} nats per token, has {best.Point.Name}."))),
            Rows(grid, results, best),
            ByKey(grid, results),
            Curves(results));
        string page = Path.Combine(folder, "sweep.html");
        AtomicFile.Write(page, stream => stream.Write(Encoding.UTF8.GetBytes(text)));
        return (page, best?.Point.Name);
    }

    private sealed record Result(SweepPoint Point, MetricsRow[] Rows, string? Fault)
    {
        private readonly MetricsRow[] heldOut = [.. Rows.Where(row => row.Values.ContainsKey(MetricsFile.HeldOut))];
        private readonly MetricsRow[] steps = [.. Rows.Where(row => row.Values.ContainsKey(MetricsFile.Tokens))];

        public long Steps => steps.Length == 0 ? 0 : steps[^1].Step;

        public double HeldOut => heldOut.Length == 0 ? double.NaN : heldOut[^1][MetricsFile.HeldOut];

        public double Least => heldOut.Length == 0 ? double.NaN : heldOut.Min(row => row[MetricsFile.HeldOut]);

        /// <summary>The mean over the last tenth of the steps.</summary>
        public double Loss => steps.TakeLast(Math.Max(1, steps.Length / 10)).Select(row => row[MetricsFile.Loss]).Where(double.IsFinite).DefaultIfEmpty(double.NaN).Average();

        public double Seconds => steps.Length == 0 ? double.NaN : steps[^1][MetricsFile.Seconds];

        public double Speed => steps.Length == 0 ? double.NaN : Math.Round(steps[^1][MetricsFile.Tokens] / Seconds);

        public double Memory => steps.Length == 0 ? double.NaN : steps[^1][MetricsFile.Memory];
    }

    private static object Cell(string text) => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) ? number : text;

    private static XElement Rows(SweepGrid grid, Result[] results, Result? best) => new(
        "table",
        new XElement("thead", new XElement("tr", grid.Keys.Select(key => new XElement("th", key)), Measured.Select(head => new XElement("th", head)))),
        new XElement("tbody", results.Select(result => new XElement(
            "tr",
            grid.Keys.Select(key => new XElement("td", result.Point.Values[key])),
            new XElement("td", result.Steps.ToString("#,0", CultureInfo.InvariantCulture)),
            new XElement("td", result == best ? new XAttribute("class", "holds") : null, Number(result.HeldOut, "0.0000")),
            new XElement("td", Number(result.Loss, "0.0000")),
            new XElement("td", Number(result.Speed, "#,0")),
            new XElement("td", double.IsFinite(result.Memory) ? Memory.Size((long)result.Memory) : ""),
            result.Fault is not null ? new XElement("td", new XAttribute("class", "fault"), result.Fault)
                : new XElement("td", new XElement("a", new XAttribute("href", $"{Uri.EscapeDataString(result.Point.Name)}/{TrainingReport.FileName}"), "report"))))));

    /// <summary>The held-out loss over the first varied option whose values are numbers, a line for each combination of the others.</summary>
    private static XElement? ByKey(SweepGrid grid, Result[] results)
    {
        if (grid.Keys.FirstOrDefault(key => results.Select(result => result.Point.Values[key]).Distinct().Count() > 1 && results.All(result => Cell(result.Point.Values[key]) is double)) is not { } key)
            return null;
        double[] values = [.. results.Select(result => (double)Cell(result.Point.Values[key]))];
        Series[] series =
        [
            .. from result in results
               group result by string.Join(", ", grid.Keys.Where(other => other != key).Select(other => $"{other} {result.Point.Values[other]}")) into line
               select new Series(line.Key, [.. line.Select(result => new Datum((double)Cell(result.Point.Values[key]), result.HeldOut)).Where(point => double.IsFinite(point.Y)).OrderBy(point => point.X)]) into drawn
               where drawn.Points.Count > 0
               select drawn,
        ];
        bool isWide = values.Min() > 0 && values.Max() / values.Min() >= 4;
        var chart = new XyChart { Description = $"Held-out loss by {key}", X = new Axis(key, isWide ? Scale.Log10 : Scale.Linear), Y = new Axis("held-out loss, nats per token", Min: Bound(series)), Series = series };
        return new XElement("figure", new XElement("h3", $"Held-out loss by {key}"), chart.Draw());
    }

    private static XElement? Curves(Result[] results)
    {
        Series[] series = [.. results.Where(result => result.Steps > 0).OrderBy(result => double.IsFinite(result.HeldOut) ? result.HeldOut : double.PositiveInfinity).Take(MostCurves)
            .Select(result => new Series(result.Point.Name, TrainingReport.Curve(result.Rows, MetricsFile.Loss, points: 40), Mark.Curve))];
        if (series.Length == 0)
            return null;
        var chart = new XyChart { Description = "Training loss by step", X = new Axis("step"), Y = new Axis("loss, nats per token", Min: Bound(series)), Series = series };
        return new XElement("figure", new XElement("h3", "Training loss"), chart.Draw(), new XElement("figcaption", results.Length > MostCurves ? $"Of the {MostCurves} with the smallest held-out loss." : "Means of neighbouring steps."));
    }

    /// <summary>Where an axis begins that shows differences.</summary>
    private static double? Bound(Series[] series)
    {
        double[] values = [.. series.SelectMany(line => line.Points).Select(point => point.Y).Where(double.IsFinite)];
        return values.Length == 0 ? null : Math.Max(0, values.Min() - 0.1 * (values.Max() - values.Min() + 0.1));
    }

    private static string Number(double value, string format) => double.IsFinite(value) ? value.ToString(format, CultureInfo.InvariantCulture) : "";
}
