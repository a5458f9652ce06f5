using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// Steps that the kernels of the chunked scan share, each on one head and one chunk. Arrays of positions are of scratch memory, which is a multiple of a vector long: so whole vectors
/// are read and written, and what lies beyond the last position is anything. None is inlined: what the compiler takes into one method is limited, and beyond that it calls what should be an instruction.
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
        FirstOfDocument(length, sequence, start, first);
        ToEnd(length, high, low, first, weight);
    }

    /// <summary>weight[s] = exp(a_last − a_s), and 0 for positions that belong to another document than the last one.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void ToEnd<T>(int length, T* high, T* low, int* first, T* weight) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> highLast = new(high[length - 1]), lowLast = new(low[length - 1]);
        for (int s = 0; s < length; s += Vector<T>.Count)
            Vector.Store(DecaySince(high, low, s, highLast, lowLast), weight + s);
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
    [MethodImpl(MethodImplOptions.NoInlining)]
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

    /// <summary>m = C·Bᵀ ∘ decay ∘ dt where s ≤ m and both are of one document, else 0 as far as the product by blocks of rows reads; the diagonal gets D.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void Mix<T>(int length, int pitch, T* cb, T* high, T* low, T* steps, int* first, T skip, T* m) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Vector<T>.Count;
        for (int i = 0; i < length; i++, cb += pitch, m += pitch)
        {
            Vector<T> highNow = new(high[i]), lowNow = new(low[i]);
            int from = Math.Max(first[i], 0), s = 0;
            for (; s + width <= from; s += width)
                Vector.Store(Vector<T>.Zero, m + s);
            for (; s <= i; s += width)
            {
                Vector<T> mixed = Vector.Load(cb + s) * DecaySince(high, low, s, highNow, lowNow) * Vector.Load(steps + s);
                if (s < from || s + width > i + 1)
                    mixed &= Between<T>(s, from, i + 1);
                Vector.Store(mixed, m + s);
            }
            for (; s < Math.Min(pitch, i + SmallMatrix.RowBlock); s += width)
                Vector.Store(Vector<T>.Zero, m + s);
            m[i] += skip;
        }
    }

    /// <summary>
    /// From dM: m = C·Bᵀ ∘ L and d(C·Bᵀ) += dM ∘ L ∘ dt; and for every position t, inside[t] = Σ T_ms over s &lt; t ≤ m, where T = dM ∘ m ∘ dt: the gradient of dt_t·A,
    /// which lies between s and m. Rows are taken from the last to the first, so that <paramref name="columns"/> holds the sums over m ≥ t when row t is reached.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void MixGradient<T>(
        int length, int pitch, T* cb, T* high, T* low, T* steps, int* first, T* dm, T* m, T* dcb, T* columns, T* inside) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Vector<T>.Count;
        new Span<T>(columns, pitch).Clear();
        for (int i = length - 1; i >= 0; i--)
        {
            T* cbi = cb + (long)i * pitch, dmi = dm + (long)i * pitch, mi = m + (long)i * pitch, dcbi = dcb + (long)i * pitch;
            Vector<T> highNow = new(high[i]), lowNow = new(low[i]), sums = default;
            int from = Math.Max(first[i], 0), s = 0;
            for (; s + width <= from; s += width)
                Vector.Store(Vector<T>.Zero, mi + s);
            for (; s < i; s += width)
            {
                Vector<T> decays = DecaySince(high, low, s, highNow, lowNow), product = Vector.Load(cbi + s), slope = Vector.Load(dmi + s);
                bool isPart = s < from || s + width > i;
                Vector<T> lanes = isPart ? Between<T>(s, from, i) : default;
                if (isPart)
                    (decays, product, slope) = (decays & lanes, product & lanes, slope & lanes);
                Vector<T> d = slope * decays * Vector.Load(steps + s), column = VectorMath.MultiplyAdd(d, product, Vector.Load(columns + s));
                Vector.Store(product * decays, mi + s);
                Vector.Store(Vector.Load(dcbi + s) + d, dcbi + s);
                Vector.Store(column, columns + s);
                sums += isPart ? column & lanes : column;
            }
            for (; s < Math.Min(pitch, i + SmallMatrix.RowBlock); s += width)
                Vector.Store(Vector<T>.Zero, mi + s);
            inside[i] = Vector.Sum(sums);
            mi[i] = cbi[i];
            dcbi[i] += dmi[i] * steps[i];
        }
    }

    /// <summary>sum += row; returns row·with.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static T AddAndDot<T>(int width, T* row, T* with, T* sum) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> dots = default;
        int n = 0;
        for (; n + Vector<T>.Count <= width; n += Vector<T>.Count)
        {
            Vector<T> values = Vector.Load(row + n);
            dots = VectorMath.MultiplyAdd(values, Vector.Load(with + n), dots);
            Vector.Store(Vector.Load(sum + n) + values, sum + n);
        }
        T dot = Vector.Sum(dots);
        for (; n < width; n++)
        {
            dot += row[n] * with[n];
            sum[n] += row[n];
        }
        return dot;
    }

    /// <summary>One row: dx = step · d(dt x) + skip ∘ g, dskip += g ∘ x; returns d(dt x)·x.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static T Finish<T>(int width, T step, T* dtile, T* g, T* x, T* skip, T* dx, T* dskip) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> dots = default;
        int p = 0;
        for (; p + Vector<T>.Count <= width; p += Vector<T>.Count)
        {
            Vector<T> d = Vector.Load(dtile + p), gs = Vector.Load(g + p), xs = Vector.Load(x + p);
            Vector.Store(VectorMath.MultiplyAdd(Vector.Load(skip + p), gs, new Vector<T>(step) * d), dx + p);
            Vector.Store(VectorMath.MultiplyAdd(gs, xs, Vector.Load(dskip + p)), dskip + p);
            dots = VectorMath.MultiplyAdd(d, xs, dots);
        }
        T dot = Vector.Sum(dots);
        for (; p < width; p++)
        {
            dx[p] = step * dtile[p] + skip[p] * g[p];
            dskip[p] += g[p] * x[p];
            dot += dtile[p] * x[p];
        }
        return dot;
    }

    /// <summary>x·y.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static T Dot<T>(int width, T* x, T* y) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> dots = default;
        int p = 0;
        for (; p + Vector<T>.Count <= width; p += Vector<T>.Count)
            dots = VectorMath.MultiplyAdd(Vector.Load(x + p), Vector.Load(y + p), dots);
        T dot = Vector.Sum(dots);
        for (; p < width; p++)
            dot += x[p] * y[p];
        return dot;
    }
}
