using System.Buffers.Binary;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>The blocks of GGML's quantised types. Source: the formats' definition in ggml (<c>ggml-quants.c</c>).</summary>
internal static class Quantization
{
    /// <summary>The values of whole blocks.</summary>
    public static void Expand(StoredType type, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        int size = type.BlockBytes(), elements = type.BlockElements();
        for (int at = 0, to = 0; to < values.Length; at += size, to += elements)
        {
            ReadOnlySpan<byte> block = blocks.Slice(at, size);
            Span<float> target = values.Slice(to, elements);
            switch (type)
            {
                case StoredType.Q8_0:
                    QuantizedBlocks.ExpandBlock(DType.Q8_0, block[2..], HalfAt(block, 0), target);
                    break;
                case StoredType.Q4_0:
                    QuantizedBlocks.ExpandBlock(DType.Q4_0, block[2..], HalfAt(block, 0), target);
                    break;
                case StoredType.Q4_K:
                    ExpandQ4K(block, target);
                    break;
                case StoredType.Q6_K:
                    ExpandQ6K(block, target);
                    break;
                default:
                    throw new NotSupportedException($"{type} is not stored in blocks.");
            }
        }
    }

    /// <summary>The stored form of values: rounded to nearest where the type has fewer bits.</summary>
    /// <exception cref="NotSupportedException">Nothing is written in this type.</exception>
    public static void Store(StoredType type, ReadOnlySpan<float> values, Span<byte> bytes)
    {
        switch (type)
        {
            case StoredType.F32:
                MemoryMarshal.AsBytes(values).CopyTo(bytes);
                WeightSource.ToNativeOrder(bytes, sizeof(float));
                break;
            case StoredType.F16:
                TensorPrimitives.ConvertSaturating<float, Half>(values, MemoryMarshal.Cast<byte, Half>(bytes));
                WeightSource.ToNativeOrder(bytes, 2);
                break;
            case StoredType.BF16:
                for (int i = 0; i < values.Length; i++)
                    BinaryPrimitives.WriteUInt16LittleEndian(bytes[(2 * i)..], ToBFloat16(values[i]));
                break;
            case StoredType.Q8_0:
                StoreBlocks(DType.Q8_0, values, bytes);
                break;
            case StoredType.Q4_0:
                StoreBlocks(DType.Q4_0, values, bytes);
                break;
            default:
                throw new NotSupportedException($"Nothing is written as {type}.");
        }
    }

    private static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        // To nearest, ties to even; a NaN stays one.
        return float.IsNaN(value) ? (ushort)(bits >> 16 | 0x40) : (ushort)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }

    private static float HalfAt(ReadOnlySpan<byte> block, int at) => (float)BinaryPrimitives.ReadHalfLittleEndian(block[at..]);

    private static void ExpandQ4K(ReadOnlySpan<byte> block, Span<float> values)
    {
        float scale = HalfAt(block, 0), least = HalfAt(block, 2);
        ReadOnlySpan<byte> scales = block.Slice(4, 12), quants = block[16..];
        for (int part = 0; part < 8; part++)
        {
            // Eight pairs of six bits: the first four lie whole, of the others the upper two bits lie above those.
            int s = part < 4 ? scales[part] & 63 : (scales[part + 4] & 15) | (scales[part - 4] >> 6 << 4);
            int m = part < 4 ? scales[part + 4] & 63 : (scales[part + 4] >> 4) | (scales[part] >> 6 << 4);
            float by = scale * s, minus = least * m;
            for (int i = 0; i < 32; i++)
                values[32 * part + i] = by * ((quants[part / 2 * 32 + i] >> (part % 2 * 4)) & 15) - minus;
        }
    }

    private static void ExpandQ6K(ReadOnlySpan<byte> block, Span<float> values)
    {
        ReadOnlySpan<byte> low = block[..128], high = block.Slice(128, 64), scales = block.Slice(192, 16);
        float scale = HalfAt(block, 208);
        for (int i = 0; i < 256; i++)
        {
            // Each half of 128 is four runs of 32: two runs share a byte of low bits, all four one of high bits.
            int half = i / 128, run = i % 128 / 32, at = i % 32;
            int bits = (low[64 * half + 32 * (run & 1) + at] >> (run / 2 * 4)) & 15;
            int upper = (high[32 * half + at] >> (2 * run)) & 3;
            values[i] = scale * (sbyte)scales[i / 16] * ((bits | upper << 4) - 32);
        }
    }

    /// <summary>The bytes of a tensor of a quantised type, from the file's blocks: the same numbers in another order.</summary>
    public static byte[] ToTensor(DType type, ReadOnlySpan<byte> blocks)
    {
        int size = QuantizedBlocks.IntegerBytes(type), count = blocks.Length / (2 + size);
        var bytes = new byte[blocks.Length];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> block = blocks.Slice(i * (2 + size), 2 + size);
            block[2..].CopyTo(bytes.AsSpan(i * size));
            BitConverter.TryWriteBytes(bytes.AsSpan(count * size + 2 * i), BinaryPrimitives.ReadHalfLittleEndian(block));
        }
        return bytes;
    }

    private static void StoreBlocks(DType type, ReadOnlySpan<float> values, Span<byte> blocks)
    {
        int size = 2 + QuantizedBlocks.IntegerBytes(type);
        for (int i = 0; i < values.Length / QuantizedBlocks.Length; i++)
        {
            Span<byte> block = blocks.Slice(i * size, size);
            BinaryPrimitives.WriteHalfLittleEndian(block, QuantizedBlocks.QuantizeBlock(type, values.Slice(i * QuantizedBlocks.Length, QuantizedBlocks.Length), block[2..]));
        }
    }
}
