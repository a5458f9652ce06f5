using System.Buffers.Binary;
using System.Text.Json;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// A safetensors file: eight bytes that give the header's length, a JSON header with the type, shape and place of each tensor, then their bytes.
/// All of the header is checked when the file is opened; tensors are read when asked for, so files may be larger than memory.
/// </summary>
public sealed class SafetensorsFile : WeightSource
{
    /// <summary>The longest header that is read.</summary>
    public const int MaxHeaderBytes = 100_000_000;

    private static readonly StoredType[] Plain = [.. Enum.GetValues<StoredType>().Where(type => type.BlockElements() == 1)];

    private readonly InputFile file;
    private readonly long dataStart;
    private readonly Dictionary<string, (StoredTensor Tensor, long Begin, long End)> entries = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);
    private readonly List<string> names = [];

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="CheckpointException">The file cannot be opened, or its header is not a valid one for its length.</exception>
    public SafetensorsFile(string path)
    {
        Path = path;
        file = new InputFile(path);
        try
        {
            long length = file.Length;
            byte[] header = ReadHeader(length);
            dataStart = 8 + header.Length;
            ParseHeader(header);
            CheckLayout(length - dataStart);
        }
        catch
        {
            file.Dispose();
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
    public override bool Contains(string name) => entries.ContainsKey(name);

    /// <inheritdoc/>
    public override StoredTensor Entry(string name) => entries.TryGetValue(name, out var entry)
        ? entry.Tensor
        : throw new CheckpointException($"{Path}: there is no tensor {CheckpointException.Shown(name)}");

    /// <inheritdoc/>
    protected internal override void ReadBytes(StoredTensor entry, long start, Span<byte> destination) =>
        file.Read(dataStart + entries[entry.Name].Begin + start, destination);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => file.Dispose();

    private byte[] ReadHeader(long fileLength)
    {
        if (fileLength < 8)
            throw new CheckpointException($"{Path}: {fileLength} bytes are too short for a safetensors file");
        Span<byte> prefix = stackalloc byte[8];
        file.Read(0, prefix);
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > (ulong)(fileLength - 8))
            throw new CheckpointException($"{Path}: the header would have {length:N0} bytes, but the file has {fileLength:N0}; it is cut short, or not a safetensors file");
        if (length > MaxHeaderBytes)
            throw new CheckpointException($"{Path}: the header has {length:N0} bytes, more than the {MaxHeaderBytes:N0} allowed");
        var header = new byte[length];
        file.Read(8, header);
        return header;
    }

    private void ParseHeader(byte[] header)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(header);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException($"{Path}: the header is not a JSON object");
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                if (property.Name == "__metadata__")
                    ParseMetadata(property.Value);
                else
                    ParseEntry(property.Name, property.Value);
            }
        }
        // Text that is not UTF-8, or half of a surrogate pair, is noticed only when it is turned into a string.
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"{Path}: the header is not valid JSON: {error.Message}", error);
        }
    }

    private void ParseMetadata(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object)
            throw new CheckpointException($"{Path}: __metadata__ is not a JSON object");
        foreach (JsonProperty property in value.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String)
                throw new CheckpointException($"{Path}: __metadata__ value {CheckpointException.Shown(property.Name)} is not a string");
            if (!metadata.TryAdd(property.Name, property.Value.GetString()!))
                throw new CheckpointException($"{Path}: __metadata__ value {CheckpointException.Shown(property.Name)} is given twice");
        }
    }

    private void ParseEntry(string name, JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object)
            throw Fault(name, "its description is not a JSON object");
        JsonElement? type = null, shape = null, offsets = null;
        foreach (JsonProperty property in value.EnumerateObject())
        {
            switch (property.Name)
            {
                case "dtype":
                    Set(ref type);
                    break;
                case "shape":
                    Set(ref shape);
                    break;
                case "data_offsets":
                    Set(ref offsets);
                    break;
            }

            void Set(ref JsonElement? field) => field = field is null ? property.Value : throw Fault(name, $"{property.Name} is given twice");
        }
        if (type is null || shape is null || offsets is null)
            throw Fault(name, "its description lacks dtype, shape or data_offsets");
        string typeName = type.Value.ValueKind == JsonValueKind.String ? type.Value.GetString()! : type.Value.GetRawText();
        if (!Enum.TryParse(typeName, out StoredType stored) || !Plain.Contains(stored) || stored.ToString() != typeName)
            throw Fault(name, $"dtype {CheckpointException.Shown(typeName)} is not one of {string.Join(", ", Plain)}");
        StoredTensor tensor = new(name, stored, ParseShape(name, shape.Value));
        (long begin, long end) = ParseOffsets(name, offsets.Value);
        long bytes;
        try
        {
            bytes = tensor.Bytes;
        }
        catch (OverflowException)
        {
            throw Fault(name, $"its shape {tensor.Shape} has more elements than 64 bits count");
        }
        if (end - begin != bytes)
            throw Fault(name, $"{tensor.Type} {tensor.Shape} takes {bytes} bytes, but its offsets {begin} to {end} hold {end - begin}");
        if (!entries.TryAdd(name, (tensor, begin, end)))
            throw Fault(name, "is described twice");
    }

    private Shape ParseShape(string name, JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Array)
            throw Fault(name, "its shape is not an array");
        if (value.GetArrayLength() > Shape.MaxRank)
            throw Fault(name, $"its shape has {value.GetArrayLength()} axes; at most {Shape.MaxRank} are supported");
        var extents = new int[value.GetArrayLength()];
        for (int i = 0; i < extents.Length; i++)
        {
            if (value[i].ValueKind != JsonValueKind.Number || !value[i].TryGetInt32(out extents[i]) || extents[i] < 0)
                throw Fault(name, $"extent {CheckpointException.Shown(value[i].GetRawText())} of its shape is not an integer from 0 to {int.MaxValue}");
        }
        return new Shape(extents);
    }

    private (long Begin, long End) ParseOffsets(string name, JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() != 2
            || value[0].ValueKind != JsonValueKind.Number || !value[0].TryGetInt64(out long begin)
            || value[1].ValueKind != JsonValueKind.Number || !value[1].TryGetInt64(out long end) || begin < 0 || end < begin)
            throw Fault(name, $"data_offsets {CheckpointException.Shown(value.GetRawText())} are not two rising numbers");
        return (begin, end);
    }

    /// <summary>Tensors lie one after another and fill the data exactly.</summary>
    private void CheckLayout(long dataLength)
    {
        long position = 0;
        foreach ((StoredTensor tensor, long begin, long end) in entries.Values.OrderBy(entry => entry.Begin).ThenBy(entry => entry.End))
        {
            if (end > dataLength)
                throw Fault(tensor.Name, $"its offsets {begin} to {end} lie outside the {dataLength} bytes of data; the file is cut short");
            if (begin < position)
                throw Fault(tensor.Name, $"its offsets {begin} to {end} overlap the tensor before, which ends at {position}");
            if (begin > position)
                throw Fault(tensor.Name, $"there is a gap of {begin - position} bytes before its offset {begin}");
            position = end;
            names.Add(tensor.Name);
        }
        if (position != dataLength)
            throw new CheckpointException($"{Path}: {dataLength - position} bytes follow the last tensor");
    }

    private CheckpointException Fault(string tensor, string what) => new($"{Path}: tensor {CheckpointException.Shown(tensor)}: {what}");
}
