namespace ScratchMamba.Data;

/// <summary>A run of tokens, document after document, that can be read anywhere. Safe to use from several threads.</summary>
public abstract class TokenSource : IDisposable
{
    /// <summary>The name that messages use.</summary>
    public abstract string Name { get; }

    /// <summary>The number of tokens.</summary>
    public abstract long Count { get; }

    /// <summary>The number of documents.</summary>
    public abstract long Documents { get; }

    /// <summary>The same for the same tokens and documents only.</summary>
    public abstract string Fingerprint { get; }

    /// <summary>Copies the tokens from <paramref name="position"/> on.</summary>
    public abstract void Read(long position, Span<int> destination);

    /// <summary>Which document the token at <paramref name="position"/> belongs to.</summary>
    public abstract long DocumentAt(long position);

    /// <summary>The position after the last token of a document.</summary>
    public abstract long EndOf(long document);

    /// <summary>Whether a document begins with the token at <paramref name="position"/>.</summary>
    public bool Begins(long position) => position == 0 || EndOf(DocumentAt(position - 1)) == position;

    /// <summary>The tokens of a part; whoever disposes it disposes the whole.</summary>
    public TokenSource Part(long start, long count) => new Range(this, start, count);

    /// <summary>Closes what is open.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes what is open.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    private sealed class Range(TokenSource whole, long start, long count) : TokenSource
    {
        private readonly long first = whole.DocumentAt(start);

        public override string Name => whole.Name;

        public override long Count => count;

        public override long Documents => whole.DocumentAt(start + count - 1) - first + 1;

        public override string Fingerprint => $"{whole.Fingerprint}[{start}..{start + count}]";

        public override void Read(long position, Span<int> destination) => whole.Read(start + position, destination);

        public override long DocumentAt(long position) => whole.DocumentAt(start + position) - first;

        public override long EndOf(long document) => Math.Min(count, whole.EndOf(first + document) - start);

        protected override void Dispose(bool disposing)
        {
            whole.Dispose();
            base.Dispose(disposing);
        }
    }
}

/// <summary>Tokens in memory: one document.</summary>
public sealed class TokenArray(int[] tokens) : TokenSource
{
    /// <inheritdoc/>
    public override string Name => "the data";

    /// <inheritdoc/>
    public override long Count => tokens.Length;

    /// <inheritdoc/>
    public override long Documents => 1;

    /// <inheritdoc/>
    public override string Fingerprint => field ??= Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Runtime.InteropServices.MemoryMarshal.AsBytes(tokens.AsSpan())));

    /// <inheritdoc/>
    public override void Read(long position, Span<int> destination) => tokens.AsSpan((int)position, destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    public override long DocumentAt(long position) => 0;

    /// <inheritdoc/>
    public override long EndOf(long document) => tokens.Length;
}
