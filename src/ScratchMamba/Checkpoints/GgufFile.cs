using System.Buffers.Binary;
using System.Text;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>The type of a value in a GGUF file's metadata; the numbers are those of the format.</summary>
internal enum GgufValueType
{
    UInt8, Int8, UInt16, Int16, UInt32, Int32, Float32, Bool, Text, Array, UInt64, Int64, Float64,
}

/// <summary>
/// A GGUF file, version 2 or 3: metadata by key, then the name, shape, type and place of each tensor, then their bytes. All of it is checked when the file is opened;
/// arrays are read when asked for. Shapes are in row-major order, the reverse of the file's.
/// </summary>
public sealed class GgufFile : WeightSource
{
    /// <summary>The first four bytes: GGUF.</summary>
    internal const uint Magic = 0x46554747;

    internal const int DefaultAlignment = 32;

    private const int MostTensors = 1 << 20, MostValues = 1 << 16, MostTextBytes = 1 << 24, MostAxes = 4;

    private static readonly Dictionary<uint, StoredType> Types = new()
    {
        [0] = StoredType.F32, [1] = StoredType.F16, [2] = StoredType.Q4_0, [8] = StoredType.Q8_0, [12] = StoredType.Q4_K, [14] = StoredType.Q6_K,
        [26] = StoredType.I32, [27] = StoredType.I64, [28] = StoredType.F64, [30] = StoredType.BF16,
    };

    private readonly InputFile file;
    private readonly Dictionary<string, (StoredTensor Tensor, long Offset)> entries = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (GgufValueType Type, long Place)> values = new(StringComparer.Ordinal);
    private readonly List<string> names = [];
    private readonly long dataStart;

    /// <summary>Opens a file and checks what it says of itself.</summary>
    /// <exception cref="CheckpointException">It is damaged, of another version, or has a tensor of a type that is not supported.</exception>
    public GgufFile(string path)
    {
        Path = path;
        file = new InputFile(path);
        try
        {
            var reader = new Reader(this, 0);
            if (reader.UInt32() != Magic)
                throw Fault("is not a GGUF file");
            uint version = reader.UInt32();
            if (version is not (2 or 3))
                throw Fault((version & 0xFFFF) == 0 ? "is a GGUF file of a big-endian machine, which is not read" : $"is of version {version} of the format; 2 and 3 are read");
            long tensors = reader.Count(MostTensors, "tensors"), count = reader.Count(MostValues, "metadata values");
            for (long i = 0; i < count; i++)
                ReadValue(ref reader);
            for (long i = 0; i < tensors; i++)
                ReadTensor(ref reader);
            long alignment = Find("general.alignment") is null ? DefaultAlignment : WholeNumber("general.alignment");
            if (alignment is < 1 or > 1 << 20 || (alignment & (alignment - 1)) != 0)
                throw Fault($"its alignment {alignment} is not a power of two");
            dataStart = (reader.Position + alignment - 1) & -alignment;
            CheckLayout(alignment);
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
    public override IReadOnlyDictionary<string, string> Metadata => values.Where(value => value.Value.Type != GgufValueType.Array).ToDictionary(value => value.Key, value => Shown(value.Key), StringComparer.Ordinal);

    /// <inheritdoc/>
    public override IReadOnlyList<string> Names => names;

    /// <inheritdoc/>
    public override bool Contains(string name) => entries.ContainsKey(name);

    /// <inheritdoc/>
    public override StoredTensor Entry(string name) => entries.TryGetValue(name, out var entry)
        ? entry.Tensor
        : throw new CheckpointException($"{Path}: there is no tensor {CheckpointException.Shown(name)}");

    /// <summary>The type of a value, or null where there is none.</summary>
    internal GgufValueType? Find(string key) => values.TryGetValue(key, out var value) ? value.Type : null;

    /// <summary>An integer.</summary>
    /// <exception cref="CheckpointException">There is none of this name, or it is something else.</exception>
    internal long WholeNumber(string key, long? fallback = null)
    {
        if (Find(key) is null && fallback is { } given)
            return given;
        (GgufValueType type, Reader reader) = At(key);
        return type switch
        {
            GgufValueType.UInt8 or GgufValueType.Bool => reader.Byte(),
            GgufValueType.Int8 => (sbyte)reader.Byte(),
            GgufValueType.UInt16 => reader.UInt16(),
            GgufValueType.Int16 => (short)reader.UInt16(),
            GgufValueType.UInt32 => reader.UInt32(),
            GgufValueType.Int32 => (int)reader.UInt32(),
            GgufValueType.UInt64 or GgufValueType.Int64 => (long)reader.UInt64(),
            _ => throw Fault($"metadata {key} is {type}, not an integer"),
        };
    }

    /// <summary>A floating-point number.</summary>
    /// <inheritdoc cref="WholeNumber" path="/exception"/>
    internal double Number(string key)
    {
        (GgufValueType type, Reader reader) = At(key);
        return type switch
        {
            GgufValueType.Float32 => BitConverter.UInt32BitsToSingle(reader.UInt32()),
            GgufValueType.Float64 => BitConverter.UInt64BitsToDouble(reader.UInt64()),
            _ => WholeNumber(key),
        };
    }

    /// <summary>Text.</summary>
    /// <inheritdoc cref="WholeNumber" path="/exception"/>
    internal string Text(string key)
    {
        (GgufValueType type, Reader reader) = At(key);
        return type == GgufValueType.Text ? reader.Text() : throw Fault($"metadata {key} is {type}, not text");
    }

    /// <summary>An array of text.</summary>
    /// <inheritdoc cref="WholeNumber" path="/exception"/>
    internal string[] Texts(string key)
    {
        (Reader reader, int count) = ArrayOf(key, GgufValueType.Text);
        var texts = new string[count];
        for (int i = 0; i < count; i++)
            texts[i] = reader.Text();
        return texts;
    }

    /// <summary>An array of 32-bit integers.</summary>
    /// <inheritdoc cref="WholeNumber" path="/exception"/>
    internal int[] Integers(string key)
    {
        (Reader reader, int count) = ArrayOf(key, GgufValueType.Int32, GgufValueType.UInt32);
        var numbers = new int[count];
        for (int i = 0; i < count; i++)
            numbers[i] = (int)reader.UInt32();
        return numbers;
    }

    /// <summary>An array of 32-bit floating-point numbers.</summary>
    /// <inheritdoc cref="WholeNumber" path="/exception"/>
    internal float[] Singles(string key)
    {
        (Reader reader, int count) = ArrayOf(key, GgufValueType.Float32);
        var numbers = new float[count];
        for (int i = 0; i < count; i++)
            numbers[i] = BitConverter.UInt32BitsToSingle(reader.UInt32());
        return numbers;
    }

    /// <summary>The number that stands for a type in the file.</summary>
    internal static uint NumberOf(StoredType type) => Types.First(entry => entry.Value == type).Key;

    internal CheckpointException Fault(string what) => new($"{Path}: {what}");

    /// <inheritdoc/>
    protected internal override void ReadBytes(StoredTensor entry, long start, Span<byte> destination) => file.Read(dataStart + entries[entry.Name].Offset + start, destination);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => file.Dispose();

    private (GgufValueType Type, Reader Reader) At(string key) => values.TryGetValue(key, out var value)
        ? (value.Type, new Reader(this, value.Place))
        : throw Fault($"metadata {key} is missing");

    private (Reader Reader, int Count) ArrayOf(string key, params ReadOnlySpan<GgufValueType> allowed)
    {
        (GgufValueType type, Reader reader) = At(key);
        if (type != GgufValueType.Array)
            throw Fault($"metadata {key} is {type}, not an array");
        var items = (GgufValueType)reader.UInt32();
        long count = (long)reader.UInt64();
        if (!allowed.Contains(items))
            throw Fault($"metadata {key} is an array of {items}, not of {allowed[0]}");
        // That it lies within the file was seen when it was opened; items of text take at least eight bytes there.
        return (reader, checked((int)count));
    }

    private string Shown(string key) => values[key].Type switch
    {
        GgufValueType.Text => Text(key),
        GgufValueType.Float32 or GgufValueType.Float64 => Number(key).ToString(),
        _ => WholeNumber(key).ToString(),
    };

    private void ReadValue(ref Reader reader)
    {
        string key = reader.Text(1 << 16);
        uint number = reader.UInt32();
        var type = (GgufValueType)number;
        if (!Enum.IsDefined(type))
            throw Fault($"metadata {CheckpointException.Shown(key)} is of type {number}, which the format does not have");
        if (!values.TryAdd(key, (type, reader.Position)))
            throw Fault($"metadata {CheckpointException.Shown(key)} is given twice");
        if (type != GgufValueType.Array)
        {
            Skip(ref reader, type, 1, key);
            return;
        }
        uint itemNumber = reader.UInt32();
        var items = (GgufValueType)itemNumber;
        if (!Enum.IsDefined(items) || items == GgufValueType.Array)
            throw Fault($"metadata {CheckpointException.Shown(key)} is an array of type {itemNumber}, which is not supported");
        Skip(ref reader, items, reader.UInt64(), key);
    }

    private void Skip(ref Reader reader, GgufValueType type, ulong count, string key)
    {
        ulong size = type switch
        {
            GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Bool => 1,
            GgufValueType.UInt16 or GgufValueType.Int16 => 2,
            GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
            _ => 8,
        };
        if (count > (ulong)(file.Length - reader.Position) / size || count > int.MaxValue)
            throw Fault($"metadata {CheckpointException.Shown(key)} has {count:N0} items, more than the file; it is cut short or damaged");
        if (type != GgufValueType.Text)
        {
            reader.Skip((long)(size * count));
            return;
        }
        for (ulong i = 0; i < count; i++)
            reader.Skip(reader.TextLength(MostTextBytes));
    }

    private void ReadTensor(ref Reader reader)
    {
        string name = reader.Text(1 << 10);
        uint axes = reader.UInt32();
        if (axes > MostAxes)
            throw Fault(name, $"has {axes} axes; the format has at most {MostAxes}");
        var extents = new int[axes];
        for (int axis = extents.Length - 1; axis >= 0; axis--)
        {
            ulong extent = reader.UInt64();
            extents[axis] = extent <= int.MaxValue ? (int)extent : throw Fault(name, $"an extent of {extent} is too large");
        }
        uint number = reader.UInt32();
        ulong offset = reader.UInt64();
        if (!Types.TryGetValue(number, out StoredType type))
            throw Fault(name, $"is of GGML's type {number}, which is not one of {string.Join(", ", Types.Values)}");
        var tensor = new StoredTensor(name, type, new Shape(extents));
        if ((extents.Length == 0 ? 1 : extents[^1]) % type.BlockElements() != 0)
            throw Fault(name, $"its rows of {(extents.Length == 0 ? 1 : extents[^1])} elements are not whole blocks of {type}");
        try
        {
            if (offset > long.MaxValue || (long)offset > file.Length - tensor.Bytes)
                throw Fault(name, $"{type} {tensor.Shape} at {offset} lies outside the file; it is cut short or damaged");
        }
        catch (OverflowException)
        {
            throw Fault(name, $"its shape {tensor.Shape} has more elements than 64 bits count");
        }
        if (!entries.TryAdd(name, (tensor, (long)offset)))
            throw Fault(name, "is described twice");
        names.Add(name);
    }

    private void CheckLayout(long alignment)
    {
        long end = 0;
        foreach ((StoredTensor tensor, long offset) in entries.Values.OrderBy(entry => entry.Offset).ThenBy(entry => entry.Tensor.Bytes))
        {
            if (offset % alignment != 0)
                throw Fault(tensor.Name, $"its place {offset} is not a multiple of {alignment}");
            if (offset < end)
                throw Fault(tensor.Name, $"its place {offset} lies within the tensor before, which ends at {end}");
            end = offset + tensor.Bytes;
            if (end > file.Length - dataStart)
                throw Fault(tensor.Name, $"its end {end} lies outside the {Math.Max(0, file.Length - dataStart)} bytes of data; the file is cut short");
        }
    }

    private CheckpointException Fault(string tensor, string what) => Fault($"tensor {CheckpointException.Shown(tensor)}: {what}");

    /// <summary>Reads on from a place in the file, a block at a time.</summary>
    private struct Reader(GgufFile owner, long position)
    {
        private readonly byte[] block = new byte[4096];
        private long blockStart = -1;
        private int blockLength;

        public long Position { get; private set; } = position;

        public byte Byte() => Take(1)[0];

        public ushort UInt16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

        public uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

        public ulong UInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

        public long Count(int most, string what)
        {
            ulong count = UInt64();
            return count <= (ulong)most ? (long)count : throw owner.Fault($"claims {count:N0} {what}; the file is damaged");
        }

        public long TextLength(int most)
        {
            ulong length = UInt64();
            if (length > (ulong)most || (long)length > owner.file.Length - Position)
                throw owner.Fault($"has a text of {length:N0} bytes at {Position}; it is cut short or damaged");
            return (long)length;
        }

        public string Text(int most = MostTextBytes)
        {
            var bytes = new byte[TextLength(most)];
            for (int done = 0; done < bytes.Length;)
            {
                int part = Math.Min(block.Length, bytes.Length - done);
                Take(part).CopyTo(bytes.AsSpan(done));
                done += part;
            }
            return Encoding.UTF8.GetString(bytes);
        }

        public void Skip(long count) => Position += count <= owner.file.Length - Position ? count : throw owner.Fault("is cut short");

        private ReadOnlySpan<byte> Take(int count)
        {
            if (count > owner.file.Length - Position)
                throw owner.Fault("is cut short");
            if (blockStart < 0 || Position < blockStart || Position + count > blockStart + blockLength)
            {
                blockStart = Position;
                blockLength = (int)Math.Min(block.Length, owner.file.Length - Position);
                owner.file.Read(blockStart, block.AsSpan(0, blockLength));
            }
            Position += count;
            return block.AsSpan((int)(Position - count - blockStart), count);
        }
    }
}
