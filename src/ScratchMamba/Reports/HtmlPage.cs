using System.Globalization;
using System.Text;
using System.Xml;
using System.Xml.Linq;

namespace ScratchMamba.Reports;

/// <summary>A page that needs nothing else: text, tables and charts in one file, in the style of <see cref="ReportStyle"/>.</summary>
public static class HtmlPage
{
    /// <summary>The page as text, under its title.</summary>
    public static string Write(string title, params IEnumerable<object?> content)
    {
        var html = new XElement(
            "html", new XAttribute("lang", "en"),
            new XElement(
                "head",
                new XElement("meta", new XAttribute("charset", "utf-8")),
                new XElement("meta", new XAttribute("name", "viewport"), new XAttribute("content", "width=device-width, initial-scale=1")),
                new XElement("title", title),
                new XElement("style", "\n" + ReportStyle.Sheet)),
            new XElement("body", new XElement("h1", title), content));
        var text = new StringBuilder("<!DOCTYPE html>\n");
        using (XmlWriter writer = XmlWriter.Create(text, new XmlWriterSettings { OmitXmlDeclaration = true, ConformanceLevel = ConformanceLevel.Fragment }))
            html.WriteTo(writer);
        return text.Append('\n').ToString();
    }

    /// <summary>A time as pages say it: seconds below a minute and a half, minutes below one hour and a half, then hours.</summary>
    internal static string Duration(double seconds) => seconds switch
    {
        < 90 => string.Create(CultureInfo.InvariantCulture, $"{seconds:0.0} s"),
        < 5400 => string.Create(CultureInfo.InvariantCulture, $"{seconds / 60:0.0} min"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{seconds / 3600:0.0} h"),
    };
}
