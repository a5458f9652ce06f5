using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Studies.Laboratory;

/// <summary>
/// Finished work in a folder, found again by its settings: a study that was stopped goes on where it was, and one that is run again with other settings repeats only what they change.
/// </summary>
/// <param name="folder">The folder; it is made when something is kept.</param>
public sealed class Store(string folder)
{
    /// <summary>The folder.</summary>
    public string Folder => folder;

    /// <summary>Where the model of a plan is, or will be.</summary>
    public string ModelFolder(TrainingPlan plan) => Path.Combine(folder, "models", $"T{plan.Length}-N{plan.Config.StateSize}-seed{plan.Seed}-{Hash(plan.Settings)}");

    /// <summary>Where the model of a plan after some of its steps is, or will be.</summary>
    public string ModelFolder(TrainingPlan plan, int step) => $"{ModelFolder(plan)}-step{step}";

    /// <summary>The note beside a finished model, written last: where it is, the model is whole.</summary>
    public string NoteOf(TrainingPlan plan) => Path.Combine(ModelFolder(plan), "training.json");

    /// <summary>Where a result is, or will be.</summary>
    public string ResultFile(string settings) => Path.Combine(folder, "results", $"{Hash(settings)}.json");

    /// <summary>Reads a result.</summary>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    public T Read<T>(string settings, JsonTypeInfo<T> type)
    {
        using FileStream file = File.OpenRead(ResultFile(settings));
        using JsonDocument document = JsonDocument.Parse(file);
        return document.RootElement.GetProperty("value").Deserialize(type)!;
    }

    /// <summary>How long a result took, in seconds.</summary>
    public double Seconds(string settings) => NumberIn(ResultFile(settings), "seconds");

    /// <summary>How long a model took, in seconds.</summary>
    public double Seconds(TrainingPlan plan) => NumberIn(NoteOf(plan), "seconds");

    /// <summary>The most bytes that tensors took while a model was trained.</summary>
    public double PeakBytes(TrainingPlan plan) => NumberIn(NoteOf(plan), "peak_bytes");

    /// <summary>The SHA-256 of a model's weights, as it was when they were written; empty for one of before this was kept.</summary>
    public string HashOf(TrainingPlan plan)
    {
        using FileStream file = File.OpenRead(NoteOf(plan));
        using JsonDocument document = JsonDocument.Parse(file);
        return document.RootElement.TryGetProperty("sha256", out JsonElement hash) ? hash.GetString()! : "";
    }

    /// <summary>The SHA-256 of the weights in a folder.</summary>
    public static string HashOf(string modelFolder)
    {
        using FileStream weights = File.OpenRead(Path.Combine(modelFolder, "model.safetensors"));
        return Convert.ToHexStringLower(SHA256.HashData(weights));
    }

    /// <summary>Keeps a result.</summary>
    public void Write<T>(string settings, T value, double seconds, JsonTypeInfo<T> type)
    {
        string path = ResultFile(settings);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        AtomicFile.Write(path, stream =>
        {
            using var json = new Utf8JsonWriter(stream);
            json.WriteStartObject();
            json.WriteString("settings", settings);
            json.WriteNumber("seconds", seconds);
            json.WritePropertyName("value");
            JsonSerializer.Serialize(json, value, type);
            json.WriteEndObject();
        });
    }

    private static double NumberIn(string path, string name)
    {
        using FileStream file = File.OpenRead(path);
        using JsonDocument document = JsonDocument.Parse(file);
        return document.RootElement.GetProperty(name).GetDouble();
    }

    private static string Hash(string settings) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(settings)))[..12];
}
