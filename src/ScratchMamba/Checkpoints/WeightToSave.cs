using System.Runtime.InteropServices;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>One tensor to be stored: its name and type, and how to write its elements when its turn comes.</summary>
/// <param name="Name">Unique in its checkpoint.</param>
/// <param name="Type">The type of the elements as they are stored.</param>
/// <param name="Shape">The extents.</param>
/// <param name="Write">Writes the elements in row-major order, little-endian: exactly <see cref="Bytes"/>.</param>
public sealed record WeightToSave(string Name, StoredType Type, Shape Shape, Action<Stream> Write)
{
    private const int BlockElements = 1 << 14;

    /// <summary>The size of the stored elements in bytes.</summary>
    public long Bytes => new StoredTensor(Name, Type, Shape).Bytes;

    /// <summary>A tensor, read from its backend when its turn comes.</summary>
    public static WeightToSave Of(string name, Tensor tensor) => new(name, Stored(tensor.DType), tensor.Shape, stream =>
    {
        switch (tensor.DType)
        {
            case DType.F64:
                WriteElements<double>(stream, tensor.ToArray<double>());
                break;
            case DType.F32:
                WriteElements<float>(stream, tensor.ToArray<float>());
                break;
            case DType.BF16:
                WriteElements<BFloat16>(stream, tensor.ToArray<BFloat16>());
                break;
            case DType.F16:
                WriteElements<Half>(stream, tensor.ToArray<Half>());
                break;
            default:
                WriteElements<int>(stream, tensor.ToArray<int>());
                break;
        }
    });

    /// <summary>Values of the host's, in row-major order.</summary>
    /// <exception cref="ArgumentException">The number of values is not that of the shape.</exception>
    public static WeightToSave Of<T>(string name, Shape shape, ReadOnlyMemory<T> values) where T : unmanaged
    {
        if (values.Length != shape.Count)
            throw new ArgumentException($"{name} of shape {shape} has {shape.Count} elements; got {values.Length} values.", nameof(values));
        return new(name, Stored(DTypes.Of<T>()), shape, stream => WriteElements(stream, values.Span));
    }

    /// <summary>A stored tensor, of another type where <paramref name="type"/> is not its own. Elements pass through memory a block at a time.</summary>
    /// <param name="name">Its new name.</param>
    /// <param name="source">Where it is read from, which must stay open.</param>
    /// <param name="entry">The tensor there.</param>
    /// <param name="type">How its elements are stored.</param>
    /// <param name="shape">Its new shape, of as many elements.</param>
    public static WeightToSave Of(string name, WeightSource source, StoredTensor entry, StoredType type, Shape shape) => new(name, type, shape, stream =>
    {
        if (type == entry.Type)
        {
            source.CopyTo(entry, stream);
            return;
        }
        if (type == StoredType.F64)
            WriteElements<double>(stream, source.ReadDoubles(entry.Name));
        else
            WriteElements(stream, source.ReadFloats(entry.Name), type);
    });

    /// <summary>Values that are computed when their turn comes.</summary>
    internal static WeightToSave Of(string name, Func<float[]> values, StoredType type, Shape shape) => new(name, type, shape, stream =>
    {
        if (type == StoredType.F64)
            WriteElements<double>(stream, Array.ConvertAll(values(), value => (double)value));
        else
            WriteElements(stream, values(), type);
    });

    private static void WriteElements(Stream stream, float[] values, StoredType type)
    {
        int most = BlockElements / type.BlockElements() * type.BlockElements();
        var bytes = new byte[most / type.BlockElements() * type.BlockBytes()];
        for (int start = 0; start < values.Length; start += most)
        {
            ReadOnlySpan<float> part = values.AsSpan(start, Math.Min(most, values.Length - start));
            Span<byte> target = bytes.AsSpan(0, part.Length / type.BlockElements() * type.BlockBytes());
            Quantization.Store(type, part, target);
            stream.Write(target);
        }
    }

    private static StoredType Stored(DType type) => Enum.Parse<StoredType>(type.ToString());

    private static unsafe void WriteElements<T>(Stream stream, ReadOnlySpan<T> values) where T : unmanaged
    {
        // In pieces: more than 2 GiB of bytes do not fit one span.
        const int Piece = 1 << 20;
        for (int start = 0; start < values.Length; start += Piece)
        {
            ReadOnlySpan<T> part = values.Slice(start, Math.Min(Piece, values.Length - start));
            if (BitConverter.IsLittleEndian)
            {
                stream.Write(MemoryMarshal.AsBytes(part));
                continue;
            }
            byte[] bytes = MemoryMarshal.AsBytes(part).ToArray();
            WeightSource.ToNativeOrder(bytes, sizeof(T));
            stream.Write(bytes);
        }
    }
}
