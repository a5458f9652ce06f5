using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Steps that the kernels of the chunked scan share, each on one head and one chunk. Arrays of positions are of scratch memory, which is a multiple of a vector long: so whole vectors
/// are read and written, and what lies beyond the last position is anything.
/// </summary>
internal static unsafe class ChunkTile
{
    /// <summary>
    /// The inclusive cumulative sum a of dt·A as high + low. It is summed in float64 and kept in two parts, because the scan needs differences of it: where one long
    /// step has made it large, a single float32 would no longer resolve the short steps that follow.
    /// </summary>
    public static void Decay<T>(int length, T* steps, T a, T* high, T* low) where T : unmanaged, IFloatingPointIeee754<T>
    {
        double sum = 0, rate = double.CreateTruncating(a);
        for (int s = 0; s < length; s++)
        {
            sum += double.CreateTruncating(steps[s]) * rate;
            high[s] = T.CreateTruncating(sum);
            low[s] = T.CreateTruncating(sum - double.CreateTruncating(high[s]));
        }
    }

    /// <summary>
    /// exp(min(a_m − a_s, 0)) for a vector of positions from <paramref name="s"/> on, given a_m; never less than the smallest normal number. Beyond the last position it is anything.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> DecaySince<T>(T* high, T* low, int s, Vector<T> highNow, Vector<T> lowNow) where T : unmanaged, IFloatingPointIeee754<T> =>
        VectorMath.ExpWithin(VectorMath.AtLeast(
            -VectorMath.ExpLimit<T>(), VectorMath.AtMost(Vector<T>.Zero, highNow - Vector.Load(high + s) + (lowNow - Vector.Load(low + s)))));

    /// <summary>The lanes of a vector of positions from <paramref name="s"/> on that are in [<paramref name="first"/>, <paramref name="end"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Between<T>(int s, int first, int end) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> position = Vector<T>.Indices + new Vector<T>(T.CreateTruncating(s));
        return Vector.GreaterThanOrEqual(position, new Vector<T>(T.CreateTruncating(first))) & Vector.LessThan(position, new Vector<T>(T.CreateTruncating(end)));
    }

    /// <summary>
    /// The decay to the end of the chunk, weight[s] = exp(a_last − a_s), and 0 for positions that belong to another document than the last one.
    /// Leaves the cumulative sum in <paramref name="high"/> and <paramref name="low"/>.
    /// </summary>
    public static void Weights<T>(int length, T* steps, T a, int* sequence, int start, T* high, T* low, T* weight, int* first)
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        Decay(length, steps, a, high, low);
        Vector<T> highLast = new(high[length - 1]), lowLast = new(low[length - 1]);
        for (int s = 0; s < length; s += Vector<T>.Count)
            Vector.Store(DecaySince(high, low, s, highLast, lowLast), weight + s);
        FirstOfDocument(length, sequence, start, first);
        if (first[length - 1] > 0)
            new Span<T>(weight, first[length - 1]).Clear();
    }

    /// <summary>
    /// For each position of a chunk the first one of its document, or −1 where the document began before the chunk, so that the carried state is its own.
    /// Documents are runs of equal numbers; without a sequence there is one.
    /// </summary>
    public static void FirstOfDocument(int length, int* sequence, int start, int* first)
    {
        if (sequence is null)
        {
            new Span<int>(first, length).Fill(-1);
            return;
        }
        sequence += start;
        for (int m = 0; m < length; m++)
            first[m] = m + start == 0 || sequence[m] == sequence[m - 1] ? (m == 0 ? -1 : first[m - 1]) : m;
    }

    /// <summary>What is left of the carried state at each position: to[m] = exp(a_m), or 0 where the document began inside the chunk.</summary>
    public static void Carried<T>(int length, T* high, int* first, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        for (int m = 0; m < length; m += Vector<T>.Count)
            Vector.Store(VectorMath.Exp(Vector.Load(high + m)), to + m);
        for (int m = 0; m < length; m++)
            to[m] = first[m] < 0 ? to[m] : T.Zero;
    }

    /// <summary>The elements from one row of a matrix of positions by positions to the next: whole vectors.</summary>
    public static int Pitch(int length) => (length + 15) / 16 * 16;

    /// <summary>to[s] = from[s · step], and zeros up to <see cref="Pitch"/>.</summary>
    public static void Gather<T>(int length, T* from, long step, T* to) where T : unmanaged
    {
        for (int s = 0; s < length; s++)
            to[s] = from[s * step];
        new Span<T>(to + length, Pitch(length) - length).Clear();
    }

    /// <summary>Whether all elements of a state are zero, as those before the first chunk mostly are, and the gradients of those after the last: then a product with them is left out.</summary>
    public static bool IsZero<T>(T* state, int count) where T : unmanaged => !new ReadOnlySpan<byte>(state, checked(count * sizeof(T))).ContainsAnyExcept((byte)0);

    /// <summary>D of one head, spread over its channels; zero where there is none.</summary>
    public static void Skip<T>(int head, int width, T* skip, int skipsPerHead, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        for (int p = 0; p < width; p++)
            to[p] = skip is null ? T.Zero : skip[skipsPerHead == 1 ? head : (long)head * width + p];
    }

    /// <summary>to[s] = scale[s] · from[s], rows of <paramref name="width"/>; <paramref name="to"/> is dense.</summary>
    public static void ScaleRows<T>(int length, int width, T* from, long fromStep, T* scale, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        // Not by TensorPrimitives: at 32 columns a call costs more than the row.
        for (int s = 0; s < length; s++, from += fromStep, to += width)
        {
            var factor = new Vector<T>(scale[s]);
            // The next head's.
            GemmKernels.Prefetch(from + width, width * sizeof(T));
            int p = 0;
            for (; p + Vector<T>.Count <= width; p += Vector<T>.Count)
                Vector.Store(Vector.Load(from + p) * factor, to + p);
            for (; p < width; p++)
                to[p] = from[p] * scale[s];
        }
    }

    /// <summary>to[s] = from[s], rows of <paramref name="width"/>; <paramref name="to"/> is dense.</summary>
    public static void CopyRows<T>(int length, int width, T* from, nint fromStep, T* to) where T : unmanaged
    {
        for (int s = 0; s < length; s++, from += fromStep, to += width)
        {
            // The next head's.
            GemmKernels.Prefetch(from + width, width * sizeof(T));
            int p = 0;
            for (; p + Vector<T>.Count <= width; p += Vector<T>.Count)
                Vector.Store(Vector.Load(from + p), to + p);
            for (; p < width; p++)
                to[p] = from[p];
        }
    }

    /// <summary>Asks for rows that will be needed soon: processors do not foresee rows that are pages apart.</summary>
    public static void PrefetchRows<T>(int length, int width, T* from, nint fromStep) where T : unmanaged
    {
        for (int s = 0; s < length; s++, from += fromStep)
            GemmKernels.Prefetch(from, width * sizeof(T));
    }

    /// <summary>Sums rows in order, in float64.</summary>
    public static void SumRows<T>(int rows, int columns, T* from, Span<T> to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        for (int j = 0; j < columns; j++)
        {
            double sum = 0;
            for (int i = 0; i < rows; i++)
                sum += double.CreateTruncating(from[(long)i * columns + j]);
            to[j] = T.CreateTruncating(sum);
        }
    }
}
