using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Data;

/// <summary>
/// A file of tokens, made by <see cref="TokenFileWriter"/>, read at positions: any number of tokens takes no memory. All numbers are little-endian:
/// <code>
///   0   8  SMTOKENS
///   8   4  version: 1
///  12   4  bytes of a token: 1, 2 or 4
///  16   8  number of tokens
///  24   8  number of documents
///  32   4  size of the vocabulary
///  36   4  the token that ends documents; −1 for none
///  40   8  bytes of the text
///  48  32  SHA-256 of the text: of the digest of all before, and a piece, piece after piece
///  80  32  SHA-256 of the tokenizer.json; zeros for a tokenizer of bytes
/// 112  16  zeros
/// 128      the tokens, then zeros to a multiple of 8 bytes
///          where each document ends, 8 bytes each: the number of tokens up to there
/// </code>
/// </summary>
/// <remarks>Not mapped: a mapped file that somebody shortens ends the process, and reading at positions costs a microsecond for a row.</remarks>
public sealed class TokenFile : TokenSource
{
    internal const int HeaderBytes = 128, Version = 1;

    private readonly SafeFileHandle file;
    private readonly int width;
    private readonly long endsStart;

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="CheckpointException">It cannot be opened, or is not a whole file of tokens.</exception>
    public TokenFile(string path)
    {
        Name = path;
        try
        {
            file = File.OpenHandle(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: {error.Message}", error);
        }
        try
        {
            Span<byte> header = stackalloc byte[HeaderBytes];
            if (RandomAccess.Read(file, header, 0) < HeaderBytes || !header.StartsWith(Magic))
                throw new CheckpointException($"{path}: is not a file of tokens; 'scratchmamba data prepare' makes one");
            int version = BinaryPrimitives.ReadInt32LittleEndian(header[8..]);
            if (version != Version)
                throw new CheckpointException($"{path}: has version {version}; this program reads {Version}");
            width = BinaryPrimitives.ReadInt32LittleEndian(header[12..]);
            Count = BinaryPrimitives.ReadInt64LittleEndian(header[16..]);
            Documents = BinaryPrimitives.ReadInt64LittleEndian(header[24..]);
            VocabularySize = BinaryPrimitives.ReadInt32LittleEndian(header[32..]);
            TextBytes = BinaryPrimitives.ReadInt64LittleEndian(header[40..]);
            TextHash = Convert.ToHexStringLower(header[48..80]);
            TokenizerHash = Convert.ToHexStringLower(header[80..112]);
            long length = RandomAccess.GetLength(file);
            if (width is not (1 or 2 or 4) || Count is <= 0 or > (long.MaxValue >> 4) || Documents <= 0 || Documents > Count || VocabularySize <= 0)
                throw new CheckpointException($"{path}: the header is damaged");
            endsStart = EndsStart(Count, width);
            if (length != endsStart + 8 * Documents)
                throw new CheckpointException($"{path}: {Count:#,0} tokens and {Documents:#,0} documents take {endsStart + 8 * Documents:#,0} bytes, but the file has {length:#,0}; it is cut short or damaged");
            if (EndOf(Documents - 1) != Count)
                throw Damaged(Documents - 1);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    internal static ReadOnlySpan<byte> Magic => "SMTOKENS"u8;

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override long Count { get; }

    /// <inheritdoc/>
    public override long Documents { get; }

    /// <summary>The number of token ids there are.</summary>
    public int VocabularySize { get; }

    /// <summary>The size of the text that the tokens stand for.</summary>
    public long TextBytes { get; }

    /// <summary>The text's SHA-256 digest, in hexadecimal.</summary>
    public string TextHash { get; }

    /// <summary>The SHA-256 digest of the tokenizer, in hexadecimal; zeros for one of bytes.</summary>
    public string TokenizerHash { get; }

    /// <inheritdoc/>
    public override string Fingerprint => $"{TextHash[..16]}-{TokenizerHash[..16]}-{Count}-{Documents}";

    /// <summary>Whether a file begins as files of tokens do.</summary>
    public static bool Recognizes(string path) => File.Exists(path) && InputFile.Beginning(path, 8).AsSpan().SequenceEqual(Magic);

    /// <inheritdoc/>
    /// <exception cref="CheckpointException">The file was shortened since it was opened, or holds a token that is none.</exception>
    public override void Read(long position, Span<int> destination)
    {
        Span<byte> target = MemoryMarshal.AsBytes(destination);
        // Narrow tokens are read into the end of the destination and widened from the front.
        Span<byte> raw = target[^(destination.Length * width)..];
        ReadExactly(raw, HeaderBytes + position * width);
        if (width == 1)
        {
            for (int i = 0; i < destination.Length; i++)
                destination[i] = raw[i];
        }
        else if (width == 2)
        {
            ReadOnlySpan<ushort> narrow = MemoryMarshal.Cast<byte, ushort>(raw);
            for (int i = 0; i < destination.Length; i++)
                destination[i] = narrow[i];
        }
        foreach (int token in destination)
        {
            if ((uint)token >= (uint)VocabularySize)
                throw new CheckpointException($"{Name}: holds token {token} near position {position:#,0}, but its vocabulary has {VocabularySize}; the file is damaged");
        }
    }

    /// <inheritdoc/>
    public override long DocumentAt(long position)
    {
        long low = 0, high = Documents - 1;
        while (low < high)
        {
            long middle = low + (high - low) / 2;
            if (EndOf(middle) > position)
                high = middle;
            else
                low = middle + 1;
        }
        return low;
    }

    /// <inheritdoc/>
    public override long EndOf(long document)
    {
        Span<byte> bytes = stackalloc byte[16];
        // The end before it, too: ends that do not rise would send a reader round in circles.
        int skipped = document == 0 ? 8 : 0;
        bytes.Clear();
        ReadExactly(bytes[skipped..], endsStart + 8 * document - 8 + skipped);
        long before = BinaryPrimitives.ReadInt64LittleEndian(bytes), end = BinaryPrimitives.ReadInt64LittleEndian(bytes[8..]);
        return before >= 0 && end > before && end <= Count ? end : throw Damaged(document);
    }

    internal static long EndsStart(long count, int width) => (HeaderBytes + count * width + 7) / 8 * 8;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        file.Dispose();
        base.Dispose(disposing);
    }

    private void ReadExactly(Span<byte> bytes, long offset)
    {
        while (bytes.Length > 0)
        {
            int read = RandomAccess.Read(file, bytes, offset);
            if (read == 0)
                throw new CheckpointException($"{Name}: ends at byte {offset:#,0}; it was cut short since it was opened");
            bytes = bytes[read..];
            offset += read;
        }
    }

    private CheckpointException Damaged(long document) => new($"{Name}: the end of document {document:#,0} is damaged");
}
