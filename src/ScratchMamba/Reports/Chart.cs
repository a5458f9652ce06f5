using System.Xml.Linq;

namespace ScratchMamba.Reports;

/// <summary>A drawing in SVG. Colours are those of the page's style (<see cref="ReportStyle"/>), so that one drawing serves light, dark and print.</summary>
public abstract class Chart
{
    private protected const double Width = 760;

    /// <summary>What the drawing shows, for who cannot see it.</summary>
    public required string Description { get; init; }

    /// <summary>The drawing, as an <c>svg</c> element to be put into a page.</summary>
    public abstract XElement Draw();

    private protected XElement Root(double height, params IEnumerable<object?> content) => Element(
        "svg", [("viewBox", $"0 0 {Width:0} {height:0}"), ("role", "img"), ("aria-label", Description)], content);

    private protected static XElement Element(string name, IEnumerable<(string Name, string Value)> attributes, params IEnumerable<object?> content) =>
        new(name, attributes.Select(attribute => new XAttribute(attribute.Name, attribute.Value)), content);

    private protected static XElement Text(double x, double y, string text, string classes = "", string anchor = "start", double? turn = null) => Element(
        "text",
        [
            ("x", Place(x)), ("y", Place(y)), ("class", classes), ("text-anchor", anchor),
            .. turn is { } angle ? new[] { ("transform", $"rotate({angle:0} {Place(x)} {Place(y)})") } : [],
        ],
        text);

    private protected static XElement Line(double x1, double y1, double x2, double y2, string classes) =>
        Element("line", [("x1", Place(x1)), ("y1", Place(y1)), ("x2", Place(x2)), ("y2", Place(y2)), ("class", classes)]);

    private protected static XElement Box(double x, double y, double width, double height, string classes, string? fill = null) => Element(
        "rect",
        [
            ("x", Place(x)), ("y", Place(y)), ("width", Place(Math.Max(0, width))), ("height", Place(Math.Max(0, height))), ("class", classes),
            .. fill is null ? Array.Empty<(string, string)>() : [("style", $"fill:{fill}")],
        ]);

    private protected static XElement Path(IEnumerable<(double X, double Y)> points, string classes, bool closed = false) =>
        Element("path", [("d", "M" + string.Join('L', points.Select(point => $"{Place(point.X)} {Place(point.Y)}")) + (closed ? "Z" : "")), ("class", classes)]);

    /// <summary>A dot whose meaning a pointer over it shows.</summary>
    private protected static XElement Dot(double x, double y, string classes, string title) =>
        Element("circle", [("cx", Place(x)), ("cy", Place(y)), ("r", "3"), ("class", classes)], new XElement("title", title));

    private protected static string Place(double value) => value.ToString("0.##");

    /// <summary>At least as wide as the text is drawn: for fonts as wide as DejaVu Sans.</summary>
    private protected static double Extent(string text) => 7.6 * text.Length;
}
