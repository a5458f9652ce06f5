using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// A block of a matrix product that stays in registers: <c>C (+)= A · B</c>, with B from a packed panel. A is read one element at a time,
/// so it may be a packed panel too, or lie in its matrix.
/// </summary>
internal unsafe interface IGemmKernel<T> where T : unmanaged
{
    /// <summary>The most rows of a block.</summary>
    static abstract int Rows { get; }

    /// <summary>The block's columns.</summary>
    static abstract int Columns { get; }

    /// <summary>Whether rows of A may lie in their matrix.</summary>
    static abstract bool ReadsInPlace { get; }

    /// <summary>How many rows are read and written for a block of <paramref name="rows"/>.</summary>
    static abstract int RowsFor(int rows);

    /// <summary>Computes one block.</summary>
    /// <param name="rows">Its rows; all of <see cref="RowsFor"/> are read and written.</param>
    /// <param name="depth">The inner extent.</param>
    /// <param name="a">The block's rows of A.</param>
    /// <param name="row">From one row of A to the next where all rows lie in the matrix, each a run of memory; 0 where they are a packed panel.</param>
    /// <param name="b">For each inner index, the block's columns of B.</param>
    /// <param name="c">The block.</param>
    /// <param name="pitch">From one row of the block to the next.</param>
    /// <param name="accumulate">Whether to add to the block rather than replace it.</param>
    static abstract void Run(int rows, int depth, T* a, nint row, T* b, T* c, nint pitch, bool accumulate);
}

/// <summary>A number of rows that the compiler knows: code for rows beyond it is left out.</summary>
internal interface IRowCount
{
    static abstract int Value { get; }
}

/// <summary>Whether A is a packed panel: then the compiler knows all distances.</summary>
internal interface IGemmLayout
{
    static abstract bool IsPacked { get; }
}

internal readonly struct PackedLayout : IGemmLayout
{
    public static bool IsPacked => true;
}

internal readonly struct InPlaceLayout : IGemmLayout
{
    public static bool IsPacked => false;
}

internal readonly struct TwoRows : IRowCount
{
    public static int Value => 2;
}

internal readonly struct FourRows : IRowCount
{
    public static int Value => 4;
}

internal readonly struct SixRows : IRowCount
{
    public static int Value => 6;
}

internal readonly struct EightRows : IRowCount
{
    public static int Value => 8;
}

internal readonly struct FourteenRows : IRowCount
{
    public static int Value => 14;
}

/// <summary>Six rows of two vectors: with two of B and one of A, 15 of the 16 vector registers of SSE and AVX2. Twelve chains of additions hide their latency.</summary>
internal readonly unsafe struct GemmKernel6<TLanes, TVector, T> : IGemmKernel<T>
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged
{
    public static int Rows => 6;

    public static int Columns => 2 * TLanes.Count;

    public static bool ReadsInPlace => true;

    public static int RowsFor(int rows) => rows <= 2 ? 2 : rows <= 4 ? 4 : 6;

    public static void Run(int rows, int depth, T* a, nint row, T* b, T* c, nint pitch, bool accumulate)
    {
        if (row != 0)
            Run<SixRows, InPlaceLayout>(depth, a, row, b, c, pitch, accumulate);
        else if (rows > 4)
            Run<SixRows, PackedLayout>(depth, a, row, b, c, pitch, accumulate);
        else if (rows > 2)
            Run<FourRows, PackedLayout>(depth, a, row, b, c, pitch, accumulate);
        else
            Run<TwoRows, PackedLayout>(depth, a, row, b, c, pitch, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run<TRows, TLayout>(int depth, T* a, nint row, T* b, T* c, nint pitch, bool accumulate) where TRows : struct, IRowCount where TLayout : struct, IGemmLayout
    {
        TVector z00 = TLanes.Zero, z01 = TLanes.Zero, z10 = TLanes.Zero, z11 = TLanes.Zero, z20 = TLanes.Zero, z21 = TLanes.Zero;
        TVector z30 = TLanes.Zero, z31 = TLanes.Zero, z40 = TLanes.Zero, z41 = TLanes.Zero, z50 = TLanes.Zero, z51 = TLanes.Zero;
        nint step = TLayout.IsPacked ? 6 : 1;
        if (TLayout.IsPacked)
            row = 1;
        nint row2 = 2 * row;
        T* a3 = a + 3 * row;
        // C is read only at the end: fetching it now hides that.
        for (int i = 0; i < TRows.Value; i++)
            GemmKernels.Prefetch(c + i * pitch, Columns * sizeof(T));
        for (; depth >= 4; depth -= 4)
        {
            Step<TRows>(0, a, a3, row, row2, b, ref z00, ref z01, ref z10, ref z11, ref z20, ref z21, ref z30, ref z31, ref z40, ref z41, ref z50, ref z51);
            Step<TRows>(step, a, a3, row, row2, b + Columns, ref z00, ref z01, ref z10, ref z11, ref z20, ref z21, ref z30, ref z31, ref z40, ref z41, ref z50, ref z51);
            Step<TRows>(2 * step, a, a3, row, row2, b + 2 * Columns, ref z00, ref z01, ref z10, ref z11, ref z20, ref z21, ref z30, ref z31, ref z40, ref z41, ref z50, ref z51);
            Step<TRows>(3 * step, a, a3, row, row2, b + 3 * Columns, ref z00, ref z01, ref z10, ref z11, ref z20, ref z21, ref z30, ref z31, ref z40, ref z41, ref z50, ref z51);
            a += 4 * step;
            a3 += 4 * step;
            b += 4 * Columns;
        }
        for (; depth > 0; depth--, a += step, a3 += step, b += Columns)
            Step<TRows>(0, a, a3, row, row2, b, ref z00, ref z01, ref z10, ref z11, ref z20, ref z21, ref z30, ref z31, ref z40, ref z41, ref z50, ref z51);
        GemmKernels.StoreRow<TLanes, TVector, T>(c, z00, z01, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + pitch, z10, z11, accumulate);
        if (TRows.Value > 2)
        {
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 2 * pitch, z20, z21, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 3 * pitch, z30, z31, accumulate);
        }
        if (TRows.Value > 4)
        {
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 4 * pitch, z40, z41, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 5 * pitch, z50, z51, accumulate);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<TRows>(
        nint at, T* a, T* a3, nint row, nint row2, T* b, ref TVector z00, ref TVector z01, ref TVector z10, ref TVector z11, ref TVector z20, ref TVector z21,
        ref TVector z30, ref TVector z31, ref TVector z40, ref TVector z41, ref TVector z50, ref TVector z51) where TRows : struct, IRowCount
    {
        TVector y0 = TLanes.Load(b), y1 = TLanes.Load(b + TLanes.Count), x = TLanes.Create(a[at]);
        z00 = TLanes.MultiplyAdd(x, y0, z00);
        z01 = TLanes.MultiplyAdd(x, y1, z01);
        x = TLanes.Create((a + row)[at]);
        z10 = TLanes.MultiplyAdd(x, y0, z10);
        z11 = TLanes.MultiplyAdd(x, y1, z11);
        if (TRows.Value > 2)
        {
            x = TLanes.Create((a + row2)[at]);
            z20 = TLanes.MultiplyAdd(x, y0, z20);
            z21 = TLanes.MultiplyAdd(x, y1, z21);
            x = TLanes.Create(a3[at]);
            z30 = TLanes.MultiplyAdd(x, y0, z30);
            z31 = TLanes.MultiplyAdd(x, y1, z31);
        }
        if (TRows.Value > 4)
        {
            x = TLanes.Create((a3 + row)[at]);
            z40 = TLanes.MultiplyAdd(x, y0, z40);
            z41 = TLanes.MultiplyAdd(x, y1, z41);
            x = TLanes.Create((a3 + row2)[at]);
            z50 = TLanes.MultiplyAdd(x, y0, z50);
            z51 = TLanes.MultiplyAdd(x, y1, z51);
        }
    }
}

/// <summary>Fourteen rows of two vectors: with two of B and one of A, 31 of the 32 vector registers of AVX-512. A is always a packed panel: fourteen rows in their matrix are
/// as many streams, and beside the 32 KB of a panel of B they leave the first-level cache (on a shared Xeon, five rounds each, 4096×648×128 made 183 to 246 GFLOP/s packed and 147 to 254 in place, medians 239 and 213).</summary>
internal readonly unsafe struct GemmKernel14<TLanes, TVector, T> : IGemmKernel<T>
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged
{
    // Steps of the inner index, some 200 cycles.
    private const int Ahead = 16;

    public static int Rows => 14;

    public static int Columns => 2 * TLanes.Count;

    public static bool ReadsInPlace => false;

    public static int RowsFor(int rows) => rows <= 4 ? 4 : rows <= 8 ? 8 : 14;

    public static void Run(int rows, int depth, T* a, nint row, T* b, T* c, nint pitch, bool accumulate)
    {
        if (rows > 8)
            Run<FourteenRows>(depth, a, b, c, pitch, accumulate);
        else if (rows > 4)
            Run<EightRows>(depth, a, b, c, pitch, accumulate);
        else
            Run<FourRows>(depth, a, b, c, pitch, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run<TRows>(int depth, T* a, T* b, T* c, nint pitch, bool accumulate) where TRows : struct, IRowCount
    {
        TVector x, y0, y1;
        TVector z00 = TLanes.Zero, z01 = TLanes.Zero;
        TVector z10 = TLanes.Zero, z11 = TLanes.Zero;
        TVector z20 = TLanes.Zero, z21 = TLanes.Zero;
        TVector z30 = TLanes.Zero, z31 = TLanes.Zero;
        TVector z40 = TLanes.Zero, z41 = TLanes.Zero;
        TVector z50 = TLanes.Zero, z51 = TLanes.Zero;
        TVector z60 = TLanes.Zero, z61 = TLanes.Zero;
        TVector z70 = TLanes.Zero, z71 = TLanes.Zero;
        TVector z80 = TLanes.Zero, z81 = TLanes.Zero;
        TVector z90 = TLanes.Zero, z91 = TLanes.Zero;
        TVector z100 = TLanes.Zero, z101 = TLanes.Zero;
        TVector z110 = TLanes.Zero, z111 = TLanes.Zero;
        TVector z120 = TLanes.Zero, z121 = TLanes.Zero;
        TVector z130 = TLanes.Zero, z131 = TLanes.Zero;
        // C is read only at the end: fetching it now hides that.
        for (int i = 0; i < TRows.Value; i++)
            GemmKernels.Prefetch(c + i * pitch, Columns * sizeof(T));
        for (; depth > 0; depth--)
        {
            // A tile's first pass over A, and over each panel of B, comes from the third-level cache, which the processor's own fetching does not hide: on a Xeon with two threads 1024³ made 276 GFLOP/s
            // instead of 248, and the model's shapes −2 to 4 % more. With 256 bits on Zen 3 the same gained nothing.
            GemmKernels.Prefetch(a + Ahead * 14, 1);
            GemmKernels.Prefetch(b + Ahead * Columns, Columns * sizeof(T));
            y0 = TLanes.Load(b);
            y1 = TLanes.Load(b + TLanes.Count);
            x = TLanes.Create(a[0]);
            z00 = TLanes.MultiplyAdd(x, y0, z00);
            z01 = TLanes.MultiplyAdd(x, y1, z01);
            x = TLanes.Create(a[1]);
            z10 = TLanes.MultiplyAdd(x, y0, z10);
            z11 = TLanes.MultiplyAdd(x, y1, z11);
            x = TLanes.Create(a[2]);
            z20 = TLanes.MultiplyAdd(x, y0, z20);
            z21 = TLanes.MultiplyAdd(x, y1, z21);
            x = TLanes.Create(a[3]);
            z30 = TLanes.MultiplyAdd(x, y0, z30);
            z31 = TLanes.MultiplyAdd(x, y1, z31);
            if (TRows.Value > 4)
            {
                x = TLanes.Create(a[4]);
                z40 = TLanes.MultiplyAdd(x, y0, z40);
                z41 = TLanes.MultiplyAdd(x, y1, z41);
                x = TLanes.Create(a[5]);
                z50 = TLanes.MultiplyAdd(x, y0, z50);
                z51 = TLanes.MultiplyAdd(x, y1, z51);
                x = TLanes.Create(a[6]);
                z60 = TLanes.MultiplyAdd(x, y0, z60);
                z61 = TLanes.MultiplyAdd(x, y1, z61);
                x = TLanes.Create(a[7]);
                z70 = TLanes.MultiplyAdd(x, y0, z70);
                z71 = TLanes.MultiplyAdd(x, y1, z71);
            }
            if (TRows.Value > 8)
            {
                x = TLanes.Create(a[8]);
                z80 = TLanes.MultiplyAdd(x, y0, z80);
                z81 = TLanes.MultiplyAdd(x, y1, z81);
                x = TLanes.Create(a[9]);
                z90 = TLanes.MultiplyAdd(x, y0, z90);
                z91 = TLanes.MultiplyAdd(x, y1, z91);
                x = TLanes.Create(a[10]);
                z100 = TLanes.MultiplyAdd(x, y0, z100);
                z101 = TLanes.MultiplyAdd(x, y1, z101);
                x = TLanes.Create(a[11]);
                z110 = TLanes.MultiplyAdd(x, y0, z110);
                z111 = TLanes.MultiplyAdd(x, y1, z111);
                x = TLanes.Create(a[12]);
                z120 = TLanes.MultiplyAdd(x, y0, z120);
                z121 = TLanes.MultiplyAdd(x, y1, z121);
                x = TLanes.Create(a[13]);
                z130 = TLanes.MultiplyAdd(x, y0, z130);
                z131 = TLanes.MultiplyAdd(x, y1, z131);
            }
            a += 14;
            b += 2 * TLanes.Count;
        }
        GemmKernels.StoreRow<TLanes, TVector, T>(c, z00, z01, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + pitch, z10, z11, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 2 * pitch, z20, z21, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 3 * pitch, z30, z31, accumulate);
        if (TRows.Value > 4)
        {
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 4 * pitch, z40, z41, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 5 * pitch, z50, z51, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 6 * pitch, z60, z61, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 7 * pitch, z70, z71, accumulate);
        }
        if (TRows.Value > 8)
        {
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 8 * pitch, z80, z81, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 9 * pitch, z90, z91, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 10 * pitch, z100, z101, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 11 * pitch, z110, z111, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 12 * pitch, z120, z121, accumulate);
            GemmKernels.StoreRow<TLanes, TVector, T>(c + 13 * pitch, z130, z131, accumulate);
        }
    }
}

/// <summary>What the kernels share.</summary>
internal static unsafe class GemmKernels
{
    /// <summary>Asks for memory that will be needed soon, where the processor takes such wishes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(void* address, int bytes)
    {
        if (!Sse.IsSupported)
            return;
        for (int i = 0; i < bytes; i += 64)
            Sse.Prefetch0((byte*)address + i);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreRow<TLanes, TVector, T>(T* c, TVector z0, TVector z1, bool accumulate)
        where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged
    {
        if (accumulate)
        {
            z0 = TLanes.Add(z0, TLanes.Load(c));
            z1 = TLanes.Add(z1, TLanes.Load(c + TLanes.Count));
        }
        TLanes.Store(z0, c);
        TLanes.Store(z1, c + TLanes.Count);
    }
}
