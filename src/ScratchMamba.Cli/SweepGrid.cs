using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ScratchMamba.Cli;

/// <summary>One training of a sweep.</summary>
/// <param name="Name">What tells it from the others, and the name of its folder.</param>
/// <param name="Values">Its values of what is varied.</param>
/// <param name="Arguments">Its options for the verb 'train'.</param>
internal sealed record SweepPoint(string Name, IReadOnlyDictionary<string, string> Values, IReadOnlyList<string> Arguments);

/// <summary>
/// The trainings of a sweep, as a file gives them: <c>{ "base": { "data": "book.txt", "steps": 500 }, "grid": { "lr": [1e-3, 2e-3], "state": [16, 64] } }</c>,
/// options of 'train' without their dashes; every combination of the grid's values is a training.
/// </summary>
internal sealed class SweepGrid
{
    private const int MostPoints = 10_000;

    // The sweep itself says what these are.
    private static readonly string[] Reserved = ["out", "resume", "threads", "find-lr", "trace"];

    private SweepGrid(JsonObject @base, IReadOnlyList<string> keys, IReadOnlyList<SweepPoint> points) => (Base, Keys, Points) = (@base, keys, points);

    /// <summary>What all trainings have in common.</summary>
    public JsonObject Base { get; }

    /// <summary>What is varied.</summary>
    public IReadOnlyList<string> Keys { get; }

    /// <summary>The trainings; of what is varied, the last changes fastest.</summary>
    public IReadOnlyList<SweepPoint> Points { get; }

    /// <summary>Reads a file.</summary>
    /// <exception cref="MisuseException">It is not such a file.</exception>
    public static SweepGrid Read(string path)
    {
        try
        {
            JsonObject json = JsonNode.Parse(File.ReadAllBytes(path), documentOptions: new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true }) as JsonObject ?? throw new JsonException("it is not an object");
            if (json.FirstOrDefault(entry => entry.Key is not ("base" or "grid")) is { Key: { } unknown })
                throw new JsonException($"there is no '{unknown}'; it has 'base' and 'grid'");
            JsonObject shared = json["base"] as JsonObject ?? [], grid = json["grid"] as JsonObject ?? throw new JsonException("it has no 'grid', an object of lists");
            foreach (string name in shared.Concat(grid).Select(entry => entry.Key))
            {
                if (Reserved.Contains(name))
                    throw new JsonException($"'{name}' is the sweep's own");
            }
            if (grid.FirstOrDefault(entry => shared.ContainsKey(entry.Key)) is { Key: { } twice })
                throw new JsonException($"'{twice}' is in 'base' and in 'grid'");
            return new SweepGrid(shared, [.. grid.Select(entry => entry.Key)], Combine(shared, grid));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or ArgumentException)
        {
            throw new MisuseException($"{path}: {error.Message}");
        }
    }

    private static List<SweepPoint> Combine(JsonObject shared, JsonObject grid)
    {
        string[] common = [.. shared.SelectMany(entry => Words(entry.Key, entry.Value))];
        List<SweepPoint> points = [new("", new Dictionary<string, string>(), common)];
        foreach ((string key, JsonNode? list) in grid)
        {
            if (list is not JsonArray { Count: > 0 } values)
                throw new JsonException($"'{key}' of the grid must be a list with something in it");
            if ((long)points.Count * values.Count > MostPoints)
                throw new JsonException($"it has more than {MostPoints:#,0} combinations");
            points = [.. from point in points
                         from value in values
                         let text = string.Join('+', Texts(key, value))
                         select new SweepPoint(
                             (point.Name.Length > 0 ? point.Name + "," : "") + FileName($"{key}={text}"),
                             new Dictionary<string, string>(point.Values) { [key] = text },
                             [.. point.Arguments, .. Words(key, value)])];
        }
        if (points.GroupBy(point => point.Name).FirstOrDefault(group => group.Count() > 1) is { } same)
            throw new JsonException($"{same.Key} is in the grid twice");
        return points;
    }

    /// <summary>An option as it stands on a command line. A flag that is false is left out.</summary>
    private static IEnumerable<string> Words(string name, JsonNode? value) => value is JsonValue flag && flag.GetValueKind() is JsonValueKind.True or JsonValueKind.False
        ? value!.GetValue<bool>() ? [$"--{name}"] : []
        : Texts(name, value).Select(text => $"--{name}={text}");

    private static IEnumerable<string> Texts(string name, JsonNode? value) => value switch
    {
        JsonArray list => list.SelectMany(item => Texts(name, item)),
        JsonValue => value.GetValueKind() switch
        {
            JsonValueKind.String => [value.GetValue<string>()],
            JsonValueKind.Number => [value.GetValue<double>().ToString("R", CultureInfo.InvariantCulture)],
            JsonValueKind.True => ["yes"],
            _ => ["no"],
        },
        _ => throw new JsonException($"'{name}' must be a number, a text, true, false, or a list of those"),
    };

    private static string FileName(string text) => string.Concat(text.Select(c => char.IsAsciiLetterOrDigit(c) || "=.,+-_".Contains(c) ? c : '_'));
}
