using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>What of a product of triangular matrices need not be computed. Rows are taken in fours, so up to three elements beyond the diagonal are read or written.</summary>
internal enum Triangle
{
    /// <summary>Nothing: all matrices are full.</summary>
    None,

    /// <summary>Only c[i, j] with j ≤ i is wanted; elements above the diagonal become anything.</summary>
    LowerResult,

    /// <summary>a[i, k] = 0 for k &gt; i.</summary>
    LowerLeft,

    /// <summary>a[i, k] = 0 for k &lt; i.</summary>
    UpperLeft,
}

/// <summary>
/// Products of matrices that fit the second-level cache, without packing.
/// Blocked in registers by 4 rows × 2 vectors: eight accumulators are what two FMA pipes of four cycles' latency need, and with 2 loads and 4 broadcasts
/// per 8 multiply-adds the load ports keep up. A panel of b, two vectors wide, stays in the first-level cache while all rows of a pass by.
/// </summary>
internal static unsafe class SmallMatrix
{
    /// <summary>Rows that are computed together.</summary>
    public const int RowBlock = 4;

    /// <summary>c = a·b, or c += a·b with <paramref name="add"/>: a [rows, depth] at any steps, b [depth, columns] and c [rows, columns] with contiguous rows.</summary>
    /// <param name="rows">Rows of a and c.</param>
    /// <param name="columns">Columns of b and c.</param>
    /// <param name="depth">Columns of a, rows of b.</param>
    /// <param name="a">The left factor; transposed when <paramref name="aRow"/> is 1.</param>
    /// <param name="aRow">Elements from one row of a to the next.</param>
    /// <param name="aColumn">Elements from one column of a to the next.</param>
    /// <param name="b">The right factor.</param>
    /// <param name="bRow">Elements from one row of b to the next.</param>
    /// <param name="c">The result.</param>
    /// <param name="cRow">Elements from one row of c to the next.</param>
    /// <param name="add">Whether to add to what c holds.</param>
    /// <param name="triangle">What may be left out.</param>
    public static void Multiply<T>(
        int rows, int columns, int depth, T* a, long aRow, long aColumn, T* b, long bRow, T* c, long cRow, bool add = false, Triangle triangle = Triangle.None)
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Vector<T>.Count, j = 0;
        for (; j + 2 * width <= columns; j += 2 * width)
        {
            int i = triangle == Triangle.LowerResult ? j / RowBlock * RowBlock : 0;
            for (; i + RowBlock <= rows; i += RowBlock)
            {
                (int from, int to) = Depths(triangle, i, RowBlock, depth);
                FourByTwo(to - from, a + i * aRow + from * aColumn, aRow, aColumn, b + from * bRow + j, bRow, c + i * cRow + j, cRow, add);
            }
            for (; i < rows; i++)
            {
                (int from, int to) = Depths(triangle, i, 1, depth);
                OneByOne(to - from, a + i * aRow + from * aColumn, aColumn, b + from * bRow + j, bRow, c + i * cRow + j, add);
                OneByOne(to - from, a + i * aRow + from * aColumn, aColumn, b + from * bRow + j + width, bRow, c + i * cRow + j + width, add);
            }
        }
        for (; j + width <= columns; j += width)
        {
            int i = triangle == Triangle.LowerResult ? j / RowBlock * RowBlock : 0;
            for (; i + RowBlock <= rows; i += RowBlock)
            {
                (int from, int to) = Depths(triangle, i, RowBlock, depth);
                FourByOne(to - from, a + i * aRow + from * aColumn, aRow, aColumn, b + from * bRow + j, bRow, c + i * cRow + j, cRow, add);
            }
            for (; i < rows; i++)
            {
                (int from, int to) = Depths(triangle, i, 1, depth);
                OneByOne(to - from, a + i * aRow + from * aColumn, aColumn, b + from * bRow + j, bRow, c + i * cRow + j, add);
            }
        }
        for (; j < columns; j++)
        {
            for (int i = 0; i < rows; i++)
            {
                (int from, int to) = Depths(triangle, i, 1, depth);
                T sum = add ? c[i * cRow + j] : T.Zero;
                for (int k = from; k < to; k++)
                    sum = T.MultiplyAddEstimate(a[i * aRow + k * aColumn], b[k * bRow + j], sum);
                c[i * cRow + j] = sum;
            }
        }
    }

    /// <summary>b = aᵀ: a [rows, columns] with rows <paramref name="aRow"/> apart, b [columns, rows] dense.</summary>
    public static void Transpose<T>(int rows, int columns, T* a, long aRow, T* b) where T : unmanaged
    {
        // Four rows at a time, so that a cache line of b is not touched once per element.
        int i = 0;
        for (; i + 4 <= rows; i += 4)
        {
            T* a0 = a + i * aRow, a1 = a0 + aRow, a2 = a1 + aRow, a3 = a2 + aRow, to = b + i;
            for (int j = 0; j < columns; j++, to += rows)
            {
                to[0] = a0[j];
                to[1] = a1[j];
                to[2] = a2[j];
                to[3] = a3[j];
            }
        }
        for (; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                b[(long)j * rows + i] = a[i * aRow + j];
        }
    }

    private static (int From, int To) Depths(Triangle triangle, int row, int rows, int depth) => triangle switch
    {
        Triangle.LowerLeft => (0, Math.Min(depth, row + rows)),
        Triangle.UpperLeft => (Math.Min(depth, row), depth),
        _ => (0, depth),
    };

    private static void FourByTwo<T>(int depth, T* a, long aRow, long aColumn, T* b, long bRow, T* c, long cRow, bool add)
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Vector<T>.Count;
        T* a1 = a + aRow, a2 = a1 + aRow, a3 = a2 + aRow;
        Vector<T> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        for (int k = 0; k < depth; k++)
        {
            Vector<T> b0 = Vector.Load(b), b1 = Vector.Load(b + width), x = new(*a);
            c00 = Fused(x, b0, c00);
            c01 = Fused(x, b1, c01);
            x = new(*a1);
            c10 = Fused(x, b0, c10);
            c11 = Fused(x, b1, c11);
            x = new(*a2);
            c20 = Fused(x, b0, c20);
            c21 = Fused(x, b1, c21);
            x = new(*a3);
            c30 = Fused(x, b0, c30);
            c31 = Fused(x, b1, c31);
            a += aColumn;
            a1 += aColumn;
            a2 += aColumn;
            a3 += aColumn;
            b += bRow;
        }
        Put(c00, c, add);
        Put(c01, c + width, add);
        Put(c10, c + cRow, add);
        Put(c11, c + cRow + width, add);
        Put(c20, c + 2 * cRow, add);
        Put(c21, c + 2 * cRow + width, add);
        Put(c30, c + 3 * cRow, add);
        Put(c31, c + 3 * cRow + width, add);
    }

    private static void FourByOne<T>(int depth, T* a, long aRow, long aColumn, T* b, long bRow, T* c, long cRow, bool add)
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        T* a1 = a + aRow, a2 = a1 + aRow, a3 = a2 + aRow;
        Vector<T> c0 = default, c1 = default, c2 = default, c3 = default;
        for (int k = 0; k < depth; k++)
        {
            Vector<T> b0 = Vector.Load(b);
            c0 = Fused(new(*a), b0, c0);
            c1 = Fused(new(*a1), b0, c1);
            c2 = Fused(new(*a2), b0, c2);
            c3 = Fused(new(*a3), b0, c3);
            a += aColumn;
            a1 += aColumn;
            a2 += aColumn;
            a3 += aColumn;
            b += bRow;
        }
        Put(c0, c, add);
        Put(c1, c + cRow, add);
        Put(c2, c + 2 * cRow, add);
        Put(c3, c + 3 * cRow, add);
    }

    private static void OneByOne<T>(int depth, T* a, long aColumn, T* b, long bRow, T* c, bool add) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> sum = default;
        for (int k = 0; k < depth; k++, a += aColumn, b += bRow)
            sum = Fused(new(*a), Vector.Load(b), sum);
        Put(sum, c, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put<T>(Vector<T> value, T* c, bool add) where T : unmanaged => Vector.Store(add ? value + Vector.Load(c) : value, c);

    /// <summary>x·y + z; the only way to a fused multiply-add of a generic vector is through the two types there are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector<T> Fused<T>(Vector<T> x, Vector<T> y, Vector<T> z) where T : unmanaged => typeof(T) == typeof(float)
        ? Vector.MultiplyAddEstimate(Vector.AsVectorSingle(x), Vector.AsVectorSingle(y), Vector.AsVectorSingle(z)).As<float, T>()
        : Vector.MultiplyAddEstimate(Vector.AsVectorDouble(x), Vector.AsVectorDouble(y), Vector.AsVectorDouble(z)).As<double, T>();
}
