using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>Writes safetensors files, one tensor after another, so that never more than one is in the host's memory.</summary>
public static class SafetensorsWriter
{
    /// <summary>The size above which a checkpoint is divided into several files: 5 GB.</summary>
    public const long DefaultShardBytes = 5_000_000_000;

    /// <summary>Writes one file, whole or not at all (see <see cref="AtomicFile"/>); tensors are stored in the order given.</summary>
    /// <exception cref="ArgumentException">Two tensors have one name, or a tensor wrote more or fewer bytes than its type has.</exception>
    /// <exception cref="CheckpointException">The disk is full, or the folder cannot be written to.</exception>
    public static void Write(string path, IReadOnlyList<WeightToSave> weights, IReadOnlyDictionary<string, string>? metadata = null)
    {
        byte[] header = Header(weights, metadata);
        AtomicFile.Write(path, stream =>
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (WeightToSave weight in weights)
            {
                long start = stream.Position;
                weight.Write(stream);
                if (stream.Position - start != weight.Bytes)
                    throw new ArgumentException($"{weight.Name}, {weight.Type} {weight.Shape}, has {weight.Bytes} bytes; {stream.Position - start} were written.", nameof(weights));
            }
        });
    }

    /// <summary>
    /// Writes <c>model.safetensors</c>, or, where the tensors take more than <paramref name="shardBytes"/>, files <c>model-00001-of-0000N.safetensors</c> of at most
    /// that size (a larger tensor has its own) and <c>model.safetensors.index.json</c>. Into a folder without weights, such as <see cref="AtomicFolder"/> gives.
    /// </summary>
    /// <exception cref="ArgumentException">Two tensors have one name.</exception>
    /// <exception cref="CheckpointException">The folder holds weights already, or cannot be written to.</exception>
    public static void WriteFolder(
        string folder, IReadOnlyList<WeightToSave> weights, IReadOnlyDictionary<string, string>? metadata = null, long shardBytes = DefaultShardBytes)
    {
        CheckNames(weights);
        string single = Path.Combine(folder, WeightSource.SingleFile), index = Path.Combine(folder, WeightSource.IndexFile);
        if (File.Exists(single) || File.Exists(index))
            throw new CheckpointException($"{folder}: the folder holds weights already; write a new one, and let AtomicFolder replace the old");
        List<List<WeightToSave>> shards = Divide(weights, shardBytes);
        if (shards.Count == 1)
        {
            Write(single, weights, metadata);
            return;
        }
        var names = new string[shards.Count];
        for (int i = 0; i < names.Length; i++)
        {
            names[i] = $"model-{i + 1:D5}-of-{names.Length:D5}.safetensors";
            Write(Path.Combine(folder, names[i]), shards[i], metadata);
        }
        // Last, so that it never names a file that is not there yet.
        AtomicFile.Write(index, stream => WriteIndex(stream, shards, names));
    }

    private static List<List<WeightToSave>> Divide(IReadOnlyList<WeightToSave> weights, long shardBytes)
    {
        var shards = new List<List<WeightToSave>> { new() };
        long size = 0;
        foreach (WeightToSave weight in weights)
        {
            if (shards[^1].Count > 0 && size + weight.Bytes > shardBytes)
            {
                shards.Add([]);
                size = 0;
            }
            shards[^1].Add(weight);
            size += weight.Bytes;
        }
        return shards;
    }

    private static void WriteIndex(Stream stream, List<List<WeightToSave>> shards, string[] names)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteStartObject("metadata");
        json.WriteNumber("total_size", shards.Sum(shard => shard.Sum(weight => weight.Bytes)));
        json.WriteEndObject();
        json.WriteStartObject("weight_map");
        for (int i = 0; i < names.Length; i++)
        {
            foreach (WeightToSave weight in shards[i])
                json.WriteString(weight.Name, names[i]);
        }
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static byte[] Header(IReadOnlyList<WeightToSave> weights, IReadOnlyDictionary<string, string>? metadata)
    {
        CheckNames(weights);
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (WeightToSave weight in weights)
            {
                json.WriteStartObject(weight.Name);
                json.WriteString("dtype", weight.Type.ToString());
                json.WriteStartArray("shape");
                foreach (int extent in weight.Shape)
                    json.WriteNumberValue(extent);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += weight.Bytes);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        // The data begins at a multiple of eight bytes.
        int padding = -buffer.WrittenCount & 7;
        buffer.GetSpan(8)[..padding].Fill((byte)' ');
        buffer.Advance(padding);
        return buffer.WrittenSpan.ToArray();
    }

    private static void CheckNames(IReadOnlyList<WeightToSave> weights)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (WeightToSave weight in weights)
        {
            if (weight.Name == "__metadata__" || !seen.Add(weight.Name))
                throw new ArgumentException($"A checkpoint cannot hold two tensors named {weight.Name}, nor one named __metadata__.", nameof(weights));
        }
    }
}
