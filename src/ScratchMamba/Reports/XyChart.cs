using System.Xml.Linq;

namespace ScratchMamba.Reports;

/// <summary>A value at a place, with an interval where there is one.</summary>
/// <param name="X">The place.</param>
/// <param name="Y">The value.</param>
/// <param name="Low">The interval's lower end, or not a number.</param>
/// <param name="High">The interval's upper end, or not a number.</param>
public readonly record struct Datum(double X, double Y, double Low = double.NaN, double High = double.NaN);

/// <summary>How a series is drawn.</summary>
public enum Mark
{
    /// <summary>A line through its values, with a band for their intervals.</summary>
    Line,

    /// <summary>A dot for each value, with a bar for its interval.</summary>
    Dots,

    /// <summary>A line without dots or band: a fitted curve.</summary>
    Curve,

    /// <summary>A bar from each place to the next: a histogram. The last value is only the last bar's end.</summary>
    Bars,
}

/// <summary>Values under one name.</summary>
/// <param name="Name">The name in the legend; empty for none.</param>
/// <param name="Points">The values, from left to right.</param>
/// <param name="Mark">How they are drawn.</param>
/// <param name="Color">Which of the style's colours, or the next one.</param>
public sealed record Series(string Name, IReadOnlyList<Datum> Points, Mark Mark = Mark.Line, int? Color = null);

/// <summary>A line across the chart at a certain value, with its name.</summary>
/// <param name="Value">Where.</param>
/// <param name="Label">Its name.</param>
public readonly record struct Guide(double Value, string Label);

/// <summary>Lines, dots, fitted curves and histograms over two axes.</summary>
public sealed class XyChart : Chart
{
    private const double Left = 64, Top = 22, PlotHeight = 300, Below = 46;
    private const int Colors = 8;

    /// <summary>The horizontal axis.</summary>
    public required Axis X { get; init; }

    /// <summary>The vertical axis.</summary>
    public required Axis Y { get; init; }

    /// <summary>What is drawn.</summary>
    public required IReadOnlyList<Series> Series { get; init; }

    /// <summary>Vertical lines, such as the training length.</summary>
    public IReadOnlyList<Guide> VerticalGuides { get; init; } = [];

    /// <summary>Horizontal lines, such as chance.</summary>
    public IReadOnlyList<Guide> HorizontalGuides { get; init; } = [];

    /// <summary>Whether the series are steps of one quantity: their colours are then a ramp.</summary>
    public bool IsOrdered { get; init; }

    /// <inheritdoc/>
    public override XElement Draw()
    {
        bool hasLegend = Series.Count(series => series.Name.Length > 0) > 1;
        double legendWidth = hasLegend ? Math.Clamp(Series.Max(series => Extent(series.Name)) + 30, 80, 330) : 12;
        double width = Width - Left - legendWidth - 8;
        AxisInUse x = X.Over(Series.SelectMany(series => series.Points).Select(point => point.X).Concat(VerticalGuides.Select(guide => guide.Value)));
        AxisInUse y = Y.Over(Series.SelectMany(series => series.Points).SelectMany(point => new[] { point.Y, point.Low, point.High })
            .Concat(HorizontalGuides.Select(guide => guide.Value)).Concat(Series.Any(series => series.Mark == Mark.Bars) ? [Y.Scale == Scale.Linear ? 0 : 0.8] : []));
        var frame = new Frame(x, y, width);
        return Root(
            Top + PlotHeight + Below,
            frame.Axes(), frame.Guides(VerticalGuides, HorizontalGuides), Series.Select((series, i) => frame.Draw(series, ColorOf(i))), hasLegend ? Legend(Left + width + 14, frame) : null);
    }

    private string ColorOf(int index)
    {
        if (IsOrdered)
            return $"q{(Series.Count < 2 ? Colors - 1 : index * (Colors - 1) / (Series.Count - 1))}";
        int color = Series[index].Color ?? index;
        return $"c{color % Colors}{(color >= Colors ? " dashed" : "")}";
    }

    /// <summary>The names in the order of the lines' ends, each beside its own as far as they do not overlap.</summary>
    private IEnumerable<XElement> Legend(double x, Frame frame)
    {
        const double Pitch = 17;
        (int Index, double Y)[] entries =
        [
            .. Series.Index().Where(entry => entry.Item.Name.Length > 0).Select(entry => (entry.Index, Y: IsPlacedByEnd(entry.Item) ? frame.Y(entry.Item.Points[^1].Y) : double.NegativeInfinity)).OrderBy(entry => entry.Y),
        ];
        double next = Top + 6;
        for (int i = 0; i < entries.Length; i++)
        {
            // Those below need room too.
            double last = Top + PlotHeight - Pitch * (entries.Length - 1 - i);
            entries[i].Y = Math.Max(next, Math.Min(entries[i].Y, last));
            next = entries[i].Y + Pitch;
            Series series = Series[entries[i].Index];
            string color = ColorOf(entries[i].Index);
            yield return series.Mark switch
            {
                Mark.Dots => Dot(x + 8, entries[i].Y, $"dot {color}", series.Name),
                Mark.Bars => Box(x + 1, entries[i].Y - 5, 14, 10, $"bar {color}"),
                _ => Line(x, entries[i].Y, x + 16, entries[i].Y, $"line {color}"),
            };
            yield return Text(x + 21, entries[i].Y + 4, series.Name);
        }
    }

    private bool IsPlacedByEnd(Series series) => series.Mark == Mark.Line && series.Points.Count > 0 && series.Points[^1].X >= 0.8 * Series.Max(other => other.Points.Count > 0 ? other.Points[^1].X : 0);

    private sealed class Frame(AxisInUse xAxis, AxisInUse yAxis, double width)
    {
        public double X(double value) => Left + width * xAxis.Place(value);

        public double Y(double value) => Top + PlotHeight * (1 - yAxis.Place(value));

        public IEnumerable<XElement> Axes()
        {
            foreach ((double value, string label) in yAxis.Ticks)
            {
                yield return Line(Left, Y(value), Left + width, Y(value), "grid");
                yield return Text(Left - 8, Y(value) + 4, label, "tick", "end");
            }
            foreach ((double value, string label) in xAxis.Ticks)
            {
                yield return Line(X(value), Top + PlotHeight, X(value), Top + PlotHeight + (label.Length > 0 ? 5 : 3), "axis");
                yield return Text(X(value), Top + PlotHeight + 19, label, "tick", "middle");
            }
            yield return Line(Left, Top + PlotHeight, Left + width, Top + PlotHeight, "axis");
            yield return Text(Left + width / 2, Top + PlotHeight + 40, xAxis.Axis.Label, "label", "middle");
            yield return Text(15, Top + PlotHeight / 2, yAxis.Axis.Label, "label", "middle", turn: -90);
        }

        public IEnumerable<XElement> Guides(IReadOnlyList<Guide> vertical, IReadOnlyList<Guide> horizontal)
        {
            foreach (Guide guide in vertical)
            {
                yield return Line(X(guide.Value), Top, X(guide.Value), Top + PlotHeight, "guide");
                bool left = X(guide.Value) > Left + width - Extent(guide.Label);
                yield return Text(X(guide.Value) + (left ? -5 : 5), Top - 7, guide.Label, "note", left ? "end" : "start");
            }
            foreach (Guide guide in horizontal)
            {
                yield return Line(Left, Y(guide.Value), Left + width, Y(guide.Value), "guide");
                yield return Text(Left + 5, Y(guide.Value) - 5, guide.Label, "note");
            }
        }

        public IEnumerable<XElement> Draw(Series series, string color)
        {
            Datum[] points = [.. series.Points.Where(point => double.IsFinite(point.X) && double.IsFinite(point.Y))];
            if (points.Length == 0)
                return [];
            return series.Mark switch
            {
                Mark.Bars => Bars(points, color),
                Mark.Dots => Dots(series.Name, points, color),
                Mark.Curve => [Path(points.Select(point => (X(point.X), Y(point.Y))), $"line thin {color}")],
                _ => Lines(series.Name, points, color),
            };
        }

        private IEnumerable<XElement> Bars(Datum[] points, string color)
        {
            double floor = Top + PlotHeight;
            for (int i = 0; i + 1 < points.Length; i++)
            {
                if (points[i].Y > 0)
                    yield return Box(X(points[i].X), Y(points[i].Y), X(points[i + 1].X) - X(points[i].X) - 0.5, floor - Y(points[i].Y), $"bar {color}");
            }
        }

        private IEnumerable<XElement> Dots(string name, Datum[] points, string color)
        {
            foreach (Datum point in points)
            {
                if (double.IsFinite(point.Low) && double.IsFinite(point.High))
                    yield return Line(X(point.X), Y(point.Low), X(point.X), Y(point.High), $"line thin {color}");
                yield return Dot(X(point.X), Y(point.Y), $"dot {color}", Describe(name, point));
            }
        }

        private IEnumerable<XElement> Lines(string name, Datum[] points, string color)
        {
            Datum[] known = [.. points.Where(point => double.IsFinite(point.Low) && double.IsFinite(point.High))];
            if (known.Length > 1)
                yield return Path(known.Select(point => (X(point.X), Y(point.High))).Concat(known.Reverse().Select(point => (X(point.X), Y(point.Low)))), $"band {color}", closed: true);
            yield return Path(points.Select(point => (X(point.X), Y(point.Y))), $"line {color}");
            const int MostDots = 24;
            if (points.Length > MostDots)
                yield break;
            foreach (Datum point in points)
                yield return Dot(X(point.X), Y(point.Y), $"dot {color}", Describe(name, point));
        }

        private static string Describe(string name, Datum point)
        {
            string interval = double.IsFinite(point.Low) && double.IsFinite(point.High) ? $" [{point.Low:0.###}, {point.High:0.###}]" : "";
            return $"{name}: {point.X:0.###} → {point.Y:0.###}{interval}";
        }
    }
}
