using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>Numbers of 16 bits to float32 and back, many at a time.</summary>
internal static unsafe class Narrow
{
    /// <summary>The same numbers in float32.</summary>
    public static void Widen(DType type, ushort* from, float* to, int count)
    {
        if (type == DType.BF16)
            Widen(new ReadOnlySpan<BFloat16>(from, count), new Span<float>(to, count));
        else
            TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(from, count), new Span<float>(to, count));
    }

    /// <summary>The same numbers in float32.</summary>
    public static void Widen(ReadOnlySpan<BFloat16> from, Span<float> to)
    {
        ReadOnlySpan<ushort> halves = MemoryMarshal.Cast<BFloat16, ushort>(from);
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

    /// <summary>The nearest numbers of bfloat16.</summary>
    public static void Round(ReadOnlySpan<float> from, Span<BFloat16> to)
    {
        for (int i = 0; i < from.Length; i++)
            to[i] = (BFloat16)from[i];
    }
}
