using System.Text;
using System.Text.Json;
using System.Xml.Linq;
using ScratchMamba.Checkpoints;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies.Reports;

/// <summary>What was found about something that was claimed.</summary>
public enum Verdict
{
    /// <summary>The interval, or every model's own, lies where the claim says.</summary>
    Holds,

    /// <summary>The interval, or every model's own, lies where the claim denies.</summary>
    Fails,

    /// <summary>The interval lies on both sides, or there is none.</summary>
    Open,
}

/// <summary>A claim with what was found.</summary>
/// <param name="Experiment">Its number in the list of the paper's experiments, such as <c>E1</c>.</param>
/// <param name="Claim">What the paper says.</param>
/// <param name="Found">What was measured, with its interval.</param>
/// <param name="Verdict">Whether the intervals bear it out.</param>
public sealed record Finding(string Experiment, string Claim, string Found, Verdict Verdict)
{
    /// <summary><see cref="Found"/> without the intervals of single models.</summary>
    public string Brief { get; init; } = Found;

    // The operational tests ask for three seeds.
    private const int LeastModels = 3;

    /// <summary>
    /// A claim that a quantity exceeds a bound. It holds where the interval over models does, which speaks of all models trained alike, or where in at least three models
    /// the interval over prompts of every one does, which speaks of these.
    /// </summary>
    /// <param name="experiment">Its number.</param>
    /// <param name="claim">What the paper says.</param>
    /// <param name="quantity">What was measured.</param>
    /// <param name="value">Its interval over models, or over the prompts of one.</param>
    /// <param name="bound">The bound.</param>
    /// <param name="each">For each model its interval over prompts, where there are several models.</param>
    public static Finding Above(string experiment, string claim, string quantity, Interval value, double bound, params IReadOnlyList<Interval> each) => new(
        experiment, claim, Describe(quantity, value, each), Decide(value, each, interval => interval.Low > bound, interval => interval.High <= bound))
    {
        Brief = DescribeBriefly(quantity, value, each),
    };

    /// <summary>A claim that a quantity stays below a bound, decided as <see cref="Above"/> is.</summary>
    public static Finding Below(string experiment, string claim, string quantity, Interval value, double bound, params IReadOnlyList<Interval> each) => new(
        experiment, claim, Describe(quantity, value, each), Decide(value, each, interval => interval.High < bound, interval => interval.Low >= bound))
    {
        Brief = DescribeBriefly(quantity, value, each),
    };

    private static string Describe(string quantity, Interval value, IReadOnlyList<Interval> each) =>
        value.Count == 0 ? $"{quantity}: there is nothing to measure" : $"{quantity}: {value}, n = {value.Count}{(each.Count > 1 ? $"; of each model: {string.Join(", ", each)}" : "")}";

    private static string DescribeBriefly(string quantity, Interval value, IReadOnlyList<Interval> each) =>
        value.Count == 0 ? $"{quantity}: –" : $"{quantity}: {$"{value}{(each.Count > 1 ? $"; {string.Join(", ", each.Select(interval => interval.Estimate.ToString(Math.Abs(interval.Estimate) >= 10 ? "0.#" : "0.##")))}" : "")}".Replace('-', '−')}";

    private static Verdict Decide(Interval value, IReadOnlyList<Interval> each, Func<Interval, bool> holds, Func<Interval, bool> fails)
    {
        if (holds(value) || fails(value))
            return holds(value) ? Verdict.Holds : Verdict.Fails;
        bool several = each.Count >= LeastModels;
        return several && each.All(holds) ? Verdict.Holds : several && each.All(fails) ? Verdict.Fails : Verdict.Open;
    }
}

/// <summary>How a figure came about.</summary>
/// <param name="Command">The command that makes it.</param>
/// <param name="Model">The model.</param>
/// <param name="Data">The data.</param>
/// <param name="Seeds">The seeds.</param>
/// <param name="Seconds">How long it took to compute, training included.</param>
public sealed record Origin(string Command, string Model, string Data, string Seeds, double Seconds);

/// <summary>A chart with what it shows and what it was drawn from.</summary>
/// <param name="Title">Its title.</param>
/// <param name="Sentence">What it shows, in one sentence.</param>
/// <param name="Chart">The chart.</param>
/// <param name="Table">The numbers it was drawn from.</param>
/// <param name="Origin">How it came about.</param>
public sealed record Figure(string Title, string Sentence, Chart Chart, Table Table, Origin Origin);

/// <summary>The result of one study.</summary>
/// <param name="Name">Its name on the command line.</param>
/// <param name="Title">Its title.</param>
/// <param name="Introduction">What it asks, in a sentence or two.</param>
/// <param name="Findings">What it found.</param>
/// <param name="Figures">Its figures.</param>
public sealed record StudyResult(string Name, string Title, string Introduction, IReadOnlyList<Finding> Findings, IReadOnlyList<Figure> Figures);

/// <summary>Writes studies as one page that needs nothing else, and every number beside it as JSON and CSV.</summary>
public static class Report
{
    /// <summary>
    /// Writes <c>report.html</c>, the table of findings in Markdown as <c>findings.md</c>, for each study <c>NAME.json</c>, and for each figure and the models <c>TABLE.csv</c>.
    /// </summary>
    /// <returns>The path of the page.</returns>
    public static string Write(string folder, string title, string lead, IReadOnlyList<StudyResult> studies, Table? models = null)
    {
        Directory.CreateDirectory(folder);
        foreach (StudyResult study in studies)
        {
            WriteJson(Path.Combine(folder, study.Name + ".json"), study);
            foreach (Figure figure in study.Figures)
                WriteText(Path.Combine(folder, figure.Table.Name + ".csv"), figure.Table.ToCsv());
        }
        if (models is not null)
            WriteText(Path.Combine(folder, models.Name + ".csv"), models.ToCsv());
        WriteText(Path.Combine(folder, "findings.md"), Markdown(studies));
        string page = Path.Combine(folder, "report.html");
        WriteText(page, Page(title, lead, studies, models));
        return page;
    }

    /// <summary>All findings as a table of Markdown.</summary>
    public static string Markdown(IReadOnlyList<StudyResult> studies)
    {
        var text = new StringBuilder("| | the paper says | we found, over models; of each model | | `study` |\n|---|---|---|---|---|\n");
        foreach (StudyResult study in studies)
        {
            foreach (Finding finding in study.Findings)
                text.Append($"| {finding.Experiment} | {finding.Claim.TrimEnd('.')} | {finding.Brief.Replace("|", "\\|")} | {Word(finding.Verdict)} | `{study.Name}` |\n");
        }
        return text.ToString();
    }

    private static string Word(Verdict verdict) => verdict switch { Verdict.Holds => "yes", Verdict.Fails => "no", _ => "open" };

    /// <summary>The page.</summary>
    public static string Page(string title, string lead, IReadOnlyList<StudyResult> studies, Table? models = null)
    {
        int number = 0;
        return HtmlPage.Write(
            title,
            new XElement("p", new XAttribute("class", "lead"), lead),
            studies.Any(study => study.Findings.Count > 0) ? FindingsTable(studies) : null,
            studies.Select(study => new object[]
            {
                new XElement("h2", new XAttribute("id", study.Name), study.Title),
                new XElement("p", study.Introduction),
                study.Figures.Select(figure => FigureElement(figure, ++number)).ToArray(),
            }).ToArray(),
            models is { Rows.Count: > 0 } ? ModelsElement(models) : null);
    }

    private static XElement ModelsElement(Table models) => new(
        "details",
        new XElement("summary", $"The {models.Rows.Count} models that were trained, with the SHA-256 of their weights; all their settings are in {models.Name}.csv"),
        new XElement(
            "table",
            new XElement("thead", new XElement("tr", models.Columns.SkipLast(1).Select(column => new XElement("th", column.Replace('_', ' '))))),
            new XElement("tbody", models.Rows.Select(row => new XElement(
                "tr", row.SkipLast(1).Select(cell => new XElement("td", new XAttribute("style", "overflow-wrap: anywhere"), cell is string text ? text : $"{cell:#,0.#}")))))));

    private static XElement FindingsTable(IReadOnlyList<StudyResult> studies) => new(
        "table",
        new XElement("thead", new XElement("tr", new XElement("th"), new XElement("th", "Claim"), new XElement("th", "We found"), new XElement("th"))),
        new XElement("tbody", studies.SelectMany(study => study.Findings).Select(finding => new XElement(
            "tr",
            new XElement("td", finding.Experiment),
            new XElement("td", finding.Claim),
            new XElement("td", finding.Found),
            new XElement("td", new XAttribute("class", finding.Verdict.ToString().ToLowerInvariant()), finding.Verdict switch
            {
                Verdict.Holds => "yes",
                Verdict.Fails => "no",
                _ => "not decided",
            })))));

    private static XElement FigureElement(Figure figure, int number) => new(
        "figure",
        new XElement("h3", $"Figure {number}. {figure.Title}"),
        figure.Chart.Draw(),
        new XElement("figcaption", figure.Sentence),
        new XElement(
            "p", new XAttribute("class", "facts"),
            new XElement("code", figure.Origin.Command),
            $" · {figure.Origin.Model} · {figure.Origin.Data} · {figure.Origin.Seeds} · {HtmlPage.Duration(figure.Origin.Seconds)} · numbers in {figure.Table.Name}.csv"));

    private static void WriteJson(string path, StudyResult study) => AtomicFile.Write(path, stream =>
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteString("study", study.Name);
        json.WriteStartArray("findings");
        foreach (Finding finding in study.Findings)
        {
            json.WriteStartObject();
            json.WriteString("experiment", finding.Experiment);
            json.WriteString("claim", finding.Claim);
            json.WriteString("found", finding.Found);
            json.WriteString("verdict", finding.Verdict.ToString().ToLowerInvariant());
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartArray("figures");
        foreach (Figure figure in study.Figures)
        {
            json.WriteStartObject();
            json.WriteString("title", figure.Title);
            json.WriteString("sentence", figure.Sentence);
            json.WriteString("command", figure.Origin.Command);
            json.WriteString("model", figure.Origin.Model);
            json.WriteString("data", figure.Origin.Data);
            json.WriteString("seeds", figure.Origin.Seeds);
            json.WriteNumber("seconds", Math.Round(figure.Origin.Seconds, 1));
            json.WriteString("name", figure.Table.Name);
            json.WritePropertyName("values");
            figure.Table.WriteTo(json);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private static void WriteText(string path, string text) => AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));
}
