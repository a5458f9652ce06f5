using ScratchMamba.Tensors;

namespace ScratchMamba.Data;

/// <summary>Rows of tokens and what follows each of them, both [rows, length] in row-major order.</summary>
/// <param name="Inputs">The tokens that the model reads.</param>
/// <param name="Labels">The token after each; negative where it is not to be predicted.</param>
public sealed record TokenBatch(int[] Inputs, int[] Labels)
{
    /// <summary>The number of the document of each position within its row, where rows hold several: nothing crosses from one to the next. Null for one document a row.</summary>
    public int[]? Documents { get; init; }

    /// <summary>Whether each row goes on where that row of the batch before ended, in the same document. Null where batches have nothing to do with each other.</summary>
    public bool[]? Continues { get; init; }

    /// <summary>The batch as tensors [rows, <paramref name="length"/>] on a backend.</summary>
    internal (Tensor Inputs, Tensor Labels, Tensor? Documents) On(Backend backend, int length)
    {
        Shape shape = [Inputs.Length / length, length];
        return (backend.Tensor<int>(shape, Inputs), backend.Tensor<int>(shape, Labels), Documents is null ? null : backend.Tensor<int>(shape, Documents));
    }
}

/// <summary>
/// Batches of windows of long runs of tokens. Every window of a source is read once before any is read again, in an order that is a pure function of the seed, so that each batch can be made
/// alone. Windows hold whatever documents lie there; where two meet, neither state nor convolution nor loss crosses. Several sources are mixed by weight, to a 1024th of all rows.
/// </summary>
public sealed class TokenBatches
{
    // The rows of a source in a block of this many are fixed, so that a row's place in its source is found without counting those before.
    private const int Block = 1024;

    private readonly IReadOnlyList<TokenSource> sources;
    private readonly int[] shares;
    private readonly int rows, length;
    private readonly ulong seed;

    /// <summary>Batches of <paramref name="rows"/> windows of <paramref name="length"/> tokens.</summary>
    /// <exception cref="ArgumentException">There are fewer tokens than a window needs: <paramref name="length"/> + 1.</exception>
    public TokenBatches(int[] tokens, int rows, int length, ulong seed) : this([new TokenArray(tokens)], [1], rows, length, seed)
    {
    }

    /// <summary>Batches of <paramref name="rows"/> windows of <paramref name="length"/> tokens from several sources.</summary>
    /// <param name="sources">The sources.</param>
    /// <param name="weights">How many rows come from each, in proportion.</param>
    /// <param name="rows">Rows of a batch.</param>
    /// <param name="length">Tokens of a row.</param>
    /// <param name="seed">The seed of the order.</param>
    /// <exception cref="ArgumentException">A source has fewer tokens than a window needs, or a weight is not positive or too small to give a row in 1024.</exception>
    public TokenBatches(IReadOnlyList<TokenSource> sources, IReadOnlyList<double> weights, int rows, int length, ulong seed)
    {
        foreach (TokenSource source in sources)
        {
            if (source.Count < length + 1)
                throw new ArgumentException($"{Sentence(source.Name)} has {source.Count} tokens; windows of length {length} need at least {length + 1}. Give more data, or a shorter length.");
        }
        this.sources = sources;
        this.rows = rows;
        this.length = length;
        this.seed = seed;
        shares = Shares(weights, sources.Count);
    }

    /// <summary>
    /// How many batches follow each other, row by row, before rows jump to other places: 1, the default, for batches that have nothing to do with each other. It is cut to what the sources have,
    /// so that <see cref="long.MaxValue"/> gives every row a part of the data to read from end to end.
    /// </summary>
    public long Segments { get; init; } = 1;

    /// <summary>Whether documents are read on into the next as if they were one.</summary>
    public bool JoinsDocuments { get; init; }

    /// <summary>The same for the same data, read in the same way, only.</summary>
    public string Fingerprint => string.Join(' ', [.. sources.Zip(shares, (source, share) => $"{share}:{source.Fingerprint}"), $"{rows}x{length}", $"seed {seed}", $"segments {Chained}", JoinsDocuments ? "joined" : "apart"]);

    /// <summary>How many batches really follow each other.</summary>
    private long Chained => Math.Min(Math.Max(1, Segments), sources.Min(source => Math.Max(1, (source.Count - 1) / length / rows)));

    /// <summary>A batch by its number: always the same one for the same seed, whatever was made before.</summary>
    public TokenBatch this[long number]
    {
        get
        {
            var inputs = new int[rows * length];
            var labels = new int[rows * length];
            int[]? documents = JoinsDocuments || sources.All(source => source.Documents == 1) ? null : new int[rows * length];
            bool[]? continues = Segments > 1 ? new bool[rows] : null;
            bool isPacked = false;
            var window = new int[length + 1];
            for (int row = 0; row < rows; row++)
            {
                (TokenSource source, long position, bool begins) = Place(number, row);
                source.Read(position, window);
                Span<int> targets = labels.AsSpan(row * length, length);
                window.AsSpan(0, length).CopyTo(inputs.AsSpan(row * length));
                window.AsSpan(1).CopyTo(targets);
                if (documents is not null)
                    isPacked |= Divide(source, position, documents.AsSpan(row * length, length), targets);
                if (continues is not null)
                    continues[row] = !begins && (JoinsDocuments || !source.Begins(position));
            }
            return new TokenBatch(inputs, labels) { Documents = isPacked ? documents : null, Continues = continues };
        }
    }

    /// <summary>Where a row is read, and whether it jumped there.</summary>
    private (TokenSource Source, long Position, bool Begins) Place(long number, int row)
    {
        long chained = Chained, chain = number / chained * rows + row, segment = number % chained;
        (int choice, long turn) = Turn(chain);
        TokenSource source = sources[choice];
        long span = chained * length, chains = (source.Count - 1) / span, epoch = turn / chains;
        // What does not fill a chain is left out at the beginning and the end, elsewhere in every epoch.
        long rest = source.Count - 1 - chains * span, start = new Philox(seed, Stream(choice, epoch)).Next((int)Math.Min(rest + 1, int.MaxValue));
        start += new Permutation(chains, seed, Stream(choice, epoch))[turn % chains] * span;
        return (source, start + segment * length, segment == 0);
    }

    /// <summary>Which source a chain is from, and how many chains of that source are before it.</summary>
    private (int Source, long Turn) Turn(long chain)
    {
        if (sources.Count == 1)
            return (0, chain);
        long block = chain / Block;
        int place = (int)new Permutation(Block, seed, Stream(sources.Count, block))[chain % Block], source = 0;
        while (place >= shares[source])
            place -= shares[source++];
        return (source, block * shares[source] + place);
    }

    private static ulong Stream(int source, long epoch) => (ulong)source << 48 ^ (ulong)epoch;

    /// <summary>Numbers the documents of a row, and takes the first token of one from what the last of another has to predict. Says whether there are several.</summary>
    private static bool Divide(TokenSource source, long position, Span<int> numbers, Span<int> labels)
    {
        long document = source.DocumentAt(position);
        int done = 0, count = 0;
        while (true)
        {
            int end = (int)Math.Min(numbers.Length, source.EndOf(document) - position);
            numbers[done..end].Fill(count);
            if (source.EndOf(document) - position <= numbers.Length)
                labels[end - 1] = -1;
            if (end == numbers.Length)
                return count > 0;
            done = end;
            document++;
            count++;
        }
    }

    /// <summary>How many rows of a block each source has: in proportion to the weights, and the largest remainders rounded up.</summary>
    private static int[] Shares(IReadOnlyList<double> weights, int count)
    {
        if (weights.Count != count)
            throw new ArgumentException($"There are {count} sources and {weights.Count} weights.");
        if (!weights.All(weight => double.IsFinite(weight) && weight > 0))
            throw new ArgumentException($"The weight of a source is a positive number; got {string.Join(", ", weights)}.");
        double sum = weights.Sum();
        double[] exact = [.. weights.Select(weight => weight / sum * Block)];
        int[] shares = [.. exact.Select(value => (int)value)];
        foreach (int index in Enumerable.Range(0, count).OrderByDescending(index => exact[index] - shares[index]).Take(Block - shares.Sum()).ToArray())
            shares[index]++;
        return shares.All(share => share > 0) ? shares : throw new ArgumentException($"A weight is less than a {Block}th of all: {string.Join(", ", weights)}.");
    }

    private static string Sentence(string name) => char.ToUpperInvariant(name[0]) + name[1..];
}
