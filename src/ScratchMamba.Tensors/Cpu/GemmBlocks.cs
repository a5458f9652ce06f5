using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// One matrix product in blocks. A block of A and one of B, at most 4 MB each, are packed into panels as the kernel reads them; the third-level cache holds both.
/// Then the tiles of C are computed from them: a panel of B (256 inner indices, 16 KB) stays in the first-level cache while the rows of the tile pass by,
/// and the tile's share of A (96 rows, 96 KB) and of C in the second-level cache.
/// Where little of A would be read often, it is read in place; where a panel of B is read by one tile only, that tile packs it for itself.
/// </summary>
internal unsafe struct GemmBlocks<TKernel, T> : IParallelBody where TKernel : struct, IGemmKernel<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    // Packing A pays from so many columns on; packing B for all tiles at once from so many rows on.
    private const int DirectColumns = 768, OwnRows = 128;

    private const int BlockElements = 1 << 20, SlabsPerBlock = 4, PackedTogether = 64, LeastTiles = 32;

    [ThreadStatic]
    private static T[]? panels;

    private readonly Gemm<T> product;
    private readonly bool isDirect, isOwn, isPacked;
    private readonly int slab;
    private T* packedA, packedB;
    private int row, column, inner, rows, columns, depth;
    private int tileRows, tileColumns, panelGroupsA, panelGroupsB;
    private bool packing;

    private GemmBlocks(in Gemm<T> product)
    {
        this.product = product;
        // A sum over one slab is finished in registers; such sums are then added in order. So the length of a slab decides the rounding.
        int slabs = Math.Max(1, (product.K + 128) / 256);
        slab = Up((product.K + slabs - 1) / slabs, 4);
        // Rows a multiple of 4 KB apart would push each other out of the first-level cache.
        isDirect = TKernel.ReadsInPlace && product.AColumn == 1 && product.N <= DirectColumns && product.ARow * sizeof(T) % 4096 != 0;
        isOwn = product.M <= OwnRows;
        isPacked = product.PanelsB != null;
    }

    /// <summary>Computes the product.</summary>
    public static void Run(in Gemm<T> product, int threads)
    {
        var blocks = new GemmBlocks<TKernel, T>(product);
        int blockDepth = Math.Min(product.K, SlabsPerBlock * blocks.slab);
        int blockRows = Share(product.M, BlockElements / blockDepth, TKernel.Rows), blockColumns = Share(product.N, BlockElements / blockDepth, PackedTogether);
        int sizeA = (blocks.isDirect ? TKernel.Rows : blockRows) * Up(blockDepth, 16), sizeB = blocks.isOwn || blocks.isPacked ? 0 : blockColumns * Up(blockDepth, 16);
        if (panels is null || panels.Length < sizeA + sizeB + 16)
            panels = GC.AllocateUninitializedArray<T>(sizeA + sizeB + 16, pinned: true);
        fixed (T* start = panels)
        {
            // B's panels begin at a cache line: their loads never cross one.
            blocks.packedB = (T*)(((nuint)start + 63) & ~(nuint)63);
            blocks.packedA = blocks.packedB + sizeB;
            for (int inner = 0; inner < product.K; inner += blockDepth)
            {
                for (int column = 0; column < product.N; column += blockColumns)
                {
                    for (int row = 0; row < product.M; row += blockRows)
                    {
                        (blocks.row, blocks.column, blocks.inner) = (row, column, inner);
                        blocks.rows = Math.Min(blockRows, product.M - row);
                        blocks.columns = Math.Min(blockColumns, product.N - column);
                        blocks.depth = Math.Min(blockDepth, product.K - inner);
                        blocks.RunBlock(threads);
                    }
                }
            }
        }
    }

    /// <summary>Packs all of B.</summary>
    public static void Pack(in Gemm<T> product, T* panels, int threads)
    {
        var blocks = new GemmBlocks<TKernel, T>(product) { packing = true, packedB = panels, columns = product.N, depth = product.K, panelGroupsB = Parts(product.N, PackedTogether) };
        CpuParallel.For(threads, blocks.panelGroupsB * Parts(product.K, blocks.slab), (long)PackedTogether * Math.Min(blocks.slab, product.K) / 2, blocks);
    }

    private readonly int FirstPackedRow => isDirect ? rows / TKernel.Rows * TKernel.Rows : 0;

    private static int RowsPackedTogether => Up(PackedTogether, TKernel.Rows);

    private void RunBlock(int threads)
    {
        packing = true;
        int slabs = Parts(depth, slab);
        panelGroupsA = Parts(rows - FirstPackedRow, RowsPackedTogether);
        // The rows of a block of columns share its panels of B.
        panelGroupsB = isOwn || isPacked || row > 0 ? 0 : Parts(columns, PackedTogether);
        CpuParallel.For(threads, (panelGroupsA + panelGroupsB) * slabs, (long)PackedTogether * Math.Min(slab, depth) / 2, this);
        packing = false;
        int rowTiles = isOwn ? 1 : Parts(rows, 96), columnTiles = Parts(columns, 256);
        while (rowTiles * columnTiles < LeastTiles && columns / columnTiles >= 2 * PackedTogether)
            columnTiles *= 2;
        while (rowTiles * columnTiles < LeastTiles && !isOwn && rows / rowTiles >= 48)
            rowTiles *= 2;
        tileRows = Share(rows, Parts(rows, rowTiles), TKernel.Rows);
        tileColumns = Share(columns, Parts(columns, columnTiles), isOwn ? PackedTogether : TKernel.Columns);
        CpuParallel.For(
            threads, Parts(rows, tileRows) * Parts(columns, tileColumns), (long)tileRows * tileColumns * depth / Gemm<T>.FusedPerOperation, this);
    }

    public readonly void Invoke(int index)
    {
        if (!packing)
        {
            int rowTiles = Parts(rows, tileRows);
            Multiply(index % rowTiles * tileRows, index / rowTiles * tileColumns);
            return;
        }
        int groups = panelGroupsA + panelGroupsB, start = index / groups * slab, length = Math.Min(slab, depth - start), group = index % groups;
        if (group < panelGroupsA)
        {
            int first = FirstPackedRow + group * RowsPackedTogether;
            T* source = product.A + (row + first) * product.ARow + (inner + start) * product.AColumn;
            GemmPacking.Pack(source, product.ARow, product.AColumn, Math.Min(RowsPackedTogether, rows - first), TKernel.Rows, length, PanelA(first, start, length));
        }
        else
        {
            int first = (group - panelGroupsA) * PackedTogether;
            PackB(first, Math.Min(PackedTogether, columns - first), start, length, PanelB(first, start, length));
        }
    }

    private readonly void PackB(int first, int count, int start, int length, T* panels)
    {
        nint at = (inner + start) * product.BRow + (column + first) * product.BColumn;
        if (product.NarrowB is { } matrix)
        {
            // Widened where the second-level cache holds it, behind the panels that Multiply keeps there.
            CpuScratch scratch = default;
            scratch.Take<T>(isOwn ? PackedTogether * slab : 0);
            float* wide = scratch.Take<float>(count * length);
            for (int i = 0; i < count; i++)
                matrix.Widen(product.NarrowStart + at + i * product.BColumn, wide + i * length, length);
            GemmPacking.Pack((T*)wide, length, 1, count, TKernel.Columns, length, panels);
            return;
        }
        GemmPacking.Pack(product.B + at, product.BColumn, product.BRow, count, TKernel.Columns, length, panels);
    }

    private readonly T* PanelA(int first, int start, int length) =>
        packedA + (nint)start * Up(rows - FirstPackedRow, TKernel.Rows) + (nint)(first - FirstPackedRow) * length;

    private readonly T* PanelB(int first, int start, int length) => isPacked
        ? product.PanelsB + (nint)(inner + start) * Up(product.N, TKernel.Columns) + (nint)(column + first) * length
        : packedB + (nint)start * Up(columns, TKernel.Columns) + (nint)first * length;

    private readonly void Multiply(int tileRow, int tileColumn)
    {
        CpuScratch scratch = default;
        T* own = isOwn && !isPacked ? scratch.Take<T>(PackedTogether * slab) : null;
        int rowEnd = Math.Min(rows, tileRow + tileRows), columnEnd = Math.Min(columns, tileColumn + tileColumns);
        for (int start = 0; start < depth; start += slab)
        {
            int length = Math.Min(slab, depth - start);
            for (int first = tileColumn; first < columnEnd; first += PackedTogether)
            {
                int end = Math.Min(columnEnd, first + PackedTogether);
                if (own != null)
                    PackB(first, end - first, start, length, own);
                for (int j = first; j < end; j += TKernel.Columns)
                    MultiplyPanel(tileRow, rowEnd, j, Math.Min(TKernel.Columns, end - j), start, length, own != null ? own + (nint)(j - first) * length : PanelB(j, start, length));
            }
        }
    }

    /// <summary>Some rows of A with one panel of B.</summary>
    [SkipLocalsInit, MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void MultiplyPanel(int from, int to, int j, int width, int start, int length, T* b)
    {
        T* edge = stackalloc T[TKernel.Rows * TKernel.Columns];
        bool accumulate = inner + start > 0;
        nint pitch = product.N;
        T* c = product.C + (row + from) * pitch + column + j;
        for (int i = from; i < to; i += TKernel.Rows, c += TKernel.Rows * pitch)
        {
            int count = Math.Min(TKernel.Rows, to - i);
            bool inPlace = isDirect && count == TKernel.Rows;
            T* a = inPlace ? product.A + (row + i) * product.ARow + inner + start : PanelA(i, start, length);
            nint aRow = inPlace ? product.ARow : 0;
            if (width == TKernel.Columns && TKernel.RowsFor(count) == count)
            {
                TKernel.Run(count, length, a, aRow, b, c, pitch, accumulate);
                continue;
            }
            TKernel.Run(count, length, a, aRow, b, edge, TKernel.Columns, accumulate: false);
            for (int r = 0; r < count; r++)
            {
                for (int lane = 0; lane < width; lane++)
                    c[r * pitch + lane] = accumulate ? edge[r * TKernel.Columns + lane] + c[r * pitch + lane] : edge[r * TKernel.Columns + lane];
            }
        }
    }

    /// <summary>The least multiple of <paramref name="unit"/> that covers <paramref name="extent"/> in as few equal parts as parts of up to <paramref name="most"/> do.</summary>
    private static int Share(int extent, int most, int unit)
    {
        int parts = Parts(extent, Math.Max(unit, most));
        return Up(Parts(extent, parts), unit);
    }

    private static int Up(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    private static int Parts(int value, int size) => (value + size - 1) / size;
}
