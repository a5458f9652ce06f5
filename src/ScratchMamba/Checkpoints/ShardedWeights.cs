using System.Text.Json;

namespace ScratchMamba.Checkpoints;

/// <summary>Several files of weights in one folder, and the index that says which of them holds which tensor.</summary>
public sealed class ShardedWeights : WeightSource
{
    private readonly Dictionary<string, WeightSource> shards = new(StringComparer.Ordinal);
    private readonly Dictionary<string, WeightSource> places = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);
    private readonly List<string> names = [];

    /// <summary>Opens an index and every file it names.</summary>
    /// <exception cref="CheckpointException">The index or a file is damaged, or a file lacks a tensor that the index places there.</exception>
    public ShardedWeights(string indexPath)
    {
        Path = indexPath;
        try
        {
            JsonElement root = TolerantJson.Read(indexPath).Root;
            if (root.TryGetProperty("metadata", out JsonElement values) && values.ValueKind == JsonValueKind.Object)
            {
                foreach (JsonProperty property in values.EnumerateObject())
                    metadata[property.Name] = property.Value.ToString();
            }
            if (!root.TryGetProperty("weight_map", out JsonElement map) || map.ValueKind != JsonValueKind.Object)
                throw new CheckpointException($"{Path}: there is no weight_map");
            foreach (JsonProperty property in map.EnumerateObject())
                Place(property.Name, property.Value);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override string Path { get; }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <inheritdoc/>
    public override IReadOnlyList<string> Names => names;

    /// <inheritdoc/>
    public override bool Contains(string name) => places.ContainsKey(name);

    /// <inheritdoc/>
    public override StoredTensor Entry(string name) => places.TryGetValue(name, out WeightSource? shard)
        ? shard.Entry(name)
        : throw new CheckpointException($"{Path}: there is no tensor {CheckpointException.Shown(name)}");

    /// <inheritdoc/>
    protected internal override void ReadBytes(StoredTensor entry, long start, Span<byte> destination) => places[entry.Name].ReadBytes(entry, start, destination);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        foreach (WeightSource shard in shards.Values)
            shard.Dispose();
    }

    private void Place(string name, JsonElement value)
    {
        string file = value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
        // Nothing outside the folder is opened, whatever the index says.
        if (file.Length == 0 || file is "." or ".." || file.IndexOfAny(['/', '\\', ':', '\0']) >= 0)
            throw new CheckpointException($"{Path}: tensor {CheckpointException.Shown(name)}: {CheckpointException.Shown(value.GetRawText())} is not the name of a file in this folder");
        if (!shards.TryGetValue(file, out WeightSource? shard))
            shards.Add(file, shard = OpenFile(System.IO.Path.Combine(System.IO.Path.GetDirectoryName(Path) ?? "", file)));
        if (!shard.Contains(name))
            throw new CheckpointException($"{Path}: tensor {CheckpointException.Shown(name)} should be in {file}, but is not");
        places.Add(name, shard);
        names.Add(name);
    }
}
