using System.Buffers;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Matrix products <c>C = A · B</c> in some number of batches: A is M×K, B is K×N, at any strides, so that a transposed matrix needs no copy; C is M×N, dense.
/// A batch stride of 0 shares a matrix.
/// </summary>
internal unsafe struct Gemm<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    public T* A, B, C;
    public int Batches, M, N, K;
    public nint ARow, AColumn, ABatch;
    public nint BRow, BColumn, BBatch;

    /// <summary>The sum over this many inner indices is finished in registers; such sums are then added in order. Fixed, for it decides the rounding.</summary>
    public const int Depth = 256;

    /// <summary>Computes the product. Each element's sum is taken in an order that depends on the extents only.</summary>
    public readonly void Run(int threads, int vectorBits)
    {
        if (vectorBits >= 512)
            Run<GemmKernel14<Lanes512<T>, Vector512<T>, T>, Lanes512<T>, Vector512<T>>(threads);
        else if (vectorBits == 256)
            Run<GemmKernel6<Lanes256<T>, Vector256<T>, T>, Lanes256<T>, Vector256<T>>(threads);
        else
            Run<GemmKernel6<Lanes128<T>, Vector128<T>, T>, Lanes128<T>, Vector128<T>>(threads);
    }

    private readonly void Run<TKernel, TLanes, TVector>(int threads)
        where TKernel : struct, IGemmKernel<T> where TLanes : struct, ILanes<TVector, T> where TVector : struct
    {
        if (Batches == 0 || M == 0 || N == 0)
            return;
        if (K == 0)
        {
            new Span<T>(C, checked(Batches * M * N)).Clear();
            return;
        }
        if (GemmSkinny<TLanes, TVector, T>.Fits(this))
        {
            new GemmSkinny<TLanes, TVector, T>(this).Run(threads);
            return;
        }
        // Many small products keep the threads busy with one each; a large one keeps them all busy.
        if (Batches > 1 && (long)M * N <= 256 * 256)
        {
            CpuParallel.For(threads, Batches, (long)M * N * K / FusedPerOperation, new BatchBody<TKernel> { Product = this });
            return;
        }
        for (int i = 0; i < Batches; i++)
            Batch(i).RunBlocked<TKernel>(threads);
    }

    /// <summary>Multiply-adds that take as long as one elementary operation of <see cref="CpuParallel"/>.</summary>
    public const int FusedPerOperation = 8;

    private readonly Gemm<T> Batch(int index) =>
        this with { A = A + index * ABatch, B = B + index * BBatch, C = C + (nint)index * M * N, Batches = 1 };

    private struct BatchBody<TKernel> : IParallelBody where TKernel : struct, IGemmKernel<T>
    {
        public Gemm<T> Product;

        public readonly void Invoke(int index) => Product.Batch(index).RunBlocked<TKernel>(threads: 1);
    }

    /// <summary>
    /// One product in blocks: a block of A and one of B are packed into panels as the kernel reads them, then the tiles of C are computed from them.
    /// </summary>
    private readonly void RunBlocked<TKernel>(int threads) where TKernel : struct, IGemmKernel<T>
    {
        // A packed block of 3072 × 256 floats is 3 MB: the third-level cache holds both, and each is used some thousand times before the next.
        int blockRows = Math.Min(Up(M, TKernel.Rows), 3072 / TKernel.Rows * TKernel.Rows);
        int blockColumns = Math.Min(Up(N, TKernel.Columns), 3072 / TKernel.Columns * TKernel.Columns);
        int blockDepth = Math.Min(K, Depth);
        byte[] aBuffer = ArrayPool<byte>.Shared.Rent(blockRows * blockDepth * sizeof(T) + Alignment);
        byte[] bBuffer = ArrayPool<byte>.Shared.Rent(blockColumns * blockDepth * sizeof(T) + Alignment);
        fixed (byte* a = aBuffer, b = bBuffer)
        {
            var block = new BlockBody<TKernel> { Product = this, PackedA = Align(a), PackedB = Align(b) };
            for (int column = 0; column < N; column += blockColumns)
            {
                for (int row = 0; row < M; row += blockRows)
                {
                    for (int inner = 0; inner < K; inner += Depth)
                    {
                        block.Row = row;
                        block.Column = column;
                        block.Inner = inner;
                        block.Rows = Math.Min(blockRows, M - row);
                        block.Columns = Math.Min(blockColumns, N - column);
                        block.InnerCount = Math.Min(Depth, K - inner);
                        block.Run(threads);
                    }
                }
            }
        }
        ArrayPool<byte>.Shared.Return(aBuffer);
        ArrayPool<byte>.Shared.Return(bBuffer);
    }

    private const int Alignment = 64;

    private static T* Align(byte* address) => (T*)(((nuint)address + Alignment - 1) & ~(nuint)(Alignment - 1));

    private static int Up(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    private static int Parts(int value, int size) => (value + size - 1) / size;

    /// <summary>The part of a product between some rows, columns and inner indices. First its parts are panels to pack, then tiles of C.</summary>
    private struct BlockBody<TKernel> : IParallelBody where TKernel : struct, IGemmKernel<T>
    {
        public Gemm<T> Product;
        public T* PackedA, PackedB;
        public int Row, Column, Inner, Rows, Columns, InnerCount;
        private int tileRows, tileColumns;
        private bool packing;

        public void Run(int threads)
        {
            packing = true;
            int panels = Parts(Rows, TKernel.Rows) + Parts(Columns, TKernel.Columns);
            CpuParallel.For(threads, panels, (Rows + Columns) / panels * InnerCount / 2, this);
            packing = false;
            // A tile's share of A, about 96 KB, stays in the second-level cache; a panel of B, at most 32 KB, in the first.
            tileRows = Math.Max(1, 96 / TKernel.Rows) * TKernel.Rows;
            tileColumns = 256 / TKernel.Columns * TKernel.Columns;
            while (tileColumns > 64 && Parts(Rows, tileRows) * Parts(Columns, tileColumns) < 32)
                tileColumns = Up(tileColumns / 2, TKernel.Columns);
            CpuParallel.For(
                threads, Parts(Rows, tileRows) * Parts(Columns, tileColumns), (long)tileRows * tileColumns * InnerCount / FusedPerOperation, this);
        }

        public readonly void Invoke(int index)
        {
            if (packing)
                Pack(index);
            else
                Multiply(index % Parts(Rows, tileRows) * tileRows, index / Parts(Rows, tileRows) * tileColumns);
        }

        private readonly void Pack(int panel)
        {
            int aPanels = Parts(Rows, TKernel.Rows);
            if (panel < aPanels)
            {
                int row = panel * TKernel.Rows;
                T* source = Product.A + (Row + row) * Product.ARow + Inner * Product.AColumn;
                GemmPacking.Pack(
                    source, Product.ARow, Product.AColumn, Math.Min(TKernel.Rows, Rows - row), TKernel.Rows, InnerCount, PackedA + (nint)row * InnerCount);
            }
            else
            {
                int column = (panel - aPanels) * TKernel.Columns;
                T* source = Product.B + Inner * Product.BRow + (Column + column) * Product.BColumn;
                GemmPacking.Pack(
                    source, Product.BColumn, Product.BRow, Math.Min(TKernel.Columns, Columns - column), TKernel.Columns, InnerCount, PackedB + (nint)column * InnerCount);
            }
        }

        [SkipLocalsInit, MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Multiply(int tileRow, int tileColumn)
        {
            T* edge = stackalloc T[TKernel.Rows * TKernel.Columns];
            int rowEnd = Math.Min(Rows, tileRow + tileRows), columnEnd = Math.Min(Columns, tileColumn + tileColumns);
            nint pitch = Product.N;
            bool accumulate = Inner > 0;
            for (int j = tileColumn; j < columnEnd; j += TKernel.Columns)
            {
                for (int i = tileRow; i < rowEnd; i += TKernel.Rows)
                {
                    T* a = PackedA + (nint)i * InnerCount, b = PackedB + (nint)j * InnerCount, c = Product.C + (Row + i) * pitch + Column + j;
                    if (i + TKernel.Rows <= rowEnd && j + TKernel.Columns <= columnEnd)
                    {
                        TKernel.Run(InnerCount, a, b, c, pitch, accumulate);
                        continue;
                    }
                    TKernel.Run(InnerCount, a, b, edge, TKernel.Columns, accumulate: false);
                    int width = Math.Min(TKernel.Columns, columnEnd - j);
                    for (int row = 0; row < Math.Min(TKernel.Rows, rowEnd - i); row++, c += pitch)
                    {
                        for (int column = 0; column < width; column++)
                            c[column] = accumulate ? edge[row * TKernel.Columns + column] + c[column] : edge[row * TKernel.Columns + column];
                    }
                }
            }
        }
    }
}
