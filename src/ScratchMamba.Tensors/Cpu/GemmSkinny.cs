using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Products of a few rows with a large matrix, as when a model makes one token: the matrix is read once, where it is.
/// <c>Z[i, j] = Σₖ X[i, k] · W[k, j]</c>, with few i; a product with few columns is the same with its two sides exchanged.
/// </summary>
internal readonly unsafe struct GemmSkinny<TLanes, TVector, T> : IParallelBody
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged, IFloatingPointIeee754<T>
{
    private readonly T* x, w, z;
    private readonly int batches, rows, columns, depth, width;
    private readonly nint xRow, xDepth, xBatch, wDepth, wColumn, wBatch, zRow, zColumn;

    public GemmSkinny(in Gemm<T> product)
    {
        (batches, depth) = (product.Batches, product.K);
        z = product.C;
        bool exchanged = !HasFewRows(product);
        x = exchanged ? product.B : product.A;
        w = exchanged ? product.A : product.B;
        if (!exchanged)
        {
            (rows, xRow, xDepth, xBatch, zRow) = (product.M, product.ARow, product.AColumn, product.ABatch, product.N);
            (columns, wColumn, wDepth, wBatch, zColumn) = (product.N, product.BColumn, product.BRow, product.BBatch, 1);
        }
        else
        {
            (rows, xRow, xDepth, xBatch, zRow) = (product.N, product.BColumn, product.BRow, product.BBatch, 1);
            (columns, wColumn, wDepth, wBatch, zColumn) = (product.M, product.ARow, product.AColumn, product.ABatch, product.N);
        }
        // The columns of a part: many where W is read along its rows, few where each column is a run of its own.
        width = wDepth == 1 ? 64 : 512;
    }

    /// <summary>Whether packing the large matrix would cost more than it gains.</summary>
    public static bool Fits(in Gemm<T> product) => HasFewRows(product) || (product.N <= 8 && product.AColumn == 1);

    // The bounds are where both ways took equally long. Scalar products keep up longest, for packing W would transpose it, but short ones are mostly overhead.
    private static bool HasFewRows(in Gemm<T> product) => product.M <= (product.BRow != 1 ? 2 : product.K < 64 ? 8 : 32);

    public void Run(int threads) => CpuParallel.For(
        threads, checked(batches * ((columns + width - 1) / width)), (long)rows * Math.Min(columns, width) * depth / Gemm<T>.FusedPerOperation, this);

    public void Invoke(int index)
    {
        int parts = (columns + width - 1) / width, batch = index / parts, start = index % parts * width;
        int count = Math.Min(columns - start, width);
        T* xs = x + batch * xBatch, ws = w + batch * wBatch + start * wColumn, zs = z + (nint)batch * rows * columns + start * zColumn;
        if (wDepth != 1)
        {
            AddRows(xs, ws, zs, count);
            return;
        }
        if (xDepth == 1)
        {
            DotColumns(xs, xRow, ws, zs, count);
            return;
        }
        T[] buffer = ArrayPool<T>.Shared.Rent(rows * depth);
        fixed (T* copy = buffer)
        {
            for (int i = 0; i < rows; i++)
            {
                for (int k = 0; k < depth; k++)
                    copy[i * depth + k] = xs[i * xRow + k * xDepth];
            }
            DotColumns(copy, depth, ws, zs, count);
        }
        ArrayPool<T>.Shared.Return(buffer);
    }

    /// <summary>W lies along its rows: each is added to all rows of Z while it is at hand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddRows(T* xs, T* ws, T* zs, int count)
    {
        for (int i = 0; i < rows; i++)
            new Span<T>(zs + i * zRow, count).Clear();
        for (int k = 0; k < depth; k++)
        {
            var row = new ReadOnlySpan<T>(ws + k * wDepth, count);
            for (int i = 0; i < rows; i++)
            {
                var sum = new Span<T>(zs + i * zRow, count);
                TensorPrimitives.MultiplyAddEstimate(row, xs[i * xRow + k * xDepth], sum, sum);
            }
        }
    }

    /// <summary>W lies along its columns: each element of Z is a scalar product. What the last four lack is computed again, so that no row of Z depends on how many there are.</summary>
    [SkipLocalsInit, MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void DotColumns(T* xs, nint pitch, T* ws, T* zs, int count)
    {
        T* sums = stackalloc T[8];
        for (int j = 0; j < count; j += 4)
        {
            int last = count - 1;
            T* w0 = ws + j * wColumn, w1 = ws + Math.Min(j + 1, last) * wColumn, w2 = ws + Math.Min(j + 2, last) * wColumn, w3 = ws + Math.Min(j + 3, last) * wColumn;
            for (int i = 0; i < rows; i += 2)
            {
                Dots(depth, xs + i * pitch, xs + Math.Min(i + 1, rows - 1) * pitch, w0, w1, w2, w3, sums);
                for (int row = i; row < Math.Min(rows, i + 2); row++)
                {
                    for (int column = j; column < Math.Min(count, j + 4); column++)
                        zs[row * zRow + column * zColumn] = sums[(row - i) * 4 + column - j];
                }
            }
        }
    }

    /// <summary>Two times four scalar products: eight chains of additions hide their latency.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Dots(int depth, T* x0, T* x1, T* w0, T* w1, T* w2, T* w3, T* sums)
    {
        TVector z00 = TLanes.Zero, z01 = TLanes.Zero, z02 = TLanes.Zero, z03 = TLanes.Zero;
        TVector z10 = TLanes.Zero, z11 = TLanes.Zero, z12 = TLanes.Zero, z13 = TLanes.Zero;
        int k = 0;
        for (; k <= depth - TLanes.Count; k += TLanes.Count)
        {
            TVector p = TLanes.Load(x0 + k), q = TLanes.Load(x1 + k);
            TVector y = TLanes.Load(w0 + k);
            z00 = TLanes.MultiplyAdd(p, y, z00);
            z10 = TLanes.MultiplyAdd(q, y, z10);
            y = TLanes.Load(w1 + k);
            z01 = TLanes.MultiplyAdd(p, y, z01);
            z11 = TLanes.MultiplyAdd(q, y, z11);
            y = TLanes.Load(w2 + k);
            z02 = TLanes.MultiplyAdd(p, y, z02);
            z12 = TLanes.MultiplyAdd(q, y, z12);
            y = TLanes.Load(w3 + k);
            z03 = TLanes.MultiplyAdd(p, y, z03);
            z13 = TLanes.MultiplyAdd(q, y, z13);
        }
        sums[0] = TLanes.Sum(z00);
        sums[1] = TLanes.Sum(z01);
        sums[2] = TLanes.Sum(z02);
        sums[3] = TLanes.Sum(z03);
        sums[4] = TLanes.Sum(z10);
        sums[5] = TLanes.Sum(z11);
        sums[6] = TLanes.Sum(z12);
        sums[7] = TLanes.Sum(z13);
        for (; k < depth; k++)
        {
            sums[0] += x0[k] * w0[k];
            sums[1] += x0[k] * w1[k];
            sums[2] += x0[k] * w2[k];
            sums[3] += x0[k] * w3[k];
            sums[4] += x1[k] * w0[k];
            sums[5] += x1[k] * w1[k];
            sums[6] += x1[k] * w2[k];
            sums[7] += x1[k] * w3[k];
        }
    }
}
