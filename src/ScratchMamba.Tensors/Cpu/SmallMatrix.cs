using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>What of a product of triangular matrices need not be computed. Up to <see cref="SmallMatrix.RowBlock"/> − 1 elements beyond the diagonal are read or written.</summary>
internal enum Triangle
{
    /// <summary>Nothing: all matrices are full.</summary>
    None,

    /// <summary>Only c[i, j] with j ≤ i is wanted; elements above the diagonal are left as they are or become anything.</summary>
    LowerResult,

    /// <summary>a[i, k] = 0 for k &gt; i.</summary>
    LowerLeft,

    /// <summary>a[i, k] = 0 for k &lt; i.</summary>
    UpperLeft,
}

/// <summary>
/// Products c = a·b of matrices that fit the second-level cache, on one thread. b is packed first, into panels two vectors wide, which is where it is transposed if need be and
/// which several products may share; a is read in place, at any steps, because each of its elements is broadcast anyhow.
/// Blocked in registers by 6 rows × 2 vectors: twelve accumulators, two vectors of b and one element of a fill the sixteen registers of AVX2, and eight loads per twelve
/// multiply-adds leave the load ports idle a third of the time. A panel (8 KB at depth 128) stays in the first-level cache while all rows of a pass by.
/// Rows that do not make a six go in fours where possible, which eight chains of additions still keep nearly busy. The same block serves vectors of 128 and of 512 bits:
/// twelve chains are more than two pipes of four cycles need.
/// Measured with AVX2 on Zen 3, whose peak is 103 GFLOP/s a core: 95 for 64×64 at depth 128 and 90 for 64×32 at depth 64, whether a is transposed or not; at depth 16, 75.
/// </summary>
internal readonly unsafe struct SmallMatrix(int vectorBits)
{
    /// <summary>The most rows that are computed together.</summary>
    public const int RowBlock = 6;

    /// <summary>How many elements the panels of a packed matrix take.</summary>
    public int PackedSize<T>(int depth, int columns) where T : unmanaged
    {
        int width = Width<T>(columns);
        return checked((columns + width - 1) / width * width * depth);
    }

    /// <summary>Packs b [depth, columns], at any steps; b is stored transposed where <paramref name="bRow"/> is 1.</summary>
    public void Pack<T>(int depth, int columns, T* b, nint bRow, nint bColumn, T* panels) where T : unmanaged =>
        GemmPacking.Pack(b, bColumn, bRow, columns, Width<T>(columns), depth, panels);

    /// <summary>c = a·b, or c += a·b with <paramref name="add"/>: a [rows, depth] at any steps, b packed, c [rows, columns] with contiguous rows.</summary>
    /// <param name="rows">Rows of a and c.</param>
    /// <param name="columns">Columns of b and c.</param>
    /// <param name="depth">Columns of a, rows of b.</param>
    /// <param name="a">The left factor; transposed when <paramref name="aRow"/> is 1.</param>
    /// <param name="aRow">Elements from one row of a to the next.</param>
    /// <param name="aColumn">Elements from one column of a to the next.</param>
    /// <param name="panels">The right factor, as <see cref="Pack"/> left it.</param>
    /// <param name="c">The result.</param>
    /// <param name="cRow">Elements from one row of c to the next.</param>
    /// <param name="add">Whether to add to what c holds.</param>
    /// <param name="scale">What each row of the product is multiplied with before that; null for 1.</param>
    /// <param name="triangle">What may be left out.</param>
    public void Multiply<T>(
        int rows, int columns, int depth, T* a, nint aRow, nint aColumn, T* panels, T* c, nint cRow, bool add = false, T* scale = null, Triangle triangle = Triangle.None)
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        switch (Width<T>(columns) * sizeof(T))
        {
            case 128:
                Kernel<Lanes512<T>, Vector512<T>, T>.Multiply(rows, columns, depth, a, aRow, aColumn, panels, c, cRow, add, scale, triangle);
                break;
            case 64:
                Kernel<Lanes256<T>, Vector256<T>, T>.Multiply(rows, columns, depth, a, aRow, aColumn, panels, c, cRow, add, scale, triangle);
                break;
            default:
                Kernel<Lanes128<T>, Vector128<T>, T>.Multiply(rows, columns, depth, a, aRow, aColumn, panels, c, cRow, add, scale, triangle);
                break;
        }
    }

    /// <summary>c += a·b, all but a in panels: b packed, c [rows, columns] as <see cref="Pack"/> would leave it.</summary>
    public void AddToPanels<T>(int rows, int columns, int depth, T* a, nint aRow, nint aColumn, T* panels, T* c) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Width<T>(columns);
        for (int j = 0; j < columns; j += width, panels += (nint)width * depth, c += (nint)width * rows)
            Multiply(rows, width, depth, a, aRow, aColumn, panels, c, width, add: true);
    }

    /// <summary>Multiplies row k of a packed matrix by scale[k], for all of them.</summary>
    public void ScalePanels<T>(int depth, int columns, T* scale, T* panels) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Width<T>(columns);
        for (int j = 0; j < columns; j += width)
        {
            for (int k = 0; k < depth; k++, panels += width)
            {
                var factor = new Vector<T>(scale[k]);
                for (int i = 0; i < width; i += Vector<T>.Count)
                    Vector.Store(Vector.Load(panels + i) * factor, panels + i);
            }
        }
    }

    /// <summary>The transpose of a packed matrix [depth, columns], as rows without gaps: [columns, depth].</summary>
    public void UnpackTransposed<T>(int depth, int columns, T* panels, T* to) where T : unmanaged
    {
        int width = Width<T>(columns);
        for (int j = 0; j < columns; j += width, panels += (nint)width * depth, to += (nint)width * depth)
            GemmPacking.Pack(panels, width, 1, depth, depth, Math.Min(width, columns - j), to);
    }

    /// <summary>The transpose of a packed matrix [depth, columns], packed: [columns, depth].</summary>
    public void TransposePanels<T>(int depth, int columns, T* panels, T* to) where T : unmanaged
    {
        int width = Width<T>(columns), other = Width<T>(depth);
        for (int j = 0; j < columns; j += width, panels += (nint)width * depth)
        {
            for (int k = 0; k < depth; k += other)
                GemmPacking.Pack(panels + (nint)k * width, width, 1, Math.Min(other, depth - k), other, Math.Min(width, columns - j), to + (nint)k * columns + (nint)j * other);
        }
    }

    /// <summary>Elements of a panel's row: two vectors, and narrower ones where half of the widest would be empty.</summary>
    private int Width<T>(int columns) where T : unmanaged
    {
        int bytes = vectorBits / 4;
        while (bytes > 32 && columns * sizeof(T) <= bytes / 2)
            bytes /= 2;
        return bytes / sizeof(T);
    }

    private static class Kernel<TLanes, TVector, T> where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged, IFloatingPointIeee754<T>
    {
        private static int Width => 2 * TLanes.Count;

        [SkipLocalsInit, MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public static void Multiply(
            int rows, int columns, int depth, T* a, nint aRow, nint aColumn, T* panels, T* c, nint cRow, bool add, T* scale, Triangle triangle)
        {
            T* edge = stackalloc T[RowBlock * Width];
            for (int j = 0; j < columns; j += Width, panels += (nint)Width * depth)
            {
                int block;
                for (int i = 0; i < rows; i += block)
                {
                    block = Block(rows - i);
                    if (triangle == Triangle.LowerResult && i + block <= j)
                        continue;
                    int from = triangle == Triangle.UpperLeft ? Math.Min(depth, i) : 0, to = triangle == Triangle.LowerLeft ? Math.Min(depth, i + block) : depth;
                    T* left = a + i * aRow + from * aColumn, panel = panels + (nint)from * Width, result = c + i * cRow + j, factors = scale is null ? null : scale + i;
                    if (j + Width <= columns)
                    {
                        Rows(block, to - from, left, aRow, aColumn, panel, result, cRow, add, factors);
                        continue;
                    }
                    Rows(block, to - from, left, aRow, aColumn, panel, edge, Width, add: false, factors);
                    AddPart(block, columns - j, edge, result, cRow, add);
                }
            }
        }

        private static int Block(int rows) => rows switch
        {
            4 or 5 or 8 or 9 => 4,
            >= RowBlock => RowBlock,
            _ => 1,
        };

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Rows(int block, int depth, T* a, nint aRow, nint aColumn, T* panel, T* c, nint cRow, bool add, T* scale)
        {
            if (block == RowBlock)
                Six(depth, a, aRow, aColumn, panel, c, cRow, add, scale);
            else if (block == 4)
                Four(depth, a, aRow, aColumn, panel, c, cRow, add, scale);
            else
                One(depth, a, aColumn, panel, c, add, scale);
        }

        private static void AddPart(int rows, int columns, T* from, T* c, nint cRow, bool add)
        {
            for (int i = 0; i < rows; i++, from += Width, c += cRow)
            {
                for (int j = 0; j < columns; j++)
                    c[j] = add ? c[j] + from[j] : from[j];
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Six(int depth, T* a, nint aRow, nint aColumn, T* b, T* c, nint cRow, bool add, T* scale)
        {
            TVector z00 = TLanes.Zero, z01 = TLanes.Zero, z10 = TLanes.Zero, z11 = TLanes.Zero, z20 = TLanes.Zero, z21 = TLanes.Zero;
            TVector z30 = TLanes.Zero, z31 = TLanes.Zero, z40 = TLanes.Zero, z41 = TLanes.Zero, z50 = TLanes.Zero, z51 = TLanes.Zero;
            T* a3 = a + 3 * aRow;
            nint twoRows = 2 * aRow;
            for (; depth > 0; depth--)
            {
                TVector y0 = TLanes.Load(b), y1 = TLanes.Load(b + TLanes.Count);
                TVector x = TLanes.Create(a[0]);
                z00 = TLanes.MultiplyAdd(x, y0, z00);
                z01 = TLanes.MultiplyAdd(x, y1, z01);
                x = TLanes.Create(a[aRow]);
                z10 = TLanes.MultiplyAdd(x, y0, z10);
                z11 = TLanes.MultiplyAdd(x, y1, z11);
                x = TLanes.Create(a[twoRows]);
                z20 = TLanes.MultiplyAdd(x, y0, z20);
                z21 = TLanes.MultiplyAdd(x, y1, z21);
                x = TLanes.Create(a3[0]);
                z30 = TLanes.MultiplyAdd(x, y0, z30);
                z31 = TLanes.MultiplyAdd(x, y1, z31);
                x = TLanes.Create(a3[aRow]);
                z40 = TLanes.MultiplyAdd(x, y0, z40);
                z41 = TLanes.MultiplyAdd(x, y1, z41);
                x = TLanes.Create(a3[twoRows]);
                z50 = TLanes.MultiplyAdd(x, y0, z50);
                z51 = TLanes.MultiplyAdd(x, y1, z51);
                a += aColumn;
                a3 += aColumn;
                b += 2 * TLanes.Count;
            }
            Store(z00, z01, c, add, scale, 0);
            Store(z10, z11, c + cRow, add, scale, 1);
            Store(z20, z21, c + 2 * cRow, add, scale, 2);
            Store(z30, z31, c + 3 * cRow, add, scale, 3);
            Store(z40, z41, c + 4 * cRow, add, scale, 4);
            Store(z50, z51, c + 5 * cRow, add, scale, 5);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Four(int depth, T* a, nint aRow, nint aColumn, T* b, T* c, nint cRow, bool add, T* scale)
        {
            TVector z00 = TLanes.Zero, z01 = TLanes.Zero, z10 = TLanes.Zero, z11 = TLanes.Zero, z20 = TLanes.Zero, z21 = TLanes.Zero, z30 = TLanes.Zero, z31 = TLanes.Zero;
            T* a3 = a + 3 * aRow;
            nint twoRows = 2 * aRow;
            for (; depth > 0; depth--)
            {
                TVector y0 = TLanes.Load(b), y1 = TLanes.Load(b + TLanes.Count);
                TVector x = TLanes.Create(a[0]);
                z00 = TLanes.MultiplyAdd(x, y0, z00);
                z01 = TLanes.MultiplyAdd(x, y1, z01);
                x = TLanes.Create(a[aRow]);
                z10 = TLanes.MultiplyAdd(x, y0, z10);
                z11 = TLanes.MultiplyAdd(x, y1, z11);
                x = TLanes.Create(a[twoRows]);
                z20 = TLanes.MultiplyAdd(x, y0, z20);
                z21 = TLanes.MultiplyAdd(x, y1, z21);
                x = TLanes.Create(a3[0]);
                z30 = TLanes.MultiplyAdd(x, y0, z30);
                z31 = TLanes.MultiplyAdd(x, y1, z31);
                a += aColumn;
                a3 += aColumn;
                b += 2 * TLanes.Count;
            }
            Store(z00, z01, c, add, scale, 0);
            Store(z10, z11, c + cRow, add, scale, 1);
            Store(z20, z21, c + 2 * cRow, add, scale, 2);
            Store(z30, z31, c + 3 * cRow, add, scale, 3);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void One(int depth, T* a, nint aColumn, T* b, T* c, bool add, T* scale)
        {
            TVector z0 = TLanes.Zero, z1 = TLanes.Zero;
            for (; depth > 0; depth--, a += aColumn, b += 2 * TLanes.Count)
            {
                TVector x = TLanes.Create(*a);
                z0 = TLanes.MultiplyAdd(x, TLanes.Load(b), z0);
                z1 = TLanes.MultiplyAdd(x, TLanes.Load(b + TLanes.Count), z1);
            }
            Store(z0, z1, c, add, scale, 0);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Store(TVector z0, TVector z1, T* c, bool add, T* scale, int row)
        {
            if (scale is not null)
            {
                TVector factor = TLanes.Create(scale[row]), zero = TLanes.Zero;
                z0 = TLanes.MultiplyAdd(factor, z0, add ? TLanes.Load(c) : zero);
                z1 = TLanes.MultiplyAdd(factor, z1, add ? TLanes.Load(c + TLanes.Count) : zero);
            }
            else if (add)
            {
                z0 = TLanes.Add(z0, TLanes.Load(c));
                z1 = TLanes.Add(z1, TLanes.Load(c + TLanes.Count));
            }
            TLanes.Store(z0, c);
            TLanes.Store(z1, c + TLanes.Count);
        }
    }
}
