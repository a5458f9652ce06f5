using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Products of a few rows with a large transposed matrix of quantised numbers, as when a model makes one token: <c>Z[i, j] = Σₖ X[i, k] · W[j, k]</c>. The matrix is read once, where it is.
/// X is rounded to integers of 16 bits with a scale for each block; a block's products are summed as integers, and the sum is scaled. T is float.
/// </summary>
/// <remarks>
/// What the rounding takes is at most 1/65534 of the largest |x| in a block, some 2e-5 of the result, where the weights themselves were rounded by 4e-3 and more. With integers of 8 bits, as other programs
/// round to, it would be 256 times as much, and no faster: on two cores of Zen 3 a row times a matrix of Q8_0 in memory takes what reading it does, 25 to 35 GB/s.
/// </remarks>
internal readonly unsafe struct GemmQuantized<TLanes, TVector, T> : IParallelBody
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged, IFloatingPointIeee754<T>
{
    private const int Width = 64, Together = 4, FetchedAhead = 4096;

    private readonly NarrowMatrix w;
    private readonly byte* x;
    private readonly T* z;
    private readonly int rows, columns, depth;
    private readonly nint start;

    private GemmQuantized(in Gemm<T> product, byte* prepared)
    {
        w = product.NarrowB!.Value;
        x = prepared;
        z = product.C;
        start = product.NarrowStart;
        (rows, columns, depth) = (product.M, product.N, product.K);
    }

    /// <summary>Computes a product of few rows with <see cref="Gemm{T}.NarrowB"/>.</summary>
    public static void Run(in Gemm<T> product, int threads)
    {
        int size = BlockInput.Bytes(product.K);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(product.M * size + 64 + product.K * sizeof(float));
        fixed (byte* first = buffer)
        {
            byte* prepared = (byte*)(((nint)first + 63) / 64 * 64);
            float* row = (float*)(prepared + product.M * size);
            for (int i = 0; i < product.M; i++)
            {
                float* values = (float*)product.A + i * product.ARow;
                for (int k = 0; product.AColumn != 1 && k < product.K; k++)
                    row[k] = values[k * product.AColumn];
                new BlockInput(prepared + (nint)i * size, product.K).Round(product.AColumn == 1 ? values : row);
            }
            var body = new GemmQuantized<TLanes, TVector, T>(product, prepared);
            CpuParallel.For(threads, (product.N + Width - 1) / Width, (long)product.M * Math.Min(product.N, Width) * product.K / Gemm<T>.FusedPerOperation, body);
        }
        ArrayPool<byte>.Shared.Return(buffer);
    }

    public void Invoke(int index)
    {
        if (w.DType == DType.Q8_0)
            Multiply<Eights>(index * Width);
        else
            Multiply<Fours>(index * Width);
    }

    private void Multiply<TBlock>(int first) where TBlock : struct, IBlock
    {
        int count = Math.Min(Width, columns - first), blocks = depth / QuantizedBlocks.Length, size = BlockInput.Bytes(depth);
        CpuScratch scratch = default;
        // Rows of a quantised matrix lie one behind the other.
        float* scales = scratch.Take<float>((long)count * blocks);
        TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(w.ScaleAt(start + (nint)first * depth), count * blocks), new Span<float>(scales, count * blocks));
        T* factors = scratch.Take<T>(Together * blocks), sums = scratch.Take<T>(Together), excess = scratch.TakeZeros<T>(Together);
        byte** runs = stackalloc byte*[Together];
        for (int j = 0; j < count; j += Together)
        {
            for (int i = 0; i < rows; i++)
            {
                var row = new BlockInput(x + (nint)i * size, depth);
                for (int column = 0; column < Together; column++)
                {
                    // What the last columns lack is computed again.
                    int at = Math.Min(j + column, count - 1);
                    runs[column] = w.At(start + (nint)(first + at) * depth);
                    Multiply((T*)row.Scales, (T*)scales + at * blocks, factors + column * blocks);
                    if (TBlock.Offset != 0)
                        excess[column] = Dot((T*)row.Excess, (T*)scales + at * blocks);
                }
                Dot<TBlock>(row.Values, runs, factors, sums);
                for (int column = 0; column < Math.Min(Together, count - j); column++)
                    z[(nint)i * columns + first + j + column] = sums[column] - excess[column];
            }
        }
    }

    /// <summary>The products of two numbers for each block.</summary>
    private void Multiply(T* a, T* b, T* products)
    {
        int blocks = depth / QuantizedBlocks.Length, block = 0;
        for (; block <= blocks - TLanes.Count; block += TLanes.Count)
            TLanes.Store(TLanes.MultiplyAdd(TLanes.Load(a + block), TLanes.Load(b + block), TLanes.Zero), products + block);
        for (; block < blocks; block++)
            products[block] = a[block] * b[block];
    }

    /// <summary>Their sum.</summary>
    private T Dot(T* a, T* b)
    {
        TVector sums = TLanes.Zero;
        int blocks = depth / QuantizedBlocks.Length, block = 0;
        for (; block <= blocks - TLanes.Count; block += TLanes.Count)
            sums = TLanes.MultiplyAdd(TLanes.Load(a + block), TLanes.Load(b + block), sums);
        T sum = TLanes.Sum(sums);
        for (; block < blocks; block++)
            sum += a[block] * b[block];
        return sum;
    }

    /// <summary>
    /// Four scalar products, which share what is loaded of X. So many runs beside each other are more than the processor fetches ahead by itself: asked to, it reads a matrix from memory 30 % faster.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Dot<TBlock>(short* values, byte** runs, T* factors, T* sums) where TBlock : struct, IBlock
    {
        TVector z0 = TLanes.Zero, z1 = z0, z2 = z0, z3 = z0;
        byte* r0 = runs[0], r1 = runs[1], r2 = runs[2], r3 = runs[3], ahead = r0 + FetchedAhead;
        int blocks = depth / QuantizedBlocks.Length;
        T* f0 = factors, f1 = f0 + blocks, f2 = f1 + blocks, f3 = f2 + blocks;
        for (int block = 0; block < blocks; block++)
        {
            if (Sse.IsSupported)
            {
                Sse.Prefetch0(ahead);
                if (TBlock.Bytes == 32)
                    Sse.Prefetch0(ahead + 64);
                ahead += Together * TBlock.Bytes;
            }
            int at = block * TBlock.Bytes;
            z0 = TLanes.MultiplyAdd(TBlock.Dot(values, r0 + at), TLanes.Create(f0[block]), z0);
            z1 = TLanes.MultiplyAdd(TBlock.Dot(values, r1 + at), TLanes.Create(f1[block]), z1);
            z2 = TLanes.MultiplyAdd(TBlock.Dot(values, r2 + at), TLanes.Create(f2[block]), z2);
            z3 = TLanes.MultiplyAdd(TBlock.Dot(values, r3 + at), TLanes.Create(f3[block]), z3);
            values += QuantizedBlocks.Length;
        }
        sums[0] = TLanes.Sum(z0);
        sums[1] = TLanes.Sum(z1);
        sums[2] = TLanes.Sum(z2);
        sums[3] = TLanes.Sum(z3);
    }

    /// <summary>A row of X: integers of 16 bits, and for each block its scale and 8 times the sum of what its integers stand for (what is too much where numbers of 4 bits are stored plus 8).</summary>
    private readonly struct BlockInput(byte* start, int depth)
    {
        public readonly float* Scales = (float*)start;
        public readonly float* Excess = (float*)start + depth / QuantizedBlocks.Length;
        public readonly short* Values = (short*)(start + HeadBytes(depth));

        public static int Bytes(int depth) => HeadBytes(depth) + (depth * sizeof(short) + 63) / 64 * 64;

        private static int HeadBytes(int depth) => (depth / QuantizedBlocks.Length * 2 * sizeof(float) + 63) / 64 * 64;

        public void Round(float* values)
        {
            // Adding 1.5 · 2²³ leaves the nearest integer in the lower bits of the sum.
            const float Shift = 12582912;
            Vector128<float> shift = Vector128.Create(Shift);
            for (int block = 0; block < depth / QuantizedBlocks.Length; block++, values += QuantizedBlocks.Length)
            {
                float largest = 0;
                for (int i = 0; i < QuantizedBlocks.Length; i += 16)
                {
                    Vector128<float> most = Vector128.Max(
                        Vector128.Max(Vector128.Abs(Vector128.Load(values + i)), Vector128.Abs(Vector128.Load(values + i + 4))),
                        Vector128.Max(Vector128.Abs(Vector128.Load(values + i + 8)), Vector128.Abs(Vector128.Load(values + i + 12))));
                    largest = Math.Max(largest, Math.Max(Math.Max(most[0], most[1]), Math.Max(most[2], most[3])));
                }
                // A number that is none, or infinite, makes the whole row NaN.
                bool isFinite = float.IsFinite(largest);
                float inverse = isFinite && largest > 1e-30f ? short.MaxValue / largest : 0;
                Vector128<int> sum = default;
                short* to = Values + block * QuantizedBlocks.Length;
                for (int i = 0; i < QuantizedBlocks.Length; i += 8)
                {
                    Vector128<int> low = (Vector128.Load(values + i) * inverse + shift).AsInt32() - shift.AsInt32(), high = (Vector128.Load(values + i + 4) * inverse + shift).AsInt32() - shift.AsInt32();
                    sum += low + high;
                    Vector128.Store(Vector128.Narrow(low, high), to + i);
                }
                Scales[block] = isFinite ? largest / short.MaxValue : float.NaN;
                Excess[block] = inverse == 0 ? 0 : 8 * Scales[block] * Vector128.Sum(sum);
                if (inverse == 0)
                    new Span<short>(to, QuantizedBlocks.Length).Clear();
            }
        }
    }

    /// <summary>The scalar product of a block of quantised numbers with one of integers, as a vector of partial sums.</summary>
    private interface IBlock
    {
        static abstract int Bytes { get; }

        /// <summary>What is added to numbers as they are stored.</summary>
        static abstract int Offset { get; }

        static abstract TVector Dot(short* x, byte* block);
    }

    private readonly struct Eights : IBlock
    {
        public static int Bytes => 32;

        public static int Offset => 0;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Dot(short* x, byte* block) => TLanes.DotEights(x, (sbyte*)block);
    }

    private readonly struct Fours : IBlock
    {
        public static int Bytes => 16;

        public static int Offset => 8;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Dot(short* x, byte* block) => TLanes.DotFours(x, block);
    }
}
