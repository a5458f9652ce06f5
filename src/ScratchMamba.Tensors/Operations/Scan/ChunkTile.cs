using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

/// <summary>Steps that the kernels of the chunked scan share, each on one head and one chunk.</summary>
internal static unsafe class ChunkTile
{
    /// <summary>
    /// The inclusive cumulative sum a of dt·A as high + low. It is summed in float64 and kept in two parts, because the scan needs differences of it: where one long
    /// step has made it large, a single float32 would no longer resolve the short steps that follow.
    /// </summary>
    public static void Decay<T>(int length, T* dt, long dtStep, T a, T* high, T* low) where T : unmanaged, IFloatingPointIeee754<T>
    {
        double sum = 0, rate = double.CreateTruncating(a);
        for (int s = 0; s < length; s++)
        {
            sum += double.CreateTruncating(dt[s * dtStep]) * rate;
            high[s] = T.CreateTruncating(sum);
            low[s] = T.CreateTruncating(sum - double.CreateTruncating(high[s]));
        }
    }

    /// <summary>to[s] = exp(min(a_last − a_s, 0)).</summary>
    public static void DecayToLast<T>(int length, T* high, T* low, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Difference(length, high, low, length - 1, to);
        var span = new Span<T>(to, length);
        TensorPrimitives.Exp(span, span);
    }

    /// <summary>
    /// The decay to the end of the chunk, weight[s] = exp(a_last − a_s), and 0 for positions that belong to another document than the last one.
    /// Leaves the cumulative sum in <paramref name="high"/> and <paramref name="low"/>.
    /// </summary>
    public static void Weights<T>(int length, T* dt, long dtStep, T a, int* sequence, int start, T* high, T* low, T* weight, int* first)
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        Decay(length, dt, dtStep, a, high, low);
        DecayToLast(length, high, low, weight);
        FirstOfDocument(length, sequence, start, first);
        if (first[length - 1] > 0)
            new Span<T>(weight, first[length - 1]).Clear();
    }

    /// <summary>exp(min(a_m − a_s, 0)) for s ≤ m, row after row without gaps: row m begins at m(m+1)/2.</summary>
    public static void DecayTriangle<T>(int length, T* high, T* low, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        T* row = to;
        for (int m = 0; m < length; row += ++m)
            Difference(m + 1, high, low, m, row);
        var all = new Span<T>(to, length * (length + 1) / 2);
        TensorPrimitives.Exp(all, all);
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
        TensorPrimitives.Exp(new ReadOnlySpan<T>(high, length), new Span<T>(to, length));
        for (int m = 0; m < length; m++)
            to[m] = first[m] < 0 ? to[m] : T.Zero;
    }

    /// <summary>D of one head, spread over its channels; zero where there is none.</summary>
    public static void Skip<T>(int head, int width, T* skip, int skipsPerHead, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        for (int p = 0; p < width; p++)
            to[p] = skip is null ? T.Zero : skip[skipsPerHead == 1 ? head : (long)head * width + p];
    }

    /// <summary>to[s] = scale[s] · from[s], rows of <paramref name="width"/>; <paramref name="to"/> is dense.</summary>
    public static void ScaleRows<T>(int length, int width, T* from, long fromStep, T* scale, long scaleStep, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        // Not by TensorPrimitives: at 32 columns a call costs more than the row.
        for (int s = 0; s < length; s++, from += fromStep, to += width)
        {
            T factor = scale[s * scaleStep];
            int p = 0;
            for (; p + Vector<T>.Count <= width; p += Vector<T>.Count)
                Vector.Store(Vector.Load(from + p) * new Vector<T>(factor), to + p);
            for (; p < width; p++)
                to[p] = from[p] * factor;
        }
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

    // min((high_m − high_s) + (low_m − low_s), 0) for s < length.
    private static void Difference<T>(int length, T* high, T* low, int m, T* to) where T : unmanaged, IFloatingPointIeee754<T>
    {
        T h = high[m], l = low[m];
        int s = 0;
        for (; s + Vector<T>.Count <= length; s += Vector<T>.Count)
            Vector.Store(Vector.MinNative(new Vector<T>(h) - Vector.Load(high + s) + (new Vector<T>(l) - Vector.Load(low + s)), Vector<T>.Zero), to + s);
        for (; s < length; s++)
            to[s] = T.MinNative(h - high[s] + (l - low[s]), T.Zero);
    }
}
