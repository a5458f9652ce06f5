using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>Vectors of one width, so that a kernel is written once and compiled for each width.</summary>
internal unsafe interface ILanes<TVector, T> where TVector : struct where T : unmanaged
{
    /// <summary>The number of elements in a vector.</summary>
    static abstract int Count { get; }

    static abstract TVector Zero { get; }

    /// <summary>The same value in every lane.</summary>
    static abstract TVector Create(T value);

    static abstract TVector Load(T* address);

    /// <summary>Twice as many numbers of bfloat16, widened: those with even index, and those with odd. T is float.</summary>
    static abstract void LoadBFloat16s(ushort* address, out TVector even, out TVector odd);

    /// <summary>
    /// Twice as many numbers of binary16, widened: those with even index, and those with odd. Infinities and NaN are not; they leave bits in <paramref name="special"/>. T is float.
    /// </summary>
    static abstract void LoadHalves(ushort* address, ref TVector special, out TVector even, out TVector odd);

    /// <summary>Whether any bit is set.</summary>
    static abstract bool AnyBit(TVector value);

    /// <summary>Partial sums of the products of 32 integers of 16 bits with as many of 8 bits. T is float.</summary>
    static abstract TVector DotEights(short* x, sbyte* y);

    /// <summary>The same with as many of 4 bits, 0 … 15, that lie as <see cref="QuantizedBlocks"/> says. T is float.</summary>
    static abstract TVector DotFours(short* x, byte* y);

    static abstract void Store(TVector value, T* address);

    static abstract TVector Add(TVector x, TVector y);

    /// <summary>x · y + z, rounded once where the processor can.</summary>
    static abstract TVector MultiplyAdd(TVector x, TVector y, TVector z);

    /// <summary>The sum of all lanes.</summary>
    static abstract T Sum(TVector value);
}

/// <summary>128-bit vectors.</summary>
internal readonly unsafe struct Lanes128<T> : ILanes<Vector128<T>, T> where T : unmanaged
{
    public static int Count => Vector128<T>.Count;

    public static Vector128<T> Zero => Vector128<T>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Create(T value) => Vector128.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Load(T* address) => Vector128.Load(address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadBFloat16s(ushort* address, out Vector128<T> even, out Vector128<T> odd)
    {
        Vector128<uint> pairs = Vector128.Load((uint*)address);
        even = (pairs << 16).As<uint, T>();
        odd = (pairs & Vector128.Create(0xffff0000u)).As<uint, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadHalves(ushort* address, ref Vector128<T> special, out Vector128<T> even, out Vector128<T> odd)
    {
        Vector128<int> pairs = Vector128.Load((int*)address), largest = Vector128.Create(0x7c007c00);
        special |= Vector128.Equals((pairs & largest).AsInt16(), largest.AsInt16()).As<short, T>();
        even = FromUpperHalves(pairs << 16);
        odd = FromUpperHalves(pairs);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyBit(Vector128<T> value) => value.AsInt32() != Vector128<int>.Zero;

    // The sign stays, the rest moves to float32's place. The exponent's bias differs by 112, which a product makes good, for subnormal numbers too.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> FromUpperHalves(Vector128<int> bits) =>
        (((bits >> 3) & Vector128.Create(unchecked((int)0x8fffe000))).AsSingle() * Vector128.Create(5.192296858534828e33f)).As<float, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> DotEights(short* x, sbyte* y) =>
        Vector128.ConvertToSingle(IntegerProducts.Pairs(Vector128.Load(x), IntegerProducts.Load128(y)) + IntegerProducts.Pairs(Vector128.Load(x + 8), IntegerProducts.Load128(y + 8)) + IntegerProducts.Pairs(Vector128.Load(x + 16), IntegerProducts.Load128(y + 16)) + IntegerProducts.Pairs(Vector128.Load(x + 24), IntegerProducts.Load128(y + 24))).As<float, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> DotFours(short* x, byte* y)
    {
        Vector128<short> low = IntegerProducts.Load128(y), high = IntegerProducts.Load128(y + 8), mask = Vector128.Create((short)15);
        return Vector128.ConvertToSingle(
            IntegerProducts.Pairs(Vector128.Load(x), low & mask) + IntegerProducts.Pairs(Vector128.Load(x + 8), high & mask)
            + IntegerProducts.Pairs(Vector128.Load(x + 16), low >>> 4) + IntegerProducts.Pairs(Vector128.Load(x + 24), high >>> 4)).As<float, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<T> value, T* address) => value.Store(address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Add(Vector128<T> x, Vector128<T> y) => x + y;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> MultiplyAdd(Vector128<T> x, Vector128<T> y, Vector128<T> z) => typeof(T) == typeof(float)
        ? Vector128.MultiplyAddEstimate(x.AsSingle(), y.AsSingle(), z.AsSingle()).As<float, T>()
        : Vector128.MultiplyAddEstimate(x.AsDouble(), y.AsDouble(), z.AsDouble()).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Vector128<T> value) => Vector128.Sum(value);
}

/// <summary>256-bit vectors.</summary>
internal readonly unsafe struct Lanes256<T> : ILanes<Vector256<T>, T> where T : unmanaged
{
    public static int Count => Vector256<T>.Count;

    public static Vector256<T> Zero => Vector256<T>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Create(T value) => Vector256.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Load(T* address) => Vector256.Load(address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadBFloat16s(ushort* address, out Vector256<T> even, out Vector256<T> odd)
    {
        Vector256<uint> pairs = Vector256.Load((uint*)address);
        even = (pairs << 16).As<uint, T>();
        odd = (pairs & Vector256.Create(0xffff0000u)).As<uint, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadHalves(ushort* address, ref Vector256<T> special, out Vector256<T> even, out Vector256<T> odd)
    {
        Vector256<int> pairs = Vector256.Load((int*)address), largest = Vector256.Create(0x7c007c00);
        special |= Vector256.Equals((pairs & largest).AsInt16(), largest.AsInt16()).As<short, T>();
        even = FromUpperHalves(pairs << 16);
        odd = FromUpperHalves(pairs);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyBit(Vector256<T> value) => value.AsInt32() != Vector256<int>.Zero;

    // The sign stays, the rest moves to float32's place. The exponent's bias differs by 112, which a product makes good, for subnormal numbers too.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> FromUpperHalves(Vector256<int> bits) =>
        (((bits >> 3) & Vector256.Create(unchecked((int)0x8fffe000))).AsSingle() * Vector256.Create(5.192296858534828e33f)).As<float, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> DotEights(short* x, sbyte* y) =>
        Vector256.ConvertToSingle(IntegerProducts.Pairs(Vector256.Load(x), IntegerProducts.Load256(y)) + IntegerProducts.Pairs(Vector256.Load(x + 16), IntegerProducts.Load256(y + 16))).As<float, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> DotFours(short* x, byte* y)
    {
        Vector256<short> pairs = IntegerProducts.Load256(y);
        return Vector256.ConvertToSingle(IntegerProducts.Pairs(Vector256.Load(x), pairs & Vector256.Create((short)15)) + IntegerProducts.Pairs(Vector256.Load(x + 16), pairs >>> 4)).As<float, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<T> value, T* address) => value.Store(address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Add(Vector256<T> x, Vector256<T> y) => x + y;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> MultiplyAdd(Vector256<T> x, Vector256<T> y, Vector256<T> z) => typeof(T) == typeof(float)
        ? Vector256.MultiplyAddEstimate(x.AsSingle(), y.AsSingle(), z.AsSingle()).As<float, T>()
        : Vector256.MultiplyAddEstimate(x.AsDouble(), y.AsDouble(), z.AsDouble()).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Vector256<T> value) => Vector256.Sum(value);
}

/// <summary>512-bit vectors.</summary>
internal readonly unsafe struct Lanes512<T> : ILanes<Vector512<T>, T> where T : unmanaged
{
    public static int Count => Vector512<T>.Count;

    public static Vector512<T> Zero => Vector512<T>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Create(T value) => Vector512.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Load(T* address) => Vector512.Load(address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadBFloat16s(ushort* address, out Vector512<T> even, out Vector512<T> odd)
    {
        Vector512<uint> pairs = Vector512.Load((uint*)address);
        even = (pairs << 16).As<uint, T>();
        odd = (pairs & Vector512.Create(0xffff0000u)).As<uint, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadHalves(ushort* address, ref Vector512<T> special, out Vector512<T> even, out Vector512<T> odd)
    {
        Vector512<int> pairs = Vector512.Load((int*)address), largest = Vector512.Create(0x7c007c00);
        special |= Vector512.Equals((pairs & largest).AsInt16(), largest.AsInt16()).As<short, T>();
        even = FromUpperHalves(pairs << 16);
        odd = FromUpperHalves(pairs);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyBit(Vector512<T> value) => value.AsInt32() != Vector512<int>.Zero;

    // The sign stays, the rest moves to float32's place. The exponent's bias differs by 112, which a product makes good, for subnormal numbers too.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> FromUpperHalves(Vector512<int> bits) =>
        (((bits >> 3) & Vector512.Create(unchecked((int)0x8fffe000))).AsSingle() * Vector512.Create(5.192296858534828e33f)).As<float, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> DotEights(short* x, sbyte* y) =>
        Vector512.ConvertToSingle(IntegerProducts.Pairs(Vector512.Load(x), IntegerProducts.Load512(y))).As<float, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> DotFours(short* x, byte* y)
    {
        Vector256<short> pairs = IntegerProducts.Load256(y);
        return Vector512.ConvertToSingle(IntegerProducts.Pairs(Vector512.Load(x), Vector512.Create(pairs & Vector256.Create((short)15), pairs >>> 4))).As<float, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<T> value, T* address) => value.Store(address);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Add(Vector512<T> x, Vector512<T> y) => x + y;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> MultiplyAdd(Vector512<T> x, Vector512<T> y, Vector512<T> z) => typeof(T) == typeof(float)
        ? Vector512.MultiplyAddEstimate(x.AsSingle(), y.AsSingle(), z.AsSingle()).As<float, T>()
        : Vector512.MultiplyAddEstimate(x.AsDouble(), y.AsDouble(), z.AsDouble()).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Vector512<T> value) => Vector512.Sum(value);
}

/// <summary>Products of integers of 16 bits, the sum of every two neighbours, in 32 bits.</summary>
internal static unsafe class IntegerProducts
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<short> Load128(sbyte* address) => Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(long*)address).AsSByte());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<short> Load128(byte* address) => Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(long*)address).AsByte()).AsInt16();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<short> Load256(byte* address) => Vector256.WidenLower(Vector128.Load(address).ToVector256Unsafe()).AsInt16();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<short> Load256(sbyte* address) => Vector256.WidenLower(Vector128.Load(address).ToVector256Unsafe());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<short> Load512(sbyte* address) => Vector512.WidenLower(Vector256.Load(address).ToVector512Unsafe());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Pairs(Vector128<short> x, Vector128<short> y) => Sse2.IsSupported
        ? Sse2.MultiplyAddAdjacent(x, y)
        : Vector128.WidenLower(x) * Vector128.WidenLower(y) + Vector128.WidenUpper(x) * Vector128.WidenUpper(y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Pairs(Vector256<short> x, Vector256<short> y) => Avx2.IsSupported
        ? Avx2.MultiplyAddAdjacent(x, y)
        : Vector256.Create(Pairs(x.GetLower(), y.GetLower()), Pairs(x.GetUpper(), y.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Pairs(Vector512<short> x, Vector512<short> y) => Avx512BW.IsSupported
        ? Avx512BW.MultiplyAddAdjacent(x, y)
        : Vector512.Create(Pairs(x.GetLower(), y.GetLower()), Pairs(x.GetUpper(), y.GetUpper()));
}
