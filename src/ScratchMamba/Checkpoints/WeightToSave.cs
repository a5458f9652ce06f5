using System.Runtime.InteropServices;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>One tensor to be stored: its name and type, and how to write its elements when its turn comes.</summary>
/// <param name="Name">Unique in its checkpoint.</param>
/// <param name="Type">The type of the elements, and the shape.</param>
/// <param name="Write">Writes the elements in row-major order, little-endian: exactly <see cref="TensorType.Bytes"/> of <paramref name="Type"/>.</param>
public sealed record WeightToSave(string Name, TensorType Type, Action<Stream> Write)
{
    /// <summary>A tensor, read from its backend when its turn comes.</summary>
    public static WeightToSave Of(string name, Tensor tensor) => new(name, tensor.Type, stream =>
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
        return new(name, new TensorType(DTypes.Of<T>(), shape), stream => WriteElements(stream, values.Span));
    }

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
