using System.Buffers;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Products of a few rows with a large transposed matrix of 16-bit numbers, as when a model makes one token: <c>Z[i, j] = Σₖ X[i, k] · W[j, k]</c>. The matrix is read once, where it is.
/// A word of memory holds two numbers; shifts and masks make two vectors of them, so those of X with even and with odd index are first laid apart. T is float.
/// </summary>
internal readonly unsafe struct GemmNarrow<TLanes, TVector, T> : IParallelBody
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged, IFloatingPointIeee754<T>
{
    private const int Width = 64;

    private readonly NarrowMatrix w;
    private readonly T* x, z;
    private readonly int rows, columns, depth;
    private readonly nint start, pitch;

    private GemmNarrow(in Gemm<T> product, T* prepared)
    {
        w = product.NarrowB!.Value;
        x = prepared;
        z = product.C;
        (start, pitch) = (product.NarrowStart, product.BColumn);
        (rows, columns, depth) = (product.M, product.N, product.K);
    }

    private static int Together => 4 * TLanes.Count;

    /// <summary>Computes a product of few rows with <see cref="Gemm{T}.NarrowB"/>.</summary>
    public static void Run(in Gemm<T> product, int threads)
    {
        T[] buffer = ArrayPool<T>.Shared.Rent(product.M * product.K);
        fixed (T* prepared = buffer)
        {
            for (int i = 0; i < product.M; i++)
                Prepare(product.A + i * product.ARow, product.AColumn, product.K, prepared + (nint)i * product.K);
            var body = new GemmNarrow<TLanes, TVector, T>(product, prepared);
            CpuParallel.For(threads, (product.N + Width - 1) / Width, (long)product.M * Math.Min(product.N, Width) * product.K / Gemm<T>.FusedPerOperation, body);
        }
        ArrayPool<T>.Shared.Return(buffer);
    }

    public void Invoke(int index)
    {
        for (int j = index * Width; j < Math.Min(columns, (index + 1) * Width); j++)
        {
            var run = (ushort*)w.At(start + j * pitch);
            for (int i = 0; i < rows; i++)
                z[(nint)i * columns + j] = w.DType == DType.BF16 ? Dot<BFloat16s>(x + (nint)i * depth, run) : Dot<Halves>(x + (nint)i * depth, run);
        }
    }

    // One column at a time: memory is read in one stream, which it is fastest at (one of four beside each other 20 GB/s, one alone 28), and more variables than these leave registers.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private T Dot<TPairs>(T* x, ushort* run) where TPairs : struct, IPairs
    {
        TVector even0 = TLanes.Zero, odd0 = even0, even1 = even0, odd1 = even0, special = even0;
        int k = 0;
        for (; k <= depth - Together; k += Together)
        {
            TPairs.Load(run + k, ref special, out TVector even, out TVector odd);
            even0 = TLanes.MultiplyAdd(TLanes.Load(x + k), even, even0);
            odd0 = TLanes.MultiplyAdd(TLanes.Load(x + k + TLanes.Count), odd, odd0);
            TPairs.Load(run + k + 2 * TLanes.Count, ref special, out even, out odd);
            even1 = TLanes.MultiplyAdd(TLanes.Load(x + k + 2 * TLanes.Count), even, even1);
            odd1 = TLanes.MultiplyAdd(TLanes.Load(x + k + 3 * TLanes.Count), odd, odd1);
        }
        T sum = TLanes.AnyBit(special) ? DotOneByOne<TPairs>(x, run, k) : TLanes.Sum(TLanes.Add(TLanes.Add(even0, odd0), TLanes.Add(even1, odd1)));
        for (; k < depth; k++)
            sum += x[k] * T.CreateTruncating(TPairs.Get(run[k]));
        return sum;
    }

    private static T DotOneByOne<TPairs>(T* x, ushort* run, int count) where TPairs : struct, IPairs
    {
        T sum = T.Zero;
        for (int k = 0; k < count; k++)
            sum += x[Place(k)] * T.CreateTruncating(TPairs.Get(run[k]));
        return sum;
    }

    private static void Prepare(T* values, nint stride, int depth, T* prepared)
    {
        int whole = depth / Together * Together;
        for (int k = 0; k < depth; k++)
            prepared[k < whole ? Place(k) : k] = values[k * stride];
    }

    /// <summary>Where number k of a row of X is, but for the last ones, which are no whole vectors.</summary>
    private static int Place(int k) => k / (2 * TLanes.Count) * (2 * TLanes.Count) + k % 2 * TLanes.Count + k % (2 * TLanes.Count) / 2;

    /// <summary>Numbers of 16 bits, as two vectors: those with even and those with odd index.</summary>
    private interface IPairs
    {
        static abstract void Load(ushort* address, ref TVector special, out TVector even, out TVector odd);

        static abstract float Get(ushort bits);
    }

    private readonly struct BFloat16s : IPairs
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Load(ushort* address, ref TVector special, out TVector even, out TVector odd) => TLanes.LoadBFloat16s(address, out even, out odd);

        public static float Get(ushort bits) => new BFloat16(bits);
    }

    private readonly struct Halves : IPairs
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Load(ushort* address, ref TVector special, out TVector even, out TVector odd) => TLanes.LoadHalves(address, ref special, out even, out odd);

        public static float Get(ushort bits) => (float)BitConverter.UInt16BitsToHalf(bits);
    }
}
