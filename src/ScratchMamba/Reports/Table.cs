using System.Text;
using System.Text.Json;

namespace ScratchMamba.Reports;

/// <summary>Results in rows: what a figure was drawn from. Cells are text, numbers or null.</summary>
/// <param name="name">The name of its files.</param>
/// <param name="columns">The columns' names.</param>
public sealed class Table(string name, params string[] columns)
{
    private readonly List<object?[]> rows = [];

    /// <summary>The name of its files.</summary>
    public string Name => name;

    /// <summary>The columns' names.</summary>
    public IReadOnlyList<string> Columns => columns;

    /// <summary>The rows.</summary>
    public IReadOnlyList<IReadOnlyList<object?>> Rows => rows;

    /// <summary>Adds a row.</summary>
    /// <exception cref="ArgumentException">It does not have a cell for every column.</exception>
    public void Add(params object?[] cells)
    {
        if (cells.Length != columns.Length)
            throw new ArgumentException($"The table {name} has {columns.Length} columns; a row of {cells.Length} does not fit.");
        rows.Add(cells);
    }

    /// <summary>The table as comma-separated values, with quotes where a cell needs them (RFC 4180).</summary>
    public string ToCsv()
    {
        var text = new StringBuilder();
        foreach (IEnumerable<object?> row in rows.Prepend(columns))
            text.AppendJoin(',', row.Select(Cell)).Append("\r\n");
        return text.ToString();
    }

    /// <summary>Writes an array with an object for each row.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteStartArray();
        foreach (object?[] row in rows)
        {
            json.WriteStartObject();
            for (int i = 0; i < columns.Length; i++)
            {
                json.WritePropertyName(columns[i]);
                switch (row[i])
                {
                    // JSON has no infinity and nothing that is not a number.
                    case double number when double.IsFinite(number): json.WriteNumberValue(number); break;
                    case int number: json.WriteNumberValue(number); break;
                    case long number: json.WriteNumberValue(number); break;
                    case bool flag: json.WriteBooleanValue(flag); break;
                    case string text: json.WriteStringValue(text); break;
                    default: json.WriteNullValue(); break;
                }
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static string Cell(object? value)
    {
        string text = value switch { null => "", double number => double.IsFinite(number) ? number.ToString("R") : "", bool flag => flag ? "true" : "false", _ => value.ToString()! };
        return text.AsSpan().IndexOfAny(",\"\r\n") < 0 ? text : $"\"{text.Replace("\"", "\"\"")}\"";
    }
}
