using System.Buffers;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace ScratchMamba.Checkpoints;

/// <summary>Named tensors in storage, whatever the file format: what is there, and its elements in the type that the caller wants.</summary>
public abstract class WeightSource : IDisposable
{
    /// <summary>The name of a single file of weights in a checkpoint's folder.</summary>
    public const string SingleFile = "model.safetensors";

    /// <summary>The name of the file that says which shard holds which tensor.</summary>
    public const string IndexFile = "model.safetensors.index.json";

    private const int BlockBytes = 1 << 16;

    /// <summary>Where the tensors come from; what messages begin with.</summary>
    public abstract string Path { get; }

    /// <summary>Free text that was stored beside the tensors.</summary>
    public abstract IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The names of all tensors, in the order they are stored in.</summary>
    public abstract IReadOnlyList<string> Names { get; }

    /// <summary>Opens a file of weights of any supported format, a shard index, or the folder that holds one of them. The content decides, not the name.</summary>
    /// <exception cref="CheckpointException">There is no such file, or it is damaged.</exception>
    public static WeightSource Open(string path)
    {
        if (Directory.Exists(path))
            path = FindIn(path);
        // A safetensors header begins after eight bytes of length, an index with its brace at once.
        return InputFile.Beginning(path, 9) is [(byte)'{', ..] and not [_, _, _, _, _, _, _, _, (byte)'{'] ? new ShardedWeights(path) : OpenFile(path);
    }

    /// <summary>Opens one file of weights of any supported format.</summary>
    internal static WeightSource OpenFile(string path) => InputFile.Beginning(path, 9) switch
    {
        // As the length of a safetensors header that would be a gigabyte, more than is allowed.
        [(byte)'G', (byte)'G', (byte)'U', (byte)'F', ..] => new GgufFile(path),
        // Any other magic number may be the length of a header.
        [_, _, _, _, _, _, _, _, (byte)'{'] => new SafetensorsFile(path),
        [(byte)'P', (byte)'K', 3 or 5, 4 or 6, ..] => new TorchFile(path),
        // A pickle: how PyTorch saved before version 1.6.
        [0x80, >= 2 and <= 5, ..] => throw new CheckpointException($"{path}: is a file of PyTorch before 1.6, which is not read; save it again with a newer version"),
        _ => new SafetensorsFile(path),
    };

    private static string FindIn(string folder)
    {
        string[] known = [SingleFile, IndexFile, "pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.safetensors"];
        if (known.Select(name => System.IO.Path.Combine(folder, name)).FirstOrDefault(File.Exists) is { } found)
            return found;
        string[] others = Directory.GetFiles(folder, "*.gguf");
        return others.Length == 1 ? others[0] : throw new CheckpointException($"{folder}: the folder holds neither {string.Join(" nor ", known)} nor one .gguf file");
    }

    /// <summary>Whether there is a tensor of this name.</summary>
    public abstract bool Contains(string name);

    /// <summary>What is known of a tensor without reading it.</summary>
    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public abstract StoredTensor Entry(string name);

    /// <summary>
    /// Reads a tensor's elements in row-major order, converted to <typeparamref name="T"/>: float or double from any stored floating-point type,
    /// int from either integer type.
    /// </summary>
    /// <exception cref="CheckpointException">There is no such tensor, its type does not convert, an integer does not fit, or the file ended early.</exception>
    /// <exception cref="ArgumentException">The length of <paramref name="destination"/> is not the number of elements.</exception>
    public void Read<T>(string name, Span<T> destination) where T : unmanaged
    {
        StoredTensor entry = Entry(name);
        if (destination.Length != entry.Count)
            throw new ArgumentException($"Tensor {name} has {entry.Count} elements; there is room for {destination.Length}.", nameof(destination));
        bool integers = entry.Type is StoredType.I32 or StoredType.I64;
        if (integers != (typeof(T) == typeof(int)) || (!integers && typeof(T) != typeof(float) && typeof(T) != typeof(double)))
            throw new CheckpointException($"{Path}: tensor {CheckpointException.Shown(name)} holds {entry.Type}, which is not read as {typeof(T).Name}");
        if (BitConverter.IsLittleEndian && typeof(T) == typeof(float) && entry.Type == StoredType.F32)
        {
            ReadPlain(entry, MemoryMarshal.Cast<T, float>(destination));
            return;
        }
        int elements = entry.Type.BlockElements(), size = entry.Type.BlockBytes(), perBlock = BlockBytes / size * elements;
        byte[] block = ArrayPool<byte>.Shared.Rent(BlockBytes);
        try
        {
            for (int start = 0; start < destination.Length; start += perBlock)
            {
                Span<T> part = destination.Slice(start, Math.Min(perBlock, destination.Length - start));
                Span<byte> bytes = block.AsSpan(0, part.Length / elements * size);
                ReadBytes(entry, (long)start / elements * size, bytes);
                Convert(entry, bytes, part);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(block);
        }
    }

    /// <summary>A tensor's elements as doubles.</summary>
    /// <inheritdoc cref="Read{T}(string, Span{T})" path="/exception"/>
    public double[] ReadDoubles(string name) => ReadArray<double>(name);

    /// <summary>A tensor's elements as floats, rounded to nearest where they are stored as F64.</summary>
    /// <inheritdoc cref="Read{T}(string, Span{T})" path="/exception"/>
    public float[] ReadFloats(string name) => ReadArray<float>(name);

    /// <summary>A tensor's elements as integers.</summary>
    /// <inheritdoc cref="Read{T}(string, Span{T})" path="/exception"/>
    public int[] ReadInts(string name) => ReadArray<int>(name);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the files.</summary>
    protected abstract void Dispose(bool disposing);

    /// <summary>Reads stored bytes of a tensor, in row-major order, little-endian, from byte <paramref name="start"/> of the tensor on.</summary>
    protected internal abstract void ReadBytes(StoredTensor entry, long start, Span<byte> destination);

    /// <summary>Writes a tensor's bytes as they are stored, a block at a time.</summary>
    internal void CopyTo(StoredTensor entry, Stream target)
    {
        var bytes = new byte[BlockBytes];
        for (long start = 0; start < entry.Bytes; start += bytes.Length)
        {
            Span<byte> part = bytes.AsSpan(0, (int)Math.Min(bytes.Length, entry.Bytes - start));
            ReadBytes(entry, start, part);
            target.Write(part);
        }
    }

    /// <summary>Values that are stored as they are wanted go straight to their place.</summary>
    private void ReadPlain(StoredTensor entry, Span<float> destination)
    {
        // In pieces: more than 2 GiB of bytes do not fit one span.
        const int Piece = 1 << 28;
        for (int start = 0; start < destination.Length; start += Piece)
        {
            Span<float> part = destination.Slice(start, Math.Min(Piece, destination.Length - start));
            ReadBytes(entry, (long)start * sizeof(float), MemoryMarshal.AsBytes(part));
        }
    }

    private T[] ReadArray<T>(string name) where T : unmanaged
    {
        long count = Entry(name).Count;
        if (count > Array.MaxLength)
            throw new CheckpointException($"{Path}: tensor {CheckpointException.Shown(name)} has {count:N0} elements, more than an array holds");
        var values = new T[count];
        Read<T>(name, values);
        return values;
    }

    private void Convert<T>(StoredTensor entry, Span<byte> bytes, Span<T> values) where T : unmanaged
    {
        if (entry.Type.BlockElements() == 1)
            ToNativeOrder(bytes, entry.Type.BlockBytes());
        if (typeof(T) == typeof(float))
            Convert(entry.Type, bytes, MemoryMarshal.Cast<T, float>(values));
        else if (typeof(T) == typeof(double))
            Convert(entry.Type, bytes, MemoryMarshal.Cast<T, double>(values));
        else
            Convert(entry, bytes, MemoryMarshal.Cast<T, int>(values));
    }

    private static void Convert(StoredType type, Span<byte> bytes, Span<float> values)
    {
        switch (type)
        {
            case StoredType.F32:
                bytes.CopyTo(MemoryMarshal.AsBytes(values));
                break;
            case StoredType.F64:
                TensorPrimitives.ConvertTruncating<double, float>(MemoryMarshal.Cast<byte, double>(bytes), values);
                break;
            case StoredType.F16:
                TensorPrimitives.ConvertTruncating<Half, float>(MemoryMarshal.Cast<byte, Half>(bytes), values);
                break;
            case not StoredType.BF16:
                Quantization.Expand(type, bytes, values);
                break;
            default:
                ReadOnlySpan<ushort> halves = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (int i = 0; i < values.Length; i++)
                    values[i] = BitConverter.UInt32BitsToSingle((uint)halves[i] << 16);
                break;
        }
    }

    private static void Convert(StoredType type, Span<byte> bytes, Span<double> values)
    {
        if (type == StoredType.F64)
        {
            bytes.CopyTo(MemoryMarshal.AsBytes(values));
            return;
        }
        float[] singles = ArrayPool<float>.Shared.Rent(values.Length);
        Convert(type, bytes, singles.AsSpan(0, values.Length));
        TensorPrimitives.ConvertTruncating<float, double>(singles.AsSpan(0, values.Length), values);
        ArrayPool<float>.Shared.Return(singles);
    }

    private void Convert(StoredTensor entry, Span<byte> bytes, Span<int> values)
    {
        if (entry.Type == StoredType.I32)
        {
            bytes.CopyTo(MemoryMarshal.AsBytes(values));
            return;
        }
        ReadOnlySpan<long> wide = MemoryMarshal.Cast<byte, long>(bytes);
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (int)wide[i];
            if (values[i] != wide[i])
                throw new CheckpointException($"{Path}: tensor {CheckpointException.Shown(entry.Name)} holds {wide[i]}, which does not fit 32 bits");
        }
    }

    /// <summary>Files are little-endian.</summary>
    internal static void ToNativeOrder(Span<byte> bytes, int size)
    {
        if (BitConverter.IsLittleEndian)
            return;
        for (int i = 0; i < bytes.Length; i += size)
            bytes.Slice(i, size).Reverse();
    }
}
