using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>A function of one number, for a vector of them.</summary>
internal interface IVectorFunction
{
    static abstract Vector<T> Of<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T>;
}

/// <summary>A function of two numbers, for vectors of them.</summary>
internal interface IVectorFunction2
{
    static abstract Vector<T> Of<T>(Vector<T> x, Vector<T> y) where T : unmanaged, IFloatingPointIeee754<T>;
}

/// <summary>
/// Functions of whole vectors, to be composed without going through memory in between, and their application to spans.
/// Every element is computed in a vector, so results do not depend on where an element stands.
/// </summary>
internal static class VectorMath
{
    /// <summary>yᵢ = f(xᵢ). The spans are equally long and either disjoint or the same.</summary>
    public static void Map<TFunction, T>(ReadOnlySpan<T> x, Span<T> y) where TFunction : IVectorFunction where T : unmanaged, IFloatingPointIeee754<T>
    {
        ref T from = ref MemoryMarshal.GetReference(x), to = ref MemoryMarshal.GetReference(y[..x.Length]);
        int i = 0;
        for (; i <= x.Length - 2 * Vector<T>.Count; i += 2 * Vector<T>.Count)
        {
            Vector<T> first = TFunction.Of(Vector.LoadUnsafe(ref from, (nuint)i)), second = TFunction.Of(Vector.LoadUnsafe(ref from, (nuint)(i + Vector<T>.Count)));
            first.StoreUnsafe(ref to, (nuint)i);
            second.StoreUnsafe(ref to, (nuint)(i + Vector<T>.Count));
        }
        for (; i <= x.Length - Vector<T>.Count; i += Vector<T>.Count)
            TFunction.Of(Vector.LoadUnsafe(ref from, (nuint)i)).StoreUnsafe(ref to, (nuint)i);
        if (i < x.Length)
            StorePart(TFunction.Of(LoadPart(x[i..])), y[i..x.Length]);
    }

    /// <summary>zᵢ = f(xᵢ, yᵢ). The spans are equally long; the result is disjoint from each operand or the same.</summary>
    public static void Map<TFunction, T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z)
        where TFunction : IVectorFunction2 where T : unmanaged, IFloatingPointIeee754<T>
    {
        ref T left = ref MemoryMarshal.GetReference(x), right = ref MemoryMarshal.GetReference(y[..x.Length]), to = ref MemoryMarshal.GetReference(z[..x.Length]);
        int i = 0;
        for (; i <= x.Length - Vector<T>.Count; i += Vector<T>.Count)
            TFunction.Of(Vector.LoadUnsafe(ref left, (nuint)i), Vector.LoadUnsafe(ref right, (nuint)i)).StoreUnsafe(ref to, (nuint)i);
        if (i < x.Length)
            StorePart(TFunction.Of(LoadPart(x[i..]), LoadPart(y[i..x.Length])), z[i..x.Length]);
    }

    /// <summary>eˣ, to about one unit in the last place; 0, subnormal numbers, ∞ and NaN where they are due.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Exp<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T> =>
        typeof(T) == typeof(float) ? Exp(x.As<T, float>()).As<float, T>() : Vector.Exp(x.As<T, double>()).As<double, T>();

    /// <summary>The largest |x| for which <see cref="ExpWithin"/> is accurate: just less than where e^−|x| ceases to be a normal number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> ExpLimit<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? new Vector<float>(87.3f).As<float, T>() : new Vector<double>(708).As<double, T>();

    /// <summary>eˣ for |x| ≤ <see cref="ExpLimit"/>, or NaN, in half the instructions of <see cref="Exp{T}(Vector{T})"/>: with it 4,096 sigmoids take 2.2 µs instead of 3.5.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> ExpWithin<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T>
    {
        if (typeof(T) != typeof(float))
            return Exp(x);
        (Vector<float> y, Vector<int> exponent) = Reduced(x.As<T, float>());
        // 1.5 · 2²³ + n has n in its lowest bits; what is above them is shifted out.
        return Vector.AsVectorSingle(Vector.AsVectorInt32(y) + (exponent << 23)).As<float, T>();
    }

    /// <summary>x bounded from below, or NaN: the order of the operands is what makes x86 pass NaN on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> AtLeast<T>(Vector<T> bound, Vector<T> x) where T : unmanaged => Vector.MaxNative(bound, x);

    /// <summary>x bounded from above, or NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> AtMost<T>(Vector<T> bound, Vector<T> x) where T : unmanaged => Vector.MinNative(bound, x);

    /// <summary>
    /// ln(1 + u) for u in [0, 1], to a few units in the last place however small u is:
    /// 2 artanh(s) = 2s · (1 + s²/3 + s⁴/5 + …) with s = u / (2 + u) ≤ 1/3.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> LogOnePlus<T>(Vector<T> u) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> s = u / (u + new Vector<T>(T.CreateTruncating(2))), square = s * s, sum = Vector<T>.Zero;
        foreach (Vector<T> coefficient in Artanh<T>.Coefficients)
            sum = MultiplyAdd(sum, square, coefficient);
        return (s + s) * sum;
    }

    /// <summary>x · y + z, rounded once where the processor can.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> MultiplyAdd<T>(Vector<T> x, Vector<T> y, Vector<T> z) where T : unmanaged, IFloatingPointIeee754<T> => typeof(T) == typeof(float)
        ? Vector.MultiplyAddEstimate(x.As<T, float>(), y.As<T, float>(), z.As<T, float>()).As<float, T>()
        : Vector.MultiplyAddEstimate(x.As<T, double>(), y.As<T, double>(), z.As<T, double>()).As<double, T>();

    // The library's function for float32 goes through float64 and takes three times as long.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Exp(Vector<float> x)
    {
        // Beyond these the result is 0 or ∞ anyhow; comparisons leave NaN alone.
        x = Vector.ConditionalSelect(Vector.GreaterThan(x, new Vector<float>(89)), new Vector<float>(89), x);
        x = Vector.ConditionalSelect(Vector.LessThan(x, new Vector<float>(-105)), new Vector<float>(-105), x);

        (Vector<float> y, Vector<int> shifted) = Reduced(x);
        // Times 2ⁿ in two steps, because 2ⁿ itself may be no normal number.
        Vector<int> exponent = shifted - new Vector<int>(BitConverter.SingleToInt32Bits(Shift)), half = exponent >> 1;
        return y * PowerOfTwo(half) * PowerOfTwo(exponent - half);
    }

    // Adding 1.5 · 2²³ rounds to an integer, which is then in the sum's lowest bits.
    private const float Shift = 12582912;

    /// <summary>x = n ln 2 + r with |r| ≤ ½ ln 2: eʳ, and the bits of <see cref="Shift"/> + n.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector<float> Power, Vector<int> Shifted) Reduced(Vector<float> x)
    {
        var shift = new Vector<float>(Shift);
        Vector<float> shifted = Vector.MultiplyAddEstimate(x, new Vector<float>(1.44269504f), shift), n = shifted - shift;
        // ln 2 in two parts; n times the first is exact.
        Vector<float> r = Vector.MultiplyAddEstimate(n, new Vector<float>(-0.693359375f), x);
        r = Vector.MultiplyAddEstimate(n, new Vector<float>(2.12194440e-4f), r);

        // Taylor's series, in pairs of terms rather than one after the other, because it is latency that takes the time; the first term left out is below r⁸/8! = 5e-9.
        Vector<float> square = r * r;
        Vector<float> low = Vector.MultiplyAddEstimate(r, new Vector<float>(1f / 6), new Vector<float>(0.5f)), high = Vector.MultiplyAddEstimate(r, new Vector<float>(1f / 5040), new Vector<float>(1f / 720));
        Vector<float> middle = Vector.MultiplyAddEstimate(r, new Vector<float>(1f / 120), new Vector<float>(1f / 24));
        high = Vector.MultiplyAddEstimate(high, square, middle);
        low = Vector.MultiplyAddEstimate(low, square, r);
        Vector<float> y = Vector.MultiplyAddEstimate(high, square * square, low) + Vector<float>.One;
        return (y, Vector.AsVectorInt32(shifted));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> PowerOfTwo(Vector<int> exponent) => Vector.AsVectorSingle((exponent + new Vector<int>(127)) << 23);

    /// <summary>The first elements of a vector, the others zero.</summary>
    public static Vector<T> LoadPart<T>(ReadOnlySpan<T> x) where T : unmanaged
    {
        Vector<T> value = default;
        x.CopyTo(MemoryMarshal.CreateSpan(ref Unsafe.As<Vector<T>, T>(ref value), Vector<T>.Count));
        return value;
    }

    /// <summary>Stores as many of a vector's elements as there is room for.</summary>
    public static void StorePart<T>(Vector<T> value, Span<T> y) where T : unmanaged =>
        MemoryMarshal.CreateSpan(ref Unsafe.As<Vector<T>, T>(ref value), Vector<T>.Count)[..y.Length].CopyTo(y);

    /// <summary>The series artanh(s)/s = 1 + s²/3 + s⁴/5 + …, the highest power first.</summary>
    private static class Artanh<T> where T : unmanaged, IFloatingPointIeee754<T>
    {
        // The first term left out is below 9⁻ⁿ / (2n + 1): 1.4e-9 for n = 8 and 1.7e-18 for n = 17.
        private static readonly int Terms = typeof(T) == typeof(float) ? 8 : 17;

        public static readonly Vector<T>[] Coefficients =
            [.. Enumerable.Range(0, Terms).Select(n => new Vector<T>(T.One / T.CreateTruncating(2 * n + 1))).Reverse()];
    }
}
