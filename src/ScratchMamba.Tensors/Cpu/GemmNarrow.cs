using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Products of a few rows with a large transposed matrix that is held in few bits, as when a model makes one token: <c>Z[i, j] = Σₖ X[i, k] · W[j, k]</c>. The matrix is read once, where it is,
/// four columns of Z at a time. The rows of X are first brought into the order in which its numbers come out of memory. T is float.
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
    private const int Width = 64, Together = 4;

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
        int first = index * Width, count = Math.Min(Width, columns - first);
        CpuScratch scratch = default;
        T* sums = stackalloc T[Together];
        bool isQuantized = w.DType.IsQuantized();
        int blocks = depth / QuantizedBlocks.Length;
        float* scales = isQuantized ? scratch.Take<float>((long)count * blocks) : null;
        // Rows of a quantised matrix lie one behind the other.
        if (isQuantized)
            TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(w.ScaleAt(start + first * pitch), count * blocks), new Span<float>(scales, count * blocks));
        nint* runs = stackalloc nint[Together], scaleRuns = stackalloc nint[Together];
        for (int j = 0; j < count; j += Together)
        {
            // What the last columns lack is computed again.
            for (int c = 0; c < Together; c++)
            {
                int column = Math.Min(j + c, count - 1);
                runs[c] = (nint)w.At(start + (first + column) * pitch);
                scaleRuns[c] = (nint)(scales + (nint)column * blocks);
            }
            for (int i = 0; i < rows; i++)
            {
                byte* xs = x + (nint)i * xBytes;
                switch (w.DType)
                {
                    case DType.BF16:
                        Dot<BFloat16s>((T*)xs, (ushort**)runs, sums);
                        break;
                    case DType.F16:
                        Dot<Halves>((T*)xs, (ushort**)runs, sums);
                        break;
                    case DType.Q8_0:
                        DotBlocks<Eights>(new BlockInput(xs, depth), (byte**)runs, (T**)scaleRuns, sums);
                        break;
                    default:
                        DotBlocks<Fours>(new BlockInput(xs, depth), (byte**)runs, (T**)scaleRuns, sums);
                        break;
                }
                new ReadOnlySpan<T>(sums, Math.Min(Together, count - j)).CopyTo(new Span<T>(z + (nint)i * columns + first + j, Together));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Dot<TPairs>(T* x, ushort** runs, T* sums) where TPairs : struct, IPairs
    {
        TVector even0 = TLanes.Zero, even1 = even0, even2 = even0, even3 = even0, odd0 = even0, odd1 = even0, odd2 = even0, odd3 = even0;
        ushort* w0 = runs[0], w1 = runs[1], w2 = runs[2], w3 = runs[3];
        int k = 0;
        for (; k <= depth - 2 * TLanes.Count; k += 2 * TLanes.Count)
        {
            TVector p = TLanes.Load(x + k), q = TLanes.Load(x + k + TLanes.Count);
            TPairs.Load(w0 + k, out TVector even, out TVector odd);
            even0 = TLanes.MultiplyAdd(p, even, even0);
            odd0 = TLanes.MultiplyAdd(q, odd, odd0);
            TPairs.Load(w1 + k, out even, out odd);
            even1 = TLanes.MultiplyAdd(p, even, even1);
            odd1 = TLanes.MultiplyAdd(q, odd, odd1);
            TPairs.Load(w2 + k, out even, out odd);
            even2 = TLanes.MultiplyAdd(p, even, even2);
            odd2 = TLanes.MultiplyAdd(q, odd, odd2);
            TPairs.Load(w3 + k, out even, out odd);
            even3 = TLanes.MultiplyAdd(p, even, even3);
            odd3 = TLanes.MultiplyAdd(q, odd, odd3);
        }
        sums[0] = TLanes.Sum(TLanes.Add(even0, odd0));
        sums[1] = TLanes.Sum(TLanes.Add(even1, odd1));
        sums[2] = TLanes.Sum(TLanes.Add(even2, odd2));
        sums[3] = TLanes.Sum(TLanes.Add(even3, odd3));
        for (; k < depth; k++)
        {
            for (int c = 0; c < Together; c++)
                sums[c] += x[k] * T.CreateTruncating(TPairs.Get(runs[c][k]));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void DotBlocks<TBlock>(BlockInput x, byte** runs, T** scales, T* sums) where TBlock : struct, IBlock
    {
        TVector z0 = TLanes.Zero, z1 = z0, z2 = z0, z3 = z0;
        byte* w0 = runs[0], w1 = runs[1], w2 = runs[2], w3 = runs[3];
        T* s0 = scales[0], s1 = scales[1], s2 = scales[2], s3 = scales[3];
        short* values = x.Values;
        for (int block = 0; block < depth / QuantizedBlocks.Length; block++, values += QuantizedBlocks.Length)
        {
            TVector scale = TLanes.Create(((T*)x.Scales)[block]);
            int sum = x.Sums[block];
            nint at = block * TBlock.Bytes;
            z0 = TLanes.MultiplyAdd(TLanes.Multiply(scale, TLanes.Create(s0[block])), TBlock.Dot(values, sum, w0 + at), z0);
            z1 = TLanes.MultiplyAdd(TLanes.Multiply(scale, TLanes.Create(s1[block])), TBlock.Dot(values, sum, w1 + at), z1);
            z2 = TLanes.MultiplyAdd(TLanes.Multiply(scale, TLanes.Create(s2[block])), TBlock.Dot(values, sum, w2 + at), z2);
            z3 = TLanes.MultiplyAdd(TLanes.Multiply(scale, TLanes.Create(s3[block])), TBlock.Dot(values, sum, w3 + at), z3);
        }
        sums[0] = TLanes.Sum(z0);
        sums[1] = TLanes.Sum(z1);
        sums[2] = TLanes.Sum(z2);
        sums[3] = TLanes.Sum(z3);
    }

    private static void Prepare(DType type, float* values, int depth, byte* prepared)
    {
        if (type.IsQuantized())
        {
            new BlockInput(prepared, depth).Round(values, depth);
            return;
        }
        int k = 0, lanes = TLanes.Count;
        for (; k <= depth - 2 * lanes; k += 2 * lanes)
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
