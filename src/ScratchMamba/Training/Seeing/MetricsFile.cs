using System.Buffers;
using System.Text;
using System.Text.Json;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Training.Seeing;

/// <summary>What was noted of a step.</summary>
/// <param name="Step">Its number.</param>
public sealed record MetricsRow(long Step)
{
    /// <summary>Numbers by their names; those that are not finite are left out.</summary>
    public IReadOnlyDictionary<string, double> Values { get; init; } = new Dictionary<string, double>();

    /// <summary>Texts by their names.</summary>
    public IReadOnlyDictionary<string, string> Texts { get; init; } = new Dictionary<string, string>();

    /// <summary>A number; not a number where it was not noted.</summary>
    public double this[string name] => Values.GetValueOrDefault(name, double.NaN);
}

/// <summary>The metrics of a run as JSON lines, an object for each note. A line is on its way to the disk as soon as it is written, and a torn one at the end does no harm.</summary>
public sealed class MetricsFile : IDisposable
{
    /// <summary>The name of the file in a run's folder.</summary>
    public const string Name = "metrics.jsonl";

    /// <summary>The mean loss of the step's batches, in nats per token.</summary>
    public const string Loss = "loss";

    /// <summary>The factor that gradients were made with, where float16 needs one.</summary>
    public const string LossScale = "loss_scale";

    /// <summary>The forgetting penalty.</summary>
    public const string Penalty = "penalty";

    /// <summary>The learning rate.</summary>
    public const string LearningRate = "learning_rate";

    /// <summary>The norm of all gradients together, before clipping.</summary>
    public const string GradientNorm = "gradient_norm";

    /// <summary>How far the update moved all weights together.</summary>
    public const string UpdateNorm = "update_norm";

    /// <summary>The norm of all weights together.</summary>
    public const string ParameterNorm = "parameter_norm";

    /// <summary>The gradient noise scale, in rows.</summary>
    public const string NoiseScale = "noise_scale";

    /// <summary>Tokens read so far.</summary>
    public const string Tokens = "tokens";

    /// <summary>The speed of the step.</summary>
    public const string Speed = "tokens_per_second";

    /// <summary>The share of the step's time in which it waited for data.</summary>
    public const string Waiting = "waiting_share";

    /// <summary>The most bytes of tensors at any time until now.</summary>
    public const string Memory = "memory_bytes";

    /// <summary>The bytes of the host's memory that the process has.</summary>
    public const string Resident = "resident_bytes";

    /// <summary>Seconds of training until now, over all times the run was started.</summary>
    public const string Seconds = "seconds";

    /// <summary>The held-out loss, in nats per token.</summary>
    public const string HeldOut = "held_out_loss";

    /// <summary>What a sample goes on from.</summary>
    public const string Prompt = "prompt";

    /// <summary>What the model wrote.</summary>
    public const string Sample = "sample";

    /// <summary>Something worth a line.</summary>
    public const string Notice = "notice";

    private readonly FileStream stream;

    /// <summary>Goes on with a run's metrics, without those of steps after <paramref name="lastStep"/>.</summary>
    /// <exception cref="CheckpointException">The file cannot be written.</exception>
    public MetricsFile(string folder, long lastStep)
    {
        string path = Path.Combine(folder, Name);
        MetricsRow[] before = [.. Read(folder)];
        Last = before.LastOrDefault(row => row.Step <= lastStep && row.Values.ContainsKey(Tokens));
        if (lastStep > 0 && before.All(row => row.Step <= lastStep) && EndsWithLine(path))
        {
            stream = Open(path);
            return;
        }
        AtomicFile.Write(path, target =>
        {
            foreach (MetricsRow row in before.Where(row => row.Step <= lastStep && lastStep > 0))
                target.Write(Line(row));
        });
        stream = Open(path);
    }

    /// <summary>The row of the last step that was there before; null for none.</summary>
    public MetricsRow? Last { get; }

    /// <summary>Adds a line.</summary>
    public void Write(MetricsRow row)
    {
        stream.Write(Line(row));
    }

    /// <summary>What was noted of a run, in order; lines that are damaged are left out.</summary>
    public static IEnumerable<MetricsRow> Read(string folder)
    {
        string path = Path.Combine(folder, Name);
        if (!File.Exists(path))
            yield break;
        using var reader = new StreamReader(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete), Encoding.UTF8);
        while (reader.ReadLine() is { } line)
        {
            if (Parse(line) is { } row)
                yield return row;
        }
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => stream.Dispose();

    private static FileStream Open(string path) => new(path, FileMode.Append, FileAccess.Write, FileShare.Read | FileShare.Delete, bufferSize: 0);

    private static bool EndsWithLine(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        return file.Length > 0 && file.Seek(-1, SeekOrigin.End) >= 0 && file.ReadByte() == '\n';
    }

    private static byte[] Line(MetricsRow row)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteNumber("step", row.Step);
            foreach ((string name, double value) in row.Values)
            {
                // JSON has no infinity and nothing that is not a number.
                if (double.IsFinite(value))
                    json.WriteNumber(name, value);
            }
            foreach ((string name, string text) in row.Texts)
                json.WriteString(name, text);
            json.WriteEndObject();
        }
        return [.. bytes.WrittenSpan, (byte)'\n'];
    }

    private static MetricsRow? Parse(string line)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(line);
            var values = new Dictionary<string, double>();
            var texts = new Dictionary<string, string>();
            foreach (JsonProperty property in json.RootElement.EnumerateObject())
            {
                if (property.Value.ValueKind == JsonValueKind.Number)
                    values[string.Intern(property.Name)] = property.Value.GetDouble();
                else if (property.Value.ValueKind == JsonValueKind.String)
                    texts[string.Intern(property.Name)] = property.Value.GetString()!;
            }
            return values.Remove("step", out double step) ? new MetricsRow((long)step) { Values = values, Texts = texts } : null;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
