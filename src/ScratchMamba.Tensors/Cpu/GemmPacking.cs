using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Copies strips of a matrix into panels, in the order in which a <see cref="IGemmKernel{T}"/> reads them: with 256 bits on Zen 3 0.1 to 0.3 ns an element (0.15 to 0.2 where the matrix lies across).
/// A product of m rows makes 2m operations with an element of B, 75 to 95 in a nanosecond.
/// </summary>
internal static unsafe class GemmPacking
{
    /// <summary>
    /// Packs <paramref name="count"/> strips as panels of <paramref name="width"/>: a panel holds, for each of <paramref name="depth"/> inner indices, its strips' elements.
    /// What the last panel lacks is zero.
    /// </summary>
    /// <param name="source">The first element.</param>
    /// <param name="stride">From one strip to the next.</param>
    /// <param name="depthStride">From one inner index to the next.</param>
    /// <param name="count">The number of strips.</param>
    /// <param name="width">The strips in a panel.</param>
    /// <param name="depth">The inner indices.</param>
    /// <param name="panels">Where they go, one after the other.</param>
    public static void Pack<T>(T* source, nint stride, nint depthStride, int count, int width, int depth, T* panels) where T : unmanaged
    {
        if (stride == 1)
        {
            CopyRows(source, depthStride, count, width, depth, panels);
            return;
        }
        for (; count > 0; count -= width, source += width * stride, panels += (nint)width * depth)
            Transpose(source, stride, depthStride, Math.Min(count, width), width, depth, panels);
    }

    /// <summary>The strips lie side by side: a row is a run of memory, which several panels share. Some rows at a time, so that they are read from memory once and panels are written in long runs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyRows<T>(T* source, nint depthStride, int count, int width, int depth, T* panels) where T : unmanaged
    {
        // Eight lines in the same place of pages are as many as a first-level cache of eight ways holds.
        const int together = 8;
        int bytes = width * sizeof(T);
        for (int k = 0; k < depth; k += together)
        {
            int rows = Math.Min(together, depth - k);
            for (int first = 0; first < count; first += width)
            {
                T* from = source + k * depthStride + first, to = panels + (nint)first * depth + (nint)k * width;
                if (first + width > count)
                {
                    for (int row = 0; row < rows; row++, from += depthStride, to += width)
                    {
                        for (int lane = 0; lane < width; lane++)
                            to[lane] = first + lane < count ? from[lane] : default;
                    }
                }
                else if (bytes <= 32)
                {
                    for (int row = 0; row < rows; row++, from += depthStride, to += width)
                        CopyRow<Vector128<byte>>((byte*)from, (byte*)to, bytes);
                }
                else if (bytes <= 64)
                {
                    for (int row = 0; row < rows; row++, from += depthStride, to += width)
                        CopyRow<Vector256<byte>>((byte*)from, (byte*)to, bytes);
                }
                else
                {
                    for (int row = 0; row < rows; row++, from += depthStride, to += width)
                        CopyRow<Vector512<byte>>((byte*)from, (byte*)to, bytes);
                }
            }
        }
    }

    /// <summary>A row of one to two vectors, the second of which ends where it ends.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyRow<TVector>(byte* from, byte* to, int bytes) where TVector : unmanaged
    {
        TVector first = *(TVector*)from, last = *(TVector*)(from + bytes - sizeof(TVector));
        *(TVector*)to = first;
        *(TVector*)(to + bytes - sizeof(TVector)) = last;
    }

    /// <summary>Each strip is a run of memory, or at least not beside the other: four of them are read at a time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose<T>(T* source, nint stride, nint depthStride, int count, int width, int depth, T* panel) where T : unmanaged
    {
        int lane = 0;
        if (typeof(T) == typeof(float) && depthStride == 1 && count == 6 && width == 6)
        {
            // The six rows of a block for 256-bit vectors, at once: so the panel is written from its beginning to its end.
            T* s = source, p = panel;
            for (int k = depth / 4; k > 0; k--, s += 4, p += 24)
            {
                Transpose4((float*)s, stride, (float*)p, 6);
                Transpose2((float*)(s + 4 * stride), stride, (float*)(p + 4), 6);
            }
            source = s;
            panel = p;
            depth %= 4;
        }
        if (typeof(T) == typeof(float) && depthStride == 1 && count >= 8 && Avx.IsSupported)
        {
            for (; lane < count; lane += 8)
            {
                // The last eight may overlap those before.
                int first = Math.Min(lane, count - 8);
                Transpose8((float*)source + first * stride, stride, depth, (float*)panel + first, width);
            }
            lane = count;
        }
        for (; lane <= count - 4; lane += 4)
        {
            T* s = source + lane * stride, p = panel + lane;
            int k = 0;
            if (typeof(T) == typeof(float) && depthStride == 1)
            {
                for (; k <= depth - 4; k += 4, s += 4, p += 4 * width)
                    Transpose4((float*)s, stride, (float*)p, width);
            }
            for (; k < depth; k++, s += depthStride, p += width)
            {
                p[0] = s[0];
                p[1] = s[stride];
                p[2] = s[2 * stride];
                p[3] = s[3 * stride];
            }
        }
        for (; lane <= count - 2; lane += 2)
        {
            T* s = source + lane * stride, p = panel + lane;
            int k = 0;
            if (typeof(T) == typeof(float) && depthStride == 1)
            {
                for (; k <= depth - 4; k += 4, s += 4, p += 4 * width)
                    Transpose2((float*)s, stride, (float*)p, width);
            }
            for (; k < depth; k++, s += depthStride, p += width)
            {
                p[0] = s[0];
                p[1] = s[stride];
            }
        }
        for (; lane < width; lane++)
        {
            T* s = source + lane * stride, p = panel + lane;
            for (int k = 0; k < depth; k++, s += depthStride, p += width)
                *p = lane < count ? *s : default;
        }
    }

    /// <summary>Eight strips, four inner indices at a time: each half of a vector is a block of 4 × 4.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose8(float* rows, nint stride, int depth, float* columns, int pitch)
    {
        float* upper = rows + 4 * stride;
        int k = 0;
        for (; k <= depth - 4; k += 4, rows += 4, upper += 4, columns += 4 * pitch)
        {
            Vector256<float> r0 = Load(rows, upper), r1 = Load(rows + stride, upper + stride), r2 = Load(rows + 2 * stride, upper + 2 * stride), r3 = Load(rows + 3 * stride, upper + 3 * stride);
            Vector256<double> a = Avx.UnpackLow(r0, r1).AsDouble(), b = Avx.UnpackLow(r2, r3).AsDouble(), c = Avx.UnpackHigh(r0, r1).AsDouble(), d = Avx.UnpackHigh(r2, r3).AsDouble();
            Avx.UnpackLow(a, b).AsSingle().Store(columns);
            Avx.UnpackHigh(a, b).AsSingle().Store(columns + pitch);
            Avx.UnpackLow(c, d).AsSingle().Store(columns + 2 * pitch);
            Avx.UnpackHigh(c, d).AsSingle().Store(columns + 3 * pitch);
        }
        for (; k < depth; k++, rows++, columns += pitch)
        {
            for (int lane = 0; lane < 8; lane++)
                columns[lane] = rows[lane * stride];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Load(float* lower, float* upper) => Avx.InsertVector128(Vector128.Load(lower).ToVector256Unsafe(), Vector128.Load(upper), 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose4(float* rows, nint stride, float* columns, int pitch)
    {
        Vector128<float> r0 = Vector128.Load(rows), r1 = Vector128.Load(rows + stride), r2 = Vector128.Load(rows + 2 * stride), r3 = Vector128.Load(rows + 3 * stride);
        Vector128<double> a = ZipLow(r0, r1).AsDouble(), b = ZipLow(r2, r3).AsDouble(), c = ZipHigh(r0, r1).AsDouble(), d = ZipHigh(r2, r3).AsDouble();
        ZipLow(a, b).AsSingle().Store(columns);
        ZipHigh(a, b).AsSingle().Store(columns + pitch);
        ZipLow(c, d).AsSingle().Store(columns + 2 * pitch);
        ZipHigh(c, d).AsSingle().Store(columns + 3 * pitch);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose2(float* rows, nint stride, float* columns, int pitch)
    {
        Vector128<float> r0 = Vector128.Load(rows), r1 = Vector128.Load(rows + stride);
        Vector128<double> low = ZipLow(r0, r1).AsDouble(), high = ZipHigh(r0, r1).AsDouble();
        *(double*)columns = low[0];
        *(double*)(columns + pitch) = low[1];
        *(double*)(columns + 2 * pitch) = high[0];
        *(double*)(columns + 3 * pitch) = high[1];
    }

    // The shuffles that all processors have have no portable name yet.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> ZipLow(Vector128<float> x, Vector128<float> y) =>
        Sse.IsSupported ? Sse.UnpackLow(x, y) : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(x, y) : Vector128.Create(x[0], y[0], x[1], y[1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> ZipHigh(Vector128<float> x, Vector128<float> y) =>
        Sse.IsSupported ? Sse.UnpackHigh(x, y) : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(x, y) : Vector128.Create(x[2], y[2], x[3], y[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> ZipLow(Vector128<double> x, Vector128<double> y) =>
        Sse2.IsSupported ? Sse2.UnpackLow(x, y) : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(x, y) : Vector128.Create(x[0], y[0]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> ZipHigh(Vector128<double> x, Vector128<double> y) =>
        Sse2.IsSupported ? Sse2.UnpackHigh(x, y) : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(x, y) : Vector128.Create(x[1], y[1]);
}
