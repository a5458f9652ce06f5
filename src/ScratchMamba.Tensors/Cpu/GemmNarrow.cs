using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Products of a few rows with a large transposed matrix that is held in few bits, as when a model makes one token: <c>Z[i, j] = Σₖ X[i, k] · W[j, k]</c>. The matrix is read once, where it is.
/// The rows of X are first brought into the order in which its numbers come out of memory. T is float.
/// </summary>
/// <remarks>
/// Numbers of 16 bits: a word holds two; a shift and a mask make two vectors of them, so those of X with even and with odd index lie apart.
/// Quantised numbers: X is rounded to 16 bits with a scale for each block, a product of integers for every pair, and each block's sum is scaled. What that rounds away is at most
/// 1/65534 of the largest |x| in a block, some 2e-5 of the result, where the weights themselves were rounded by 4e-3 and more.
/// Measured on two cores of Zen 3 for one row, matrix in memory and in huge pages (float32 reaches 28 GB/s): bf16 and f16 20 GB/s.
/// </remarks>
internal readonly unsafe struct GemmNarrow<TLanes, TVector, T> : IParallelBody
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged, IFloatingPointIeee754<T>
{
    private const int Width = 64;

    private readonly NarrowMatrix w;
    private readonly byte* x;
    private readonly T* z;
    private readonly int rows, columns, depth, xBytes;
    private readonly nint start, pitch;

    private GemmNarrow(in Gemm<T> product, byte* prepared, int xBytes)
    {
        w = product.NarrowB!.Value;
        z = product.C;
        (start, pitch) = (product.NarrowStart, product.BColumn);
        (rows, columns, depth) = (product.M, product.N, product.K);
        x = prepared;
        this.xBytes = xBytes;
    }

    /// <summary>Computes a product of few rows with <see cref="Gemm{T}.NarrowB"/>.</summary>
    public static void Run(in Gemm<T> product, int threads)
    {
        DType type = product.NarrowB!.Value.DType;
        int xBytes = type.IsQuantized() ? BlockInput.Bytes(product.K) : (product.K * sizeof(float) + 63) / 64 * 64;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(product.M * xBytes + 64 + product.K * sizeof(float));
        fixed (byte* first = buffer)
        {
            byte* prepared = (byte*)(((nint)first + 63) / 64 * 64);
            float* row = (float*)(prepared + product.M * xBytes);
            for (int i = 0; i < product.M; i++)
            {
                float* values = (float*)product.A + i * product.ARow;
                for (int k = 0; product.AColumn != 1 && k < product.K; k++)
                    row[k] = values[k * product.AColumn];
                Prepare(type, product.AColumn == 1 ? values : row, product.K, prepared + (nint)i * xBytes);
            }
            var body = new GemmNarrow<TLanes, TVector, T>(product, prepared, xBytes);
            CpuParallel.For(threads, (product.N + Width - 1) / Width, (long)product.M * Math.Min(product.N, Width) * product.K / Gemm<T>.FusedPerOperation, body);
        }
        ArrayPool<byte>.Shared.Return(buffer);
    }

    public void Invoke(int index)
    {
        int first = index * Width, count = Math.Min(Width, columns - first), blocks = depth / QuantizedBlocks.Length;
        float* scales = null;
        if (w.DType.IsQuantized())
        {
            // Rows of a quantised matrix lie one behind the other.
            CpuScratch scratch = default;
            scales = scratch.Take<float>((long)count * blocks);
            TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(w.ScaleAt(start + first * pitch), count * blocks), new Span<float>(scales, count * blocks));
        }
        for (int j = 0; j < count; j++, scales += blocks)
        {
            byte* run = w.At(start + (first + j) * pitch);
            for (int i = 0; i < rows; i++)
            {
                byte* xs = x + (nint)i * xBytes;
                z[(nint)i * columns + first + j] = w.DType switch
                {
                    DType.BF16 => Dot<BFloat16s>((T*)xs, (ushort*)run),
                    DType.F16 => Dot<Halves>((T*)xs, (ushort*)run),
                    DType.Q8_0 => DotBlocks<Eights>(new BlockInput(xs, depth), run, (T*)scales),
                    _ => DotBlocks<Fours>(new BlockInput(xs, depth), run, (T*)scales),
                };
            }
        }
    }

    // One column at a time: with four, the compiler has more variables than it keeps track of, and the loop takes three times as long.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private T Dot<TPairs>(T* x, ushort* run) where TPairs : struct, IPairs
    {
        TVector even0 = TLanes.Zero, odd0 = even0, even1 = even0, odd1 = even0;
        int k = 0;
        for (; k <= depth - 4 * TLanes.Count; k += 4 * TLanes.Count)
        {
            TPairs.Load(run + k, out TVector even, out TVector odd);
            even0 = TLanes.MultiplyAdd(TLanes.Load(x + k), even, even0);
            odd0 = TLanes.MultiplyAdd(TLanes.Load(x + k + TLanes.Count), odd, odd0);
            TPairs.Load(run + k + 2 * TLanes.Count, out even, out odd);
            even1 = TLanes.MultiplyAdd(TLanes.Load(x + k + 2 * TLanes.Count), even, even1);
            odd1 = TLanes.MultiplyAdd(TLanes.Load(x + k + 3 * TLanes.Count), odd, odd1);
        }
        T sum = TLanes.Sum(TLanes.Add(TLanes.Add(even0, odd0), TLanes.Add(even1, odd1)));
        for (; k < depth; k++)
            sum += x[k] * T.CreateTruncating(TPairs.Get(run[k]));
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private T DotBlocks<TBlock>(BlockInput x, byte* run, T* scales) where TBlock : struct, IBlock
    {
        TVector z0 = TLanes.Zero, z1 = z0;
        short* values = x.Values;
        T* inputScales = (T*)x.Scales;
        int* inputSums = x.Sums;
        int blocks = depth / QuantizedBlocks.Length, block = 0;
        for (; block <= blocks - 2; block += 2)
        {
            z0 = TLanes.MultiplyAdd(TLanes.Create(inputScales[block] * scales[block]), TBlock.Dot(values, inputSums[block], run), z0);
            z1 = TLanes.MultiplyAdd(
                TLanes.Create(inputScales[block + 1] * scales[block + 1]), TBlock.Dot(values + QuantizedBlocks.Length, inputSums[block + 1], run + TBlock.Bytes), z1);
            values += 2 * QuantizedBlocks.Length;
            run += 2 * TBlock.Bytes;
        }
        if (block < blocks)
            z0 = TLanes.MultiplyAdd(TLanes.Create(inputScales[block] * scales[block]), TBlock.Dot(values, inputSums[block], run), z0);
        return TLanes.Sum(TLanes.Add(z0, z1));
    }

    private static void Prepare(DType type, float* values, int depth, byte* prepared)
    {
        if (type.IsQuantized())
        {
            new BlockInput(prepared, depth).Round(values, depth);
            return;
        }
        int k = 0, lanes = TLanes.Count, whole = depth / (4 * lanes) * (4 * lanes);
        for (; k < whole; k += 2 * lanes)
        {
            float* to = (float*)prepared + k;
            for (int i = 0; i < lanes; i++)
                (to[i], to[lanes + i]) = (values[k + 2 * i], values[k + 2 * i + 1]);
        }
        new ReadOnlySpan<float>(values + k, depth - k).CopyTo(new Span<float>((float*)prepared + k, depth - k));
    }

    /// <summary>A row of X for quantised weights: integers of 16 bits, and for each block its scale and the sum of its integers.</summary>
    private readonly struct BlockInput(byte* start, int depth)
    {
        public readonly float* Scales = (float*)start;
        public readonly int* Sums = (int*)start + depth / QuantizedBlocks.Length;
        public readonly short* Values = (short*)(start + (depth / QuantizedBlocks.Length * 8 + 63) / 64 * 64);

        public static int Bytes(int depth) => (depth / QuantizedBlocks.Length * 8 + 63) / 64 * 64 + (depth * sizeof(short) + 63) / 64 * 64;

        public void Round(float* values, int depth)
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
                Sums[block] = inverse == 0 ? 0 : Vector128.Sum(sum);
                if (inverse == 0)
                    new Span<short>(to, QuantizedBlocks.Length).Clear();
            }
        }
    }

    /// <summary>Numbers of 16 bits, as two vectors: those with even and those with odd index.</summary>
    private interface IPairs
    {
        static abstract void Load(ushort* address, out TVector even, out TVector odd);

        static abstract float Get(ushort bits);
    }

    private readonly struct BFloat16s : IPairs
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Load(ushort* address, out TVector even, out TVector odd) => TLanes.LoadBFloat16s(address, out even, out odd);

        public static float Get(ushort bits) => new BFloat16(bits);
    }

    private readonly struct Halves : IPairs
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Load(ushort* address, out TVector even, out TVector odd) => TLanes.LoadHalves(address, out even, out odd);

        public static float Get(ushort bits) => (float)BitConverter.UInt16BitsToHalf(bits);
    }

    /// <summary>The scalar product of a block of quantised numbers with one of integers, as a vector of partial sums.</summary>
    private interface IBlock
    {
        static abstract int Bytes { get; }

        static abstract TVector Dot(short* x, int sum, byte* block);
    }

    private readonly struct Eights : IBlock
    {
        public static int Bytes => 32;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Dot(short* x, int sum, byte* block) => TLanes.DotEights(x, (sbyte*)block);
    }

    private readonly struct Fours : IBlock
    {
        public static int Bytes => 16;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Dot(short* x, int sum, byte* block) => TLanes.DotFours(x, sum, block);
    }
}
