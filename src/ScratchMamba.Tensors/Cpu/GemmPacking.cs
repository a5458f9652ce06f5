using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>Copies strips of a matrix into panels, in the order in which a <see cref="IGemmKernel{T}"/> reads them.</summary>
internal static unsafe class GemmPacking
{
    /// <summary>For each of <paramref name="depth"/> inner indices, writes <paramref name="count"/> elements and zeros up to <paramref name="width"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Pack<T>(T* source, nint stride, nint depthStride, int count, int width, int depth, T* panel) where T : unmanaged
    {
        if (stride == 1)
        {
            for (int k = 0; k < depth; k++, source += depthStride, panel += width)
            {
                int i = 0;
                for (; i <= count - Vector128<T>.Count; i += Vector128<T>.Count)
                    Vector128.Load(source + i).Store(panel + i);
                for (; i < count; i++)
                    panel[i] = source[i];
                for (; i < width; i++)
                    panel[i] = default;
            }
            return;
        }
        int lane = 0;
        for (; lane <= count - 4; lane += 4)
        {
            T* s = source + lane * stride, p = panel + lane;
            for (int k = 0; k < depth; k++, s += depthStride, p += width)
            {
                p[0] = s[0];
                p[1] = s[stride];
                p[2] = s[2 * stride];
                p[3] = s[3 * stride];
            }
        }
        for (; lane < width; lane++)
        {
            T* s = source + lane * stride, p = panel + lane;
            for (int k = 0; k < depth; k++, s += depthStride, p += width)
                *p = lane < count ? *s : default;
        }
    }
}
