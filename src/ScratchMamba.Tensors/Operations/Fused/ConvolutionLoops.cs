using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

/// <summary>One summand of a convolution: a run of channels, and the weights of the tap that multiplies it.</summary>
internal readonly unsafe struct ConvolutionTerm<T>(T* row, T* weight) where T : unmanaged
{
    public T* Row => row;

    public T* Weight => weight;
}

/// <summary>What one part of a convolution's work covers: positions [Start, End) of one sequence, and Count channels from Channel on, which are those of one piece of the results from Column on.</summary>
internal readonly record struct ConvolutionPart(int Batch, int Row, int Start, int End, int Channel, int Count, int Piece, int Column)
{
    /// <summary>The longest run of channels, small enough that a block of positions stays in the second-level cache.</summary>
    public const int Channels = 512;

    /// <summary>How many taps fit the stack; more are possible.</summary>
    public const int TermsOnStack = 32;

    /// <summary>The longest run of positions.</summary>
    public const int Time = 64;

    /// <summary>How many blocks of positions there are; one even where there is no position, to write the gradients that are zero then.</summary>
    public static int TimeBlocks(int length) => Math.Max(1, (length + Time - 1) / Time);

    /// <summary>How many blocks of channels there are: none crosses from one piece of the results to the next.</summary>
    public static int ChannelBlocks(ConvolutionColumns columns, int channels)
    {
        int blocks = 0;
        for (int piece = 0; piece < ConvolutionColumns.Pieces; piece++)
            blocks += Blocks(columns.Width(piece, channels));
        return blocks;
    }

    public static ConvolutionPart Of(int index, int length, ConvolutionColumns columns, int channels)
    {
        int channelBlocks = ChannelBlocks(columns, channels), timeBlocks = TimeBlocks(length), row = index / channelBlocks;
        int start = row % timeBlocks * Time, block = index % channelBlocks, piece = 0, before = 0;
        for (; block >= Blocks(columns.Width(piece, channels)); piece++)
        {
            block -= Blocks(columns.Width(piece, channels));
            before += columns.Width(piece, channels);
        }
        int column = block * Channels;
        return new(row / timeBlocks, row, start, Math.Min(length, start + Time), before + column, Math.Min(Channels, columns.Width(piece, channels) - column), piece, column);
    }

    private static int Blocks(int width) => (width + Channels - 1) / Channels;
}

/// <summary>The results of a convolution, or their gradients: the channels in up to three tensors, one behind the other.</summary>
internal unsafe readonly struct ConvolutionPieces<T>(T* first, T* second, T* third, ConvolutionColumns columns, int channels) where T : unmanaged
{
    /// <summary>From one position of a part to the next.</summary>
    public int Pitch(in ConvolutionPart part) => columns.Width(part.Piece, channels);

    /// <summary>The channels of a part at position <paramref name="row"/> of all sequences together.</summary>
    public T* Row(in ConvolutionPart part, long row) => (part.Piece == 0 ? first : part.Piece == 1 ? second : third) + row * Pitch(part) + part.Column;
}

/// <summary>The inputs of a causal convolution, and which of them a position sees.</summary>
internal unsafe struct ConvolutionSignal<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    private T* x, initial, weight;
    private int* sequence;
    private int batches;
    private ConvolutionColumns columns;

    public int Length { get; private set; }

    public int Channels { get; private set; }

    public int Taps { get; private set; }

    public readonly int Parts => checked(batches * ConvolutionPart.TimeBlocks(Length) * ConvolutionPart.ChannelBlocks(columns, Channels));

    public readonly int PartElements => Math.Min(Length, ConvolutionPart.Time) * Math.Min(Channels, ConvolutionPart.Channels);

    /// <summary>The inputs of a call; the weights are transposed into <paramref name="taps"/>, so that a tap's are adjacent.</summary>
    public static ConvolutionSignal<T> Of(CpuCall call, CausalConvolution operation, ConvolutionColumns columns, T* taps)
    {
        Shape shape = call.InputType(0).Shape;
        var signal = new ConvolutionSignal<T>
        {
            x = call.InputAddress<T>(0),
            initial = operation.HasInitial ? call.InputAddress<T>(operation.InitialIndex) : null,
            weight = taps,
            sequence = operation.HasSequence ? call.InputAddress<int>(operation.InputCount - 1) : null,
            batches = shape[0],
            Length = shape[1],
            Channels = call.InputType(1).Shape[0],
            columns = columns,
            Taps = call.InputType(1).Shape[1],
        };
        T* given = call.InputAddress<T>(1);
        for (int c = 0; c < signal.Channels; c++)
        {
            for (int k = 0; k < signal.Taps; k++)
                taps[(long)k * signal.Channels + c] = given[(long)c * signal.Taps + k];
        }
        return signal;
    }

    public readonly ConvolutionPart Part(int index) => ConvolutionPart.Of(index, Length, columns, Channels);

    /// <summary>The number of position <paramref name="t"/> among those of all sequences.</summary>
    public readonly long Row(int batch, int t) => (long)batch * Length + t;

    /// <summary>Where the input of position <paramref name="t"/> is.</summary>
    public readonly long Offset(int batch, int t) => Row(batch, t) * columns.Pitch;

    /// <summary>Where the initial input of position <paramref name="j"/> &lt; 0 is.</summary>
    public readonly long InitialOffset(int batch, int j) => ((long)batch * (Taps - 1) + j + Taps - 1) * Channels;

    /// <summary>The inputs that position <paramref name="t"/> sees.</summary>
    public readonly ReadOnlySpan<ConvolutionTerm<T>> Sources(in ConvolutionPart part, int t, Span<ConvolutionTerm<T>> room)
    {
        int count = 0;
        for (int k = 0; k < Taps; k++)
        {
            T* row = Source(part, t, k);
            if (row is not null)
                room[count++] = new(row, Weight(k, part));
        }
        return room[..count];
    }

    /// <summary>The input that tap <paramref name="k"/> multiplies at position <paramref name="t"/>; null where there is none.</summary>
    public readonly T* Source(in ConvolutionPart part, int t, int k)
    {
        int j = t - (Taps - 1) + k;
        if ((j < 0 && initial is null) || !SameDocument(part.Batch, Math.Max(j, 0), t))
            return null;
        return (j < 0 ? initial + InitialOffset(part.Batch, j) : x + Offset(part.Batch, j)) + part.Channel;
    }

    /// <summary>The positions that see input <paramref name="j"/>, which may be an initial one; their rows are taken from <paramref name="dp"/>, which begins at the part's first.</summary>
    public readonly ReadOnlySpan<ConvolutionTerm<T>> Destinations(in ConvolutionPart part, int j, T* dp, int pitch, Span<ConvolutionTerm<T>> room)
    {
        int count = 0;
        for (int t = Math.Max(j, 0); t < Math.Min(Length, j + Taps); t++)
        {
            int k = j + Taps - 1 - t;
            if (SameDocument(part.Batch, Math.Max(j, 0), t))
                room[count++] = new(dp + (long)(t - part.Start) * pitch, Weight(k, part));
        }
        return room[..count];
    }

    private readonly T* Weight(int tap, in ConvolutionPart part) => weight + (long)tap * Channels + part.Channel;

    private readonly bool SameDocument(int batch, int j, int t) => sequence is null || sequence[(long)batch * Length + j] == sequence[(long)batch * Length + t];
}

/// <summary>The inner loops of the convolution and of its derivative.</summary>
internal static unsafe class ConvolutionLoops
{
    /// <summary>
    /// <c>sum = Σ dp[t] · x[t − (K − 1) + k]</c> over the positions of a part, channel by channel. Position after position for a few channels, whose sums stay in registers:
    /// that is a multiply-add for two loads, where position by position it is one for three loads and a store.
    /// </summary>
    public static void TapGradient<T>(in ConvolutionSignal<T> signal, in ConvolutionPart part, int k, T* dp, int pitch, T* sum) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Vector<T>.Count, c = 0;
        T** rows = stackalloc T*[ConvolutionPart.Time];
        for (int t = part.Start; t < part.End; t++)
            rows[t - part.Start] = signal.Source(part, t, k);
        int count = part.End - part.Start;
        for (; c <= part.Count - 4 * width; c += 4 * width)
        {
            Vector<T> a = default, b = default, d = default, e = default;
            T* gradient = dp + c;
            for (int t = 0; t < count; t++, gradient += pitch)
            {
                if (rows[t] is null)
                    continue;
                T* x = rows[t] + c;
                a = VectorMath.MultiplyAdd(Vector.Load(gradient), Vector.Load(x), a);
                b = VectorMath.MultiplyAdd(Vector.Load(gradient + width), Vector.Load(x + width), b);
                d = VectorMath.MultiplyAdd(Vector.Load(gradient + 2 * width), Vector.Load(x + 2 * width), d);
                e = VectorMath.MultiplyAdd(Vector.Load(gradient + 3 * width), Vector.Load(x + 3 * width), e);
            }
            a.Store(sum + c);
            b.Store(sum + c + width);
            d.Store(sum + c + 2 * width);
            e.Store(sum + c + 3 * width);
        }
        for (; c < part.Count; c++)
        {
            T total = T.Zero;
            for (int t = 0; t < count; t++)
                total = rows[t] is null ? total : T.MultiplyAddEstimate(dp[(long)t * pitch + c], rows[t][c], total);
            sum[c] = total;
        }
    }

    /// <summary><c>sum = Σ dp[t]</c> over the positions of a part.</summary>
    public static void SumRows<T>(in ConvolutionPart part, T* dp, int pitch, T* sum) where T : unmanaged, IFloatingPointIeee754<T>
    {
        var total = new Span<T>(sum, part.Count);
        total.Clear();
        for (int t = 0; t < part.End - part.Start; t++)
            TensorPrimitives.Add(total, new ReadOnlySpan<T>(dp + (long)t * pitch, part.Count), total);
    }

    /// <summary><c>y = start + Σ row · weight</c> over the terms, channel by channel; start is zero where it is null.</summary>
    public static void WeightedSum<T>(ReadOnlySpan<ConvolutionTerm<T>> terms, T* start, Span<T> y) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int width = Vector<T>.Count, c = 0;
        fixed (T* to = y)
        {
            for (; c <= y.Length - 4 * width; c += 4 * width)
            {
                Vector<T> a = default, b = default, d = default, e = default;
                if (start is not null)
                    (a, b, d, e) = (Vector.Load(start + c), Vector.Load(start + c + width), Vector.Load(start + c + 2 * width), Vector.Load(start + c + 3 * width));
                foreach (ConvolutionTerm<T> term in terms)
                {
                    T* x = term.Row + c, w = term.Weight + c;
                    a = VectorMath.MultiplyAdd(Vector.Load(x), Vector.Load(w), a);
                    b = VectorMath.MultiplyAdd(Vector.Load(x + width), Vector.Load(w + width), b);
                    d = VectorMath.MultiplyAdd(Vector.Load(x + 2 * width), Vector.Load(w + 2 * width), d);
                    e = VectorMath.MultiplyAdd(Vector.Load(x + 3 * width), Vector.Load(w + 3 * width), e);
                }
                a.Store(to + c);
                b.Store(to + c + width);
                d.Store(to + c + 2 * width);
                e.Store(to + c + 3 * width);
            }
            for (; c < y.Length; c++)
            {
                T sum = start is null ? T.Zero : start[c];
                foreach (ConvolutionTerm<T> term in terms)
                    sum = T.MultiplyAddEstimate(term.Row[c], term.Weight[c], sum);
                to[c] = sum;
            }
        }
    }
}
