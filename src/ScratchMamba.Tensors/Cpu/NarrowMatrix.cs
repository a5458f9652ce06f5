using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>The numbers of a tensor that holds them in fewer bits than float32, and how they become that, many at a time.</summary>
internal readonly unsafe struct NarrowMatrix
{
    private readonly byte* data;
    private readonly Half* scales;

    public NarrowMatrix(TensorType type, byte* data) : this(type.DType, data)
    {
        if (type.DType.IsQuantized())
            scales = (Half*)(data + type.Count / QuantizedBlocks.Length * QuantizedBlocks.IntegerBytes(type.DType));
    }

    /// <summary>Numbers of 16 bits.</summary>
    public NarrowMatrix(DType type, byte* data)
    {
        DType = type;
        this.data = data;
    }

    /// <summary>How the numbers are held.</summary>
    public DType DType { get; }

    /// <summary>Where number <paramref name="at"/> is; of quantised types the first of a block.</summary>
    public byte* At(nint at) => DType switch
    {
        DType.Q8_0 => data + at,
        DType.Q4_0 => data + at / 2,
        _ => data + 2 * at,
    };

    /// <summary>The scale of the block of number <paramref name="at"/>, and behind it those of the next.</summary>
    public Half* ScaleAt(nint at) => scales + at / QuantizedBlocks.Length;

    /// <summary>Numbers from <paramref name="at"/> on in float32.</summary>
    public void Widen(nint at, float* to, int count)
    {
        if (DType == DType.BF16)
        {
            WidenBFloat16(new ReadOnlySpan<ushort>(At(at), count), new Span<float>(to, count));
            return;
        }
        if (DType == DType.F16)
        {
            TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(At(at), count), new Span<float>(to, count));
            return;
        }
        float* block = stackalloc float[QuantizedBlocks.Length];
        while (count > 0)
        {
            int start = (int)(at % QuantizedBlocks.Length), length = Math.Min(count, QuantizedBlocks.Length - start);
            bool isWhole = length == QuantizedBlocks.Length;
            var values = new Span<float>(isWhole ? to : block, QuantizedBlocks.Length);
            QuantizedBlocks.ExpandBlock(DType, new ReadOnlySpan<byte>(At(at - start), QuantizedBlocks.IntegerBytes(DType)), (float)*ScaleAt(at), values);
            if (!isWhole)
                values.Slice(start, length).CopyTo(new Span<float>(to, length));
            at += length;
            to += length;
            count -= length;
        }
    }

    /// <summary>The nearest numbers of a type of 16 bits.</summary>
    public static void Round(DType type, ReadOnlySpan<float> from, byte* to)
    {
        if (type == DType.BF16)
            Round(from, new Span<BFloat16>(to, from.Length));
        else
            TensorPrimitives.ConvertToHalf(from, new Span<Half>(to, from.Length));
    }

    /// <summary>The nearest numbers of bfloat16.</summary>
    public static void Round(ReadOnlySpan<float> from, Span<BFloat16> to)
    {
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(from);
        Span<ushort> halves = MemoryMarshal.Cast<BFloat16, ushort>(to);
        int i = 0;
        for (; i <= bits.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
            Vector.Narrow(Nearest(new Vector<uint>(bits[i..])), Nearest(new Vector<uint>(bits[(i + Vector<uint>.Count)..]))).CopyTo(halves[i..]);
        for (; i < from.Length; i++)
            to[i] = (BFloat16)from[i];

        // As the conversion of one number does it.
        static Vector<uint> Nearest(Vector<uint> value)
        {
            Vector<uint> high = value >>> 16, isNumber = Vector.AsVectorUInt32(Vector.Equals(Vector.AsVectorSingle(value), Vector.AsVectorSingle(value)));
            return Vector.ConditionalSelect(isNumber, value + new Vector<uint>(0x7fff) + (high & Vector<uint>.One) >>> 16, high | new Vector<uint>(0x40));
        }
    }

    private static void WidenBFloat16(ReadOnlySpan<ushort> halves, Span<float> to)
    {
        Span<uint> whole = MemoryMarshal.Cast<float, uint>(to);
        int i = 0;
        for (; i <= halves.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(halves[i..]), out Vector<uint> low, out Vector<uint> high);
            (low << 16).CopyTo(whole[i..]);
            (high << 16).CopyTo(whole[(i + Vector<uint>.Count)..]);
        }
        for (; i < halves.Length; i++)
            whole[i] = (uint)halves[i] << 16;
    }
}
