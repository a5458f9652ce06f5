using System.Text.Json;
using System.Xml.Linq;
using ScratchMamba.Reports;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Tests.Studies;

/// <summary>Reports are whole, well-formed and need nothing from outside.</summary>
public sealed class ReportTests : IDisposable
{
    private static readonly Origin Origin = new("study <x>", "model", "data", "seeds 1 to 3", 100);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static Datum[] Points(double scale) => [.. Enumerable.Range(0, 6).Select(i => new Datum(1 << i, scale * i, scale * i - 0.1, i == 3 ? double.NaN : scale * i + 0.1))];

    private static Chart Lines(Scale scale) => new XyChart
    {
        Description = "lines", X = new Axis("position", Scale.Log2), Y = new Axis("loss <nats>", scale), Series = [new Series("a & b", Points(1)), new Series("c", Points(2), Mark.Dots), new Series("d", Points(1), Mark.Bars)],
        VerticalGuides = [new Guide(4, "training length")], HorizontalGuides = [new Guide(3, "guessing")],
    };

    private static StudyResult Study()
    {
        var table = new Table("numbers", "name", "value");
        table.Add("a, \"b\"", 1.5);
        table.Add(null, double.NaN);
        var map = new HeatMap { Description = "map", Rows = ["r"], RowLabel = "depth", Columns = ["1", "2"], ColumnLabel = "length", Shares = new[,] { { 0.25, double.NaN } }, LineAfter = 1, LineLabel = "T" };
        var dots = new DotPlot { Description = "dots", Axis = new Axis("loss"), Quantities = ["x", "y"], Rows = [("cure", [Interval.Mean([1, 2, 3]), Interval.Mean([1.0])])], Guides = [new Guide(2, "g")] };
        return new StudyResult("test", "A study", "What?", [Finding.Above("E1", "It rises.", "ratio", Interval.Mean([3, 3.1, 2.9]), 2)],
            [.. new[] { Lines(Scale.Linear), Lines(Scale.Log10), map, dots }.Select(chart => new Figure("A <figure>", "It shows & tells.", chart, table, Origin))]);
    }

    [Fact]
    public void ThePageIsWellFormedAndNeedsNothingElse()
    {
        string page = Report.Page("Title", "Lead", [Study()]);
        Assert.StartsWith("<!DOCTYPE html>", page, StringComparison.Ordinal);
        XElement html = XElement.Parse(page[page.IndexOf('\n')..]);
        Assert.Equal(4, html.Descendants("figure").Count());
        Assert.All(html.Descendants("figure"), figure =>
        {
            Assert.Single(figure.Descendants("svg"));
            Assert.Contains("study <x>", figure.Descendants("p").Single().Value, StringComparison.Ordinal);
            Assert.NotEmpty(figure.Descendants("figcaption").Single().Value);
        });
        Assert.DoesNotContain(html.Descendants(), element => element.Name.LocalName is "script" or "link" or "img" or "iframe" or "object");
        Assert.DoesNotContain(html.Descendants().Attributes(), attribute => attribute.Name.LocalName is "src" or "href" or "data");
        foreach (string outside in (string[])["http", "url(", "@import", "NaN", "∞", "Infinity"])
            Assert.DoesNotContain(outside, page, StringComparison.Ordinal);
        // A style sheet is not XML to a browser: no character of it may be written as an entity.
        Assert.DoesNotContain("&", page[page.IndexOf("<style>", StringComparison.Ordinal)..page.IndexOf("</style>", StringComparison.Ordinal)], StringComparison.Ordinal);
        Assert.Contains("prefers-color-scheme: dark", page, StringComparison.Ordinal);
        Assert.Contains("@media print", page, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryColourIsDefinedForLightDarkAndPrint()
    {
        foreach (string name in Enumerable.Range(0, 8).SelectMany(i => new[] { $"--c{i}", $"--q{i}" }).Append("--page").Append("--ink"))
            Assert.Equal(3, ReportStyle.Sheet.Split($"{name}: #").Length - 1);
    }

    [Fact]
    public void NumbersStandBesideThePage()
    {
        string page = Report.Write(folder.Path, "Title", "Lead", [Study()]);
        Assert.True(File.Exists(page));
        Assert.Equal("name,value\r\n\"a, \"\"b\"\"\",1.5\r\n,\r\n", File.ReadAllText(folder.File("numbers.csv")));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(folder.File("test.json")));
        Assert.Equal("holds", json.RootElement.GetProperty("findings")[0].GetProperty("verdict").GetString());
        JsonElement values = json.RootElement.GetProperty("figures")[0].GetProperty("values");
        Assert.Equal(1.5, values[0].GetProperty("value").GetDouble());
        Assert.Equal(JsonValueKind.Null, values[1].GetProperty("value").ValueKind);
    }

    [Theory, InlineData(0, 10, "0 2 4 6 8 10"), InlineData(0.1, 0.9, "0.0 0.2 0.4 0.6 0.8 1.0"), InlineData(-3, 3, "−3 −2 −1 0 1 2 3"), InlineData(100, 103, "100.0 100.5 101.0 101.5 102.0 102.5 103.0")]
    public void TicksAreRound(double low, double high, string labels)
    {
        string[] wanted = [.. labels.Split(' ').Select(label => label == "0.0" ? "0" : label)];
        Assert.Equal(wanted, new Axis("x").Over([low, high]).Ticks.Select(tick => tick.Label));
    }

    [Fact]
    public void LengthsAreMarkedInPowersOfTwo()
    {
        AxisInUse axis = new Axis("x", Scale.Log2).Over([16, 4096]);
        Assert.Equal(["16", "32", "64", "128", "256", "512", "1K", "2K", "4K"], axis.Ticks.Select(tick => tick.Label));
        Assert.Equal((0, 0.5, 1), (axis.Place(16), Math.Round(axis.Place(256), 12), axis.Place(4096)));
    }

    [Fact]
    public void AVerdictNeedsItsInterval()
    {
        Interval wide = Interval.Mean([1, 5]), one = Interval.Mean([9.0]), narrow = Interval.Mean([5, 5.1, 4.9]);
        Assert.Equal(Verdict.Open, Finding.Above("E1", "", "", wide, 2).Verdict);
        Assert.Equal(Verdict.Open, Finding.Above("E1", "", "", one, 2).Verdict);
        Assert.Equal(Verdict.Holds, Finding.Above("E1", "", "", narrow, 2).Verdict);
        Assert.Equal(Verdict.Fails, Finding.Below("E1", "", "", narrow, 2).Verdict);
        // Where the interval over models decides nothing, those of at least three models do, if all lie on one side.
        Interval above = new(3, 2.5, 3.5, 8), below = new(1, 0.5, 1.5, 8);
        Assert.Equal(Verdict.Holds, Finding.Above("E1", "", "", wide, 2, above, above, above).Verdict);
        Assert.Equal(Verdict.Fails, Finding.Below("E1", "", "", wide, 2, above, above, above).Verdict);
        Assert.Equal(Verdict.Open, Finding.Above("E1", "", "", wide, 2, above, above).Verdict);
        Assert.Equal(Verdict.Open, Finding.Above("E1", "", "", wide, 2, above, above, below).Verdict);
        Assert.Equal(Verdict.Open, Finding.Above("E1", "", "", wide, 2, above, above, wide).Verdict);
        Assert.Throws<ArgumentException>(() => new Table("t", "a").Add(1, 2));
    }
}
