using System.Xml.Linq;

namespace ScratchMamba.Studies.Reports;

/// <summary>A table of shares, 0 to 1, as colours, with the percentage in each cell.</summary>
public sealed class HeatMap : Chart
{
    private const double Left = 92, Top = 12, RowHeight = 26, Below = 48, Bar = 96;

    /// <summary>The columns' names.</summary>
    public required IReadOnlyList<string> Columns { get; init; }

    /// <summary>What the columns are.</summary>
    public required string ColumnLabel { get; init; }

    /// <summary>The rows' names, from the top.</summary>
    public required IReadOnlyList<string> Rows { get; init; }

    /// <summary>What the rows are.</summary>
    public required string RowLabel { get; init; }

    /// <summary>The share in each row and column; not a number where there is none.</summary>
    public required double[,] Shares { get; init; }

    /// <summary>After how many columns a line is drawn, such as the training length; 0 for none.</summary>
    public int LineAfter { get; init; }

    /// <summary>The line's name.</summary>
    public string LineLabel { get; init; } = "";

    /// <inheritdoc/>
    public override XElement Draw()
    {
        double cell = Math.Min(64, (Width - Left - Bar) / Columns.Count), width = cell * Columns.Count, height = RowHeight * Rows.Count, top = Top + (LineAfter > 0 ? 14 : 0);
        return Root(top + height + Below, Cells(cell, top), Names(cell, top, width, height), Scale(Left + width + 26, top, height), Guide(Left + cell * LineAfter, top, height));
    }

    private IEnumerable<XElement> Cells(double cell, double top)
    {
        for (int row = 0; row < Rows.Count; row++)
        {
            for (int column = 0; column < Columns.Count; column++)
            {
                double share = Shares[row, column], x = Left + column * cell, y = top + row * RowHeight;
                if (double.IsNaN(share))
                    continue;
                yield return Box(x + 0.5, y + 0.5, cell - 1, RowHeight - 1, "cell", Color(share));
                if (cell >= 26)
                    yield return Text(x + cell / 2, y + RowHeight / 2 + 4, $"{100 * share:0}", share > 0.5 ? "cell-dark" : "cell-light", "middle");
            }
        }
    }

    private IEnumerable<XElement> Names(double cell, double top, double width, double height)
    {
        for (int row = 0; row < Rows.Count; row++)
            yield return Text(Left - 8, top + row * RowHeight + RowHeight / 2 + 4, Rows[row], "tick", "end");
        int every = (int)Math.Ceiling(Columns.Max(Extent) / cell);
        for (int column = 0; column < Columns.Count; column += every)
            yield return Text(Left + (column + 0.5) * cell, top + height + 17, Columns[column], "tick", "middle");
        yield return Text(Left + width / 2, top + height + 39, ColumnLabel, "label", "middle");
        yield return Text(15, top + height / 2, RowLabel, "label", "middle", turn: -90);
    }

    private static IEnumerable<XElement> Scale(double x, double top, double height)
    {
        const int Steps = 32;
        for (int i = 0; i < Steps; i++)
            yield return Box(x, top + height * (Steps - 1 - i) / Steps, 12, height / Steps + 0.5, "cell", Color((i + 0.5) / Steps));
        yield return Text(x + 18, top + 9, "100 %", "tick");
        yield return Text(x + 18, top + height, "0 %", "tick");
    }

    private IEnumerable<XElement> Guide(double x, double top, double height)
    {
        if (LineAfter <= 0)
            yield break;
        yield return Line(x, top - 4, x, top + height, "guide strong");
        bool left = LineAfter > Columns.Count / 2;
        yield return Text(x + (left ? -5 : 5), top - 6, LineLabel, "note", left ? "end" : "start");
    }

    /// <summary>From deep blue over teal to pale yellow: lightness rises evenly, so that it can be read in grey and by who does not see red and green apart.</summary>
    private static string Color(double share)
    {
        ReadOnlySpan<(int R, int G, int B)> stops = [(38, 40, 92), (40, 84, 130), (38, 130, 142), (86, 178, 122), (178, 214, 96), (250, 238, 150)];
        double place = Math.Clamp(share, 0, 1) * (stops.Length - 1);
        int below = Math.Min((int)place, stops.Length - 2);
        double part = place - below;
        (int R, int G, int B) a = stops[below], b = stops[below + 1];
        return $"#{Mix(a.R, b.R, part):x2}{Mix(a.G, b.G, part):x2}{Mix(a.B, b.B, part):x2}";

        static int Mix(int a, int b, double part) => (int)Math.Round(a + (b - a) * part);
    }
}
