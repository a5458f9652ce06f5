using System.Xml.Linq;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies.Reports;

/// <summary>Named things compared: a row each, with a dot and its interval for every quantity.</summary>
public sealed class DotPlot : Chart
{
    private const double Top = 38, RowHeight = 24, Below = 46;

    /// <summary>The axis of the quantities.</summary>
    public required Axis Axis { get; init; }

    /// <summary>The quantities' names.</summary>
    public required IReadOnlyList<string> Quantities { get; init; }

    /// <summary>The things compared, from the top, each with a value for every quantity.</summary>
    public required IReadOnlyList<(string Name, IReadOnlyList<Interval> Values)> Rows { get; init; }

    /// <summary>Vertical lines.</summary>
    public IReadOnlyList<Guide> Guides { get; init; } = [];

    /// <inheritdoc/>
    public override XElement Draw()
    {
        double left = Math.Clamp(Rows.Max(row => Extent(row.Name)) + 14, 80, 300), width = Width - left - 24, height = RowHeight * Rows.Count;
        AxisInUse axis = Axis.Over(Rows.SelectMany(row => row.Values).SelectMany(value => new[] { value.Estimate, value.Low, value.High }).Concat(Guides.Select(guide => guide.Value)));
        return Root(Top + height + Below, Draw(axis, left, width, height));
    }

    private IEnumerable<XElement> Draw(AxisInUse axis, double left, double width, double height)
    {
        double X(double value) => left + width * axis.Place(value);
        foreach ((double value, string label) in axis.Ticks)
        {
            yield return Line(X(value), Top, X(value), Top + height, "grid");
            yield return Text(X(value), Top + height + 18, label, "tick", "middle");
        }
        foreach (Guide guide in Guides)
        {
            yield return Line(X(guide.Value), Top, X(guide.Value), Top + height, "guide");
            bool isLeft = X(guide.Value) + Extent(guide.Label) > left + width;
            yield return Text(X(guide.Value) + (isLeft ? -4 : 4), Top - 4, guide.Label, "note", isLeft ? "end" : "start");
        }
        yield return Line(left, Top + height, left + width, Top + height, "axis");
        yield return Text(left + width / 2, Top + height + 39, Axis.Label, "label", "middle");
        double place = left;
        for (int quantity = 0; quantity < Quantities.Count; quantity++)
        {
            yield return Dot(place + 4, 9, $"dot c{quantity}", Quantities[quantity]);
            yield return Text(place + 12, 13, Quantities[quantity]);
            place += Extent(Quantities[quantity]) + 34;
        }
        for (int row = 0; row < Rows.Count; row++)
        {
            (string name, IReadOnlyList<Interval> values) = Rows[row];
            double middle = Top + (row + 0.5) * RowHeight;
            yield return Text(left - 10, middle + 4, name, "", "end");
            for (int quantity = 0; quantity < values.Count; quantity++)
            {
                Interval value = values[quantity];
                double y = middle + (quantity - (values.Count - 1) / 2.0) * 5;
                if (double.IsFinite(value.Low) && double.IsFinite(value.High))
                    yield return Line(X(value.Low), y, X(value.High), y, $"line thin c{quantity}");
                if (double.IsFinite(value.Estimate))
                    yield return Dot(X(value.Estimate), y, $"dot c{quantity}", $"{name}, {Quantities[quantity]}: {value}");
            }
        }
    }
}
