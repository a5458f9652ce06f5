using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors;

/// <summary>
/// Numbers in blocks of 32 that share a scale: <c>xᵢ = scale · qᵢ</c>, with integers q of 8 bits (<see cref="DType.Q8_0"/>) or of 4 (<see cref="DType.Q4_0"/>, −8 … 7). A row of a tensor
/// is whole blocks. First come all integers, in order; of 4 bits, byte i of a block holds number i below number 16 + i, each plus 8. Behind them come all scales, of binary16.
/// Source: ggml's types of these names, which hold the same but put each scale before its block.
/// </summary>
public static class QuantizedBlocks
{
    /// <summary>The numbers of a block.</summary>
    public const int Length = 32;

    /// <summary>The bytes of a block's integers.</summary>
    public static int IntegerBytes(DType type) => type == DType.Q8_0 ? Length : Length / 2;

    /// <summary>The bytes of so many numbers.</summary>
    public static long Bytes(DType type, long count) => count / Length * (IntegerBytes(type) + 2);

    /// <summary>Rounds numbers to whole blocks of a type, in a tensor's order.</summary>
    public static byte[] Quantize(DType type, ReadOnlySpan<float> values)
    {
        var bytes = new byte[Bytes(type, values.Length)];
        int size = IntegerBytes(type), blocks = values.Length / Length;
        Span<Half> scales = MemoryMarshal.Cast<byte, Half>(bytes.AsSpan(blocks * size));
        for (int i = 0; i < blocks; i++)
            scales[i] = QuantizeBlock(type, values.Slice(i * Length, Length), bytes.AsSpan(i * size, size));
        return bytes;
    }

    /// <summary>The numbers that a tensor of a quantised type holds.</summary>
    public static void Expand(DType type, ReadOnlySpan<byte> bytes, Span<float> values)
    {
        int size = IntegerBytes(type), blocks = values.Length / Length;
        ReadOnlySpan<Half> scales = MemoryMarshal.Cast<byte, Half>(bytes[(blocks * size)..]);
        for (int i = 0; i < blocks; i++)
            ExpandBlock(type, bytes.Slice(i * size, size), (float)scales[i], values.Slice(i * Length, Length));
    }

    /// <summary>Rounds the 32 numbers of a block: the integers, and the scale, which is what is returned.</summary>
    public static Half QuantizeBlock(DType type, ReadOnlySpan<float> values, Span<byte> integers)
    {
        // Of 4 bits, the value of the largest magnitude becomes −8, whatever its sign.
        float largest = values[TensorPrimitives.IndexOfMaxMagnitude(values)], scale = type == DType.Q8_0 ? Math.Abs(largest) / 127 : largest / -8, inverse = scale == 0 ? 0 : 1 / scale;
        if (type == DType.Q8_0)
        {
            for (int i = 0; i < Length; i++)
                integers[i] = (byte)(sbyte)MathF.Round(values[i] * inverse, MidpointRounding.AwayFromZero);
        }
        else
        {
            for (int i = 0; i < Length / 2; i++)
                integers[i] = (byte)(Nibble(values[i]) | Nibble(values[Length / 2 + i]) << 4);
        }
        return (Half)scale;

        int Nibble(float value) => Math.Min(15, (int)(value * inverse + 8.5f));
    }

    /// <summary>The 32 numbers of a block.</summary>
    public static void ExpandBlock(DType type, ReadOnlySpan<byte> integers, float scale, Span<float> values)
    {
        for (int i = 0; i < Length; i += Vector128<sbyte>.Count)
        {
            Vector128<byte> bits = Vector128.Create(type == DType.Q8_0 ? integers.Slice(i, 16) : integers);
            if (type == DType.Q4_0)
                bits = (i == 0 ? bits & Vector128.Create((byte)15) : bits >>> 4) - Vector128.Create((byte)8);
            (Vector128<short> low, Vector128<short> high) = Vector128.Widen(bits.AsSByte());
            Store(low, values[i..]);
            Store(high, values[(i + 8)..]);
        }

        void Store(Vector128<short> from, Span<float> to)
        {
            (Vector128<int> low, Vector128<int> high) = Vector128.Widen(from);
            (Vector128.ConvertToSingle(low) * scale).CopyTo(to);
            (Vector128.ConvertToSingle(high) * scale).CopyTo(to[4..]);
        }
    }
}
