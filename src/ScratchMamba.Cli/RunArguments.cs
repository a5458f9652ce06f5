using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Cli;

/// <summary>What a training was told, kept in the <c>run.json</c> of its folder, so that going on with it takes no more than its folder.</summary>
internal static class RunArguments
{
    public const string FileName = "run.json";

    /// <summary>The same command line with the options that the training in a folder had, where none are given now.</summary>
    /// <exception cref="CheckpointException">The folder has no training, or its file is damaged.</exception>
    public static ParseResult Merged(ParseResult parsed, Command verb, string folder)
    {
        string path = Path.Combine(folder, FileName);
        var recorded = new Dictionary<string, string[]>(StringComparer.Ordinal);
        try
        {
            foreach ((string name, JsonNode? values) in JsonNode.Parse(File.ReadAllBytes(path))!["options"]!.AsObject())
                recorded[name] = [.. values!.AsArray().Select(value => value!.GetValue<string>())];
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CheckpointException($"{folder}: there is no training to resume", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or NullReferenceException)
        {
            throw new CheckpointException($"{path}: is damaged: {error.Message}", error);
        }
        foreach ((string name, string[] values) in Given(parsed, verb))
            recorded[name] = values;
        string[] args = [verb.Name, .. recorded.SelectMany(item => item.Value.Length == 0 ? [item.Key] : item.Value.Select(value => $"{item.Key}={value}"))];
        ParseResult merged = parsed.RootCommandResult.Command.Parse(args, parsed.Configuration);
        return merged.Errors.Count == 0 ? merged : throw new CheckpointException($"{path}: {merged.Errors[0].Message}");
    }

    /// <summary>Keeps what a training is told.</summary>
    public static void Save(ParseResult parsed, Command verb, string folder)
    {
        var options = new JsonObject();
        foreach ((string name, string[] values) in Given(parsed, verb))
            options[name] = new JsonArray([.. values.Select(value => (JsonNode)value)]);
        AtomicFile.Write(Path.Combine(folder, FileName), stream =>
        {
            using var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
            new JsonObject { ["options"] = options }.WriteTo(writer);
        });
    }

    /// <summary>The options that were given, but for the one that says to go on.</summary>
    private static IEnumerable<(string Name, string[] Values)> Given(ParseResult parsed, Command verb) =>
        from option in verb.Options
        let result = parsed.GetResult(option)
        where result is { Implicit: false } && option.Name != "--resume"
        select (option.Name, result.Tokens.Select(token => token.Value).ToArray());
}
