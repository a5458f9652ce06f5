using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>A block of a matrix product that stays in registers: <c>C (+)= A · B</c> from packed panels.</summary>
internal unsafe interface IGemmKernel<T> where T : unmanaged
{
    /// <summary>The block's rows.</summary>
    static abstract int Rows { get; }

    /// <summary>The block's columns.</summary>
    static abstract int Columns { get; }

    /// <summary>Computes one block.</summary>
    /// <param name="depth">The inner extent.</param>
    /// <param name="a">For each inner index, the block's rows of A.</param>
    /// <param name="b">For each inner index, the block's columns of B.</param>
    /// <param name="c">The block.</param>
    /// <param name="pitch">From one row of the block to the next.</param>
    /// <param name="accumulate">Whether to add to the block rather than replace it.</param>
    static abstract void Run(int depth, T* a, T* b, T* c, nint pitch, bool accumulate);
}

/// <summary>Six rows of two vectors: with two of B and one of A, 15 of the 16 vector registers of SSE and AVX2. Twelve chains of additions hide their latency.</summary>
internal readonly unsafe struct GemmKernel6<TLanes, TVector, T> : IGemmKernel<T>
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged
{
    public static int Rows => 6;

    public static int Columns => 2 * TLanes.Count;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(int depth, T* a, T* b, T* c, nint pitch, bool accumulate)
    {
        TVector x, y0, y1;
        TVector z00 = TLanes.Zero, z01 = TLanes.Zero;
        TVector z10 = TLanes.Zero, z11 = TLanes.Zero;
        TVector z20 = TLanes.Zero, z21 = TLanes.Zero;
        TVector z30 = TLanes.Zero, z31 = TLanes.Zero;
        TVector z40 = TLanes.Zero, z41 = TLanes.Zero;
        TVector z50 = TLanes.Zero, z51 = TLanes.Zero;
        // C is read only at the end: fetching it now hides that.
        for (int i = 0; i < Rows; i++)
            GemmKernels.Prefetch(c + i * pitch, Columns * sizeof(T));
        for (; depth > 0; depth--)
        {
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
            x = TLanes.Create(a[4]);
            z40 = TLanes.MultiplyAdd(x, y0, z40);
            z41 = TLanes.MultiplyAdd(x, y1, z41);
            x = TLanes.Create(a[5]);
            z50 = TLanes.MultiplyAdd(x, y0, z50);
            z51 = TLanes.MultiplyAdd(x, y1, z51);
            a += 6;
            b += 2 * TLanes.Count;
        }
        GemmKernels.StoreRow<TLanes, TVector, T>(c, z00, z01, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + pitch, z10, z11, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 2 * pitch, z20, z21, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 3 * pitch, z30, z31, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 4 * pitch, z40, z41, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 5 * pitch, z50, z51, accumulate);
    }
}

/// <summary>Fourteen rows of two vectors: with two of B and one of A, 31 of the 32 vector registers of AVX-512.</summary>
internal readonly unsafe struct GemmKernel14<TLanes, TVector, T> : IGemmKernel<T>
    where TLanes : struct, ILanes<TVector, T> where TVector : struct where T : unmanaged
{
    public static int Rows => 14;

    public static int Columns => 2 * TLanes.Count;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(int depth, T* a, T* b, T* c, nint pitch, bool accumulate)
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
        for (int i = 0; i < Rows; i++)
            GemmKernels.Prefetch(c + i * pitch, Columns * sizeof(T));
        for (; depth > 0; depth--)
        {
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
            a += 14;
            b += 2 * TLanes.Count;
        }
        GemmKernels.StoreRow<TLanes, TVector, T>(c, z00, z01, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + pitch, z10, z11, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 2 * pitch, z20, z21, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 3 * pitch, z30, z31, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 4 * pitch, z40, z41, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 5 * pitch, z50, z51, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 6 * pitch, z60, z61, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 7 * pitch, z70, z71, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 8 * pitch, z80, z81, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 9 * pitch, z90, z91, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 10 * pitch, z100, z101, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 11 * pitch, z110, z111, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 12 * pitch, z120, z121, accumulate);
        GemmKernels.StoreRow<TLanes, TVector, T>(c + 13 * pitch, z130, z131, accumulate);
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
