using System.Text;
using System.Text.Json;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// A JSON object as model configurations have it: numbers may also be bare <c>Infinity</c>, <c>-Infinity</c> or <c>NaN</c>, the same words in quotes,
/// <c>{"__float__": "Infinity"}</c>, or too large for a double, which counts as infinity. A property that is null counts as absent.
/// </summary>
public sealed class TolerantJson
{
    private static readonly string[] BareWords = ["-Infinity", "Infinity", "NaN"];

    private readonly string source;
    private readonly byte[] text;
    private readonly string[] path;

    private TolerantJson(string source, byte[] text, JsonElement root, string[] path)
    {
        this.source = source;
        this.text = text;
        this.path = path;
        Root = root;
    }

    /// <summary>The object, in which bare words have become strings.</summary>
    public JsonElement Root { get; }

    /// <summary>Reads a file that holds one JSON object.</summary>
    /// <exception cref="CheckpointException">The file cannot be read, or is not a JSON object; the message names the line.</exception>
    public static TolerantJson Read(string path)
    {
        try
        {
            return Parse(File.ReadAllText(path), path);
        }
        catch (Exception error) when (error is (IOException or UnauthorizedAccessException) and not CheckpointException)
        {
            throw new CheckpointException($"{path}: cannot be read: {error.Message}", error);
        }
    }

    /// <summary>Parses one JSON object.</summary>
    /// <param name="json">The text.</param>
    /// <param name="source">What messages begin with, usually the file.</param>
    /// <exception cref="CheckpointException">The text is not a JSON object; the message names the line.</exception>
    public static TolerantJson Parse(string json, string source)
    {
        byte[] text = Encoding.UTF8.GetBytes(QuoteBareWords(json));
        try
        {
            using JsonDocument document = JsonDocument.Parse(text, new JsonDocumentOptions { AllowDuplicateProperties = false });
            JsonElement root = document.RootElement.Clone();
            return root.ValueKind == JsonValueKind.Object
                ? new TolerantJson(source, text, root, [])
                : throw new CheckpointException($"{source}: line 1: a JSON object was expected; got {root.ValueKind}");
        }
        catch (JsonException error)
        {
            throw new CheckpointException($"{source}: line {(error.LineNumber ?? 0) + 1}: not valid JSON: {CheckpointException.Shown(error.Message)}", error);
        }
    }

    /// <summary>Whether the object has the property, and it is not null.</summary>
    public bool Has(string name) => Find(name) is not null;

    /// <summary>A property that is a number, or one of the ways to write an infinite one.</summary>
    /// <param name="name">The property.</param>
    /// <param name="fallback">What an absent property stands for; without it, absence is an error.</param>
    public double Number(string name, double? fallback = null) => Find(name) is { } value ? AsNumber(name, value) : fallback ?? throw Missing(name);

    /// <summary>A property that is an integer.</summary>
    /// <inheritdoc cref="Number"/>
    public int WholeNumber(string name, int? fallback = null) => Find(name) is not { } value ? fallback ?? throw Missing(name)
        : AsNumber(name, value) is double number && number == Math.Floor(number) && Math.Abs(number) <= int.MaxValue ? (int)number
        : throw Wrong(name, "an integer", value);

    /// <summary>A property that is true or false.</summary>
    /// <inheritdoc cref="Number"/>
    public bool Flag(string name, bool? fallback = null) => Find(name) is not { } value ? fallback ?? throw Missing(name)
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Wrong(name, "true or false", value);

    /// <summary>A property that is a string.</summary>
    /// <inheritdoc cref="Number"/>
    public string Text(string name, string? fallback = null) => Find(name) is not { } value ? fallback ?? throw Missing(name)
        : value.ValueKind == JsonValueKind.String ? AsText(name, value)
        : throw Wrong(name, "a string", value);

    /// <summary>A property that is an array of numbers, in which null stands for NaN; null where it is absent.</summary>
    public double[]? Numbers(string name) => Find(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Null ? double.NaN : AsNumber(name, item))]
        : throw Wrong(name, "an array of numbers", value);

    /// <summary>A property that is an array of strings; null where it is absent.</summary>
    public string[]? Texts(string name) => Find(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
            ? [.. value.EnumerateArray().Select(item => AsText(name, item))]
        : throw Wrong(name, "an array of strings", value);

    /// <summary>A property that is itself an object; null where it is absent.</summary>
    public TolerantJson? Section(string name) => Find(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.Object ? new TolerantJson(source, text, value, [.. path, name])
        : throw Wrong(name, "an object", value);

    /// <summary>An error about one property, which names the file, the line and the property.</summary>
    public CheckpointException Fault(string name, string what)
    {
        string full = CheckpointException.Shown(string.Join('.', [.. path, name]));
        return new CheckpointException(LineOf([.. path, name]) is { } line ? $"{source}: line {line}: {full} {what}" : $"{source}: {full} {what}");
    }

    private static string QuoteBareWords(string json)
    {
        var result = new StringBuilder(json.Length);
        for (int i = 0; i < json.Length; i++)
        {
            if (json[i] == '"')
            {
                int start = i++;
                while (i < json.Length && json[i] != '"')
                    i += json[i] == '\\' ? 2 : 1;
                result.Append(json, start, Math.Min(i + 1, json.Length) - start);
                continue;
            }
            string? word = BareWords.FirstOrDefault(word => json.AsSpan(i).StartsWith(word));
            if (word is null)
            {
                result.Append(json[i]);
                continue;
            }
            result.Append('"').Append(word).Append('"');
            i += word.Length - 1;
        }
        return result.ToString();
    }

    private JsonElement? Find(string name) => Root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private double AsNumber(string name, JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("__float__", out JsonElement inner) && inner.ValueKind != JsonValueKind.Object)
            value = inner;
        if (value.ValueKind == JsonValueKind.Number)
            return value.GetDouble();
        string word = value.ValueKind == JsonValueKind.String ? AsText(name, value) : "";
        return word switch
        {
            "Infinity" or "+Infinity" => double.PositiveInfinity,
            "-Infinity" => double.NegativeInfinity,
            "NaN" => double.NaN,
            _ => throw Wrong(name, "a number", value),
        };
    }

    private string AsText(string name, JsonElement value)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw Fault(name, "has half of a surrogate pair");
        }
    }

    private CheckpointException Missing(string name) => Fault(name, "is missing");

    private CheckpointException Wrong(string name, string expected, JsonElement value) => Fault(name, $"must be {expected}; got {CheckpointException.Shown(value.GetRawText())}");

    /// <summary>The line of a property, counted from 1. Properties are unique, so the first match at each depth is the one.</summary>
    private int? LineOf(string[] full)
    {
        var reader = new Utf8JsonReader(text);
        int matched = 0;
        while (reader.Read())
        {
            if (reader.TokenType != JsonTokenType.PropertyName || reader.CurrentDepth != matched + 1 || !reader.ValueTextEquals(full[matched]))
                continue;
            if (++matched == full.Length)
                return 1 + text.AsSpan(0, (int)reader.TokenStartIndex).Count((byte)'\n');
        }
        return null;
    }
}
