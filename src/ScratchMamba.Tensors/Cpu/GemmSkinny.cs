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
    // With 3352 columns of 768 on two threads of Zen 3 the product in place took 0.62 ms for 13 rows where packing first made it 0.95, 0.86 instead of 1.06 for 24, 1.24 instead of 1.36 for 32
    // and 2.06 instead of 1.86 for 48, whose rows no longer stay near.
    private const int MostRows = 24;

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
        width = wDepth == 1 ? 64 : 256;
    }

    /// <summary>Whether packing the large matrix would cost more than it gains.</summary>
    public static bool Fits(in Gemm<T> product) => HasFewRows(product) || (product.N <= 8 && product.AColumn == 1);

    private static bool HasFewRows(in Gemm<T> product) => product.M <= (product.BRow != 1 ? 2 : MostRows);

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

    /// <summary>W lies along its rows: eight of them at a time are added to all rows of Z, which so are read and written once for eight.</summary>
    private void AddRows(T* xs, T* ws, T* zs, int count)
    {
        for (int i = 0; i < rows; i++)
            new Span<T>(zs + i * zRow, count).Clear();
        int k = 0;
        for (; k <= depth - 8; k += 8)
        {
            for (int i = 0; i < rows; i++)
                AddEight(count, xs + i * xRow + k * xDepth, xDepth, ws + k * wDepth, wDepth, zs + i * zRow);
        }
        for (; k < depth; k++)
        {
            var row = new ReadOnlySpan<T>(ws + k * wDepth, count);
            for (int i = 0; i < rows; i++)
            {
                var sum = new Span<T>(zs + i * zRow, count);
                TensorPrimitives.MultiplyAddEstimate(row, xs[i * xRow + k * xDepth], sum, sum);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddEight(int count, T* x, nint xDepth, T* w, nint pitch, T* z)
    {
        T x0 = x[0], x1 = x[xDepth], x2 = x[2 * xDepth], x3 = x[3 * xDepth], x4 = x[4 * xDepth], x5 = x[5 * xDepth], x6 = x[6 * xDepth], x7 = x[7 * xDepth];
        TVector p0 = TLanes.Create(x0), p1 = TLanes.Create(x1), p2 = TLanes.Create(x2), p3 = TLanes.Create(x3);
        TVector p4 = TLanes.Create(x4), p5 = TLanes.Create(x5), p6 = TLanes.Create(x6), p7 = TLanes.Create(x7);
        T* w1 = w + pitch, w2 = w1 + pitch, w3 = w2 + pitch, w4 = w3 + pitch, w5 = w4 + pitch, w6 = w5 + pitch, w7 = w6 + pitch;
        int j = 0;
        for (; j <= count - TLanes.Count; j += TLanes.Count)
        {
            TVector sum = TLanes.Load(z + j);
            sum = TLanes.MultiplyAdd(p0, TLanes.Load(w + j), sum);
            sum = TLanes.MultiplyAdd(p1, TLanes.Load(w1 + j), sum);
            sum = TLanes.MultiplyAdd(p2, TLanes.Load(w2 + j), sum);
            sum = TLanes.MultiplyAdd(p3, TLanes.Load(w3 + j), sum);
            sum = TLanes.MultiplyAdd(p4, TLanes.Load(w4 + j), sum);
            sum = TLanes.MultiplyAdd(p5, TLanes.Load(w5 + j), sum);
            sum = TLanes.MultiplyAdd(p6, TLanes.Load(w6 + j), sum);
            sum = TLanes.MultiplyAdd(p7, TLanes.Load(w7 + j), sum);
            TLanes.Store(sum, z + j);
        }
        for (; j < count; j++)
        {
            T sum = T.MultiplyAddEstimate(x0, w[j], z[j]);
            sum = T.MultiplyAddEstimate(x1, w1[j], sum);
            sum = T.MultiplyAddEstimate(x2, w2[j], sum);
            sum = T.MultiplyAddEstimate(x3, w3[j], sum);
            sum = T.MultiplyAddEstimate(x4, w4[j], sum);
            sum = T.MultiplyAddEstimate(x5, w5[j], sum);
            sum = T.MultiplyAddEstimate(x6, w6[j], sum);
            z[j] = T.MultiplyAddEstimate(x7, w7[j], sum);
        }
    }

    /// <summary>W lies along its columns: each element of Z is a scalar product. What the last ones lack is computed again, so that no element of Z depends on how many there are.</summary>
    [SkipLocalsInit, MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void DotColumns(T* xs, nint pitch, T* ws, T* zs, int count)
    {
        T* sums = stackalloc T[12];
        T** runs = stackalloc T*[8];
        int together = rows == 1 ? 8 : 4, block = rows is 1 or 2 or 4 ? 2 : 3;
        for (int j = 0; j < count; j += together)
        {
            for (int column = 0; column < together; column++)
                runs[column] = ws + Math.Min(j + column, count - 1) * wColumn;
            for (int i = 0; i < rows; i += block)
            {
                T* first = xs + i * pitch, second = xs + Math.Min(i + 1, rows - 1) * pitch;
                if (rows == 1)
                    OneRow(depth, first, runs, sums);
                else if (block == 2)
                    TwoRows(depth, first, second, runs, sums);
                else
                    ThreeRows(depth, first, second, xs + Math.Min(i + 2, rows - 1) * pitch, runs, sums);
                for (int row = i; row < Math.Min(rows, i + block); row++)
                {
                    for (int column = j; column < Math.Min(count, j + together); column++)
                        zs[row * zRow + column * zColumn] = sums[(row - i) * 4 + column - j];
                }
            }
        }
    }

    /// <summary>Two times four scalar products: eight chains of additions hide their latency.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TwoRows(int depth, T* x0, T* x1, T** runs, T* sums)
    {
        TVector z00 = TLanes.Zero, z01 = TLanes.Zero, z02 = TLanes.Zero, z03 = TLanes.Zero;
        TVector z10 = TLanes.Zero, z11 = TLanes.Zero, z12 = TLanes.Zero, z13 = TLanes.Zero;
        T* w0 = runs[0], w1 = runs[1], w2 = runs[2], w3 = runs[3];
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
            for (int column = 0; column < 4; column++)
            {
                sums[column] += x0[k] * runs[column][k];
                sums[column + 4] += x1[k] * runs[column][k];
            }
        }
    }

    /// <summary>Three times four scalar products: with three vectors of X and one of W, all registers of AVX2; seven loads for twelve multiply-adds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ThreeRows(int depth, T* x0, T* x1, T* x2, T** runs, T* sums)
    {
        TVector z00 = TLanes.Zero, z01 = TLanes.Zero, z02 = TLanes.Zero, z03 = TLanes.Zero;
        TVector z10 = TLanes.Zero, z11 = TLanes.Zero, z12 = TLanes.Zero, z13 = TLanes.Zero;
        TVector z20 = TLanes.Zero, z21 = TLanes.Zero, z22 = TLanes.Zero, z23 = TLanes.Zero;
        T* w0 = runs[0], w1 = runs[1], w2 = runs[2], w3 = runs[3];
        int k = 0;
        for (; k <= depth - TLanes.Count; k += TLanes.Count)
        {
            TVector p = TLanes.Load(x0 + k), q = TLanes.Load(x1 + k), r = TLanes.Load(x2 + k);
            TVector y = TLanes.Load(w0 + k);
            z00 = TLanes.MultiplyAdd(p, y, z00);
            z10 = TLanes.MultiplyAdd(q, y, z10);
            z20 = TLanes.MultiplyAdd(r, y, z20);
            y = TLanes.Load(w1 + k);
            z01 = TLanes.MultiplyAdd(p, y, z01);
            z11 = TLanes.MultiplyAdd(q, y, z11);
            z21 = TLanes.MultiplyAdd(r, y, z21);
            y = TLanes.Load(w2 + k);
            z02 = TLanes.MultiplyAdd(p, y, z02);
            z12 = TLanes.MultiplyAdd(q, y, z12);
            z22 = TLanes.MultiplyAdd(r, y, z22);
            y = TLanes.Load(w3 + k);
            z03 = TLanes.MultiplyAdd(p, y, z03);
            z13 = TLanes.MultiplyAdd(q, y, z13);
            z23 = TLanes.MultiplyAdd(r, y, z23);
        }
        sums[0] = TLanes.Sum(z00);
        sums[1] = TLanes.Sum(z01);
        sums[2] = TLanes.Sum(z02);
        sums[3] = TLanes.Sum(z03);
        sums[4] = TLanes.Sum(z10);
        sums[5] = TLanes.Sum(z11);
        sums[6] = TLanes.Sum(z12);
        sums[7] = TLanes.Sum(z13);
        sums[8] = TLanes.Sum(z20);
        sums[9] = TLanes.Sum(z21);
        sums[10] = TLanes.Sum(z22);
        sums[11] = TLanes.Sum(z23);
        for (; k < depth; k++)
        {
            for (int column = 0; column < 4; column++)
            {
                sums[column] += x0[k] * runs[column][k];
                sums[column + 4] += x1[k] * runs[column][k];
                sums[column + 8] += x2[k] * runs[column][k];
            }
        }
    }

    /// <summary>Eight scalar products with one row, each summed as <see cref="TwoRows"/> does: eight runs of memory keep it busy.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneRow(int depth, T* x, T** runs, T* sums)
    {
        TVector z0 = TLanes.Zero, z1 = TLanes.Zero, z2 = TLanes.Zero, z3 = TLanes.Zero, z4 = TLanes.Zero, z5 = TLanes.Zero, z6 = TLanes.Zero, z7 = TLanes.Zero;
        T* w0 = runs[0], w1 = runs[1], w2 = runs[2], w3 = runs[3], w4 = runs[4], w5 = runs[5], w6 = runs[6], w7 = runs[7];
        int k = 0;
        for (; k <= depth - TLanes.Count; k += TLanes.Count)
        {
            TVector p = TLanes.Load(x + k);
            z0 = TLanes.MultiplyAdd(p, TLanes.Load(w0 + k), z0);
            z1 = TLanes.MultiplyAdd(p, TLanes.Load(w1 + k), z1);
            z2 = TLanes.MultiplyAdd(p, TLanes.Load(w2 + k), z2);
            z3 = TLanes.MultiplyAdd(p, TLanes.Load(w3 + k), z3);
            z4 = TLanes.MultiplyAdd(p, TLanes.Load(w4 + k), z4);
            z5 = TLanes.MultiplyAdd(p, TLanes.Load(w5 + k), z5);
            z6 = TLanes.MultiplyAdd(p, TLanes.Load(w6 + k), z6);
            z7 = TLanes.MultiplyAdd(p, TLanes.Load(w7 + k), z7);
        }
        sums[0] = TLanes.Sum(z0);
        sums[1] = TLanes.Sum(z1);
        sums[2] = TLanes.Sum(z2);
        sums[3] = TLanes.Sum(z3);
        sums[4] = TLanes.Sum(z4);
        sums[5] = TLanes.Sum(z5);
        sums[6] = TLanes.Sum(z6);
        sums[7] = TLanes.Sum(z7);
        for (; k < depth; k++)
        {
            for (int column = 0; column < 8; column++)
                sums[column] += x[k] * runs[column][k];
        }
    }
}
