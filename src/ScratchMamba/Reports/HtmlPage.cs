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
}
