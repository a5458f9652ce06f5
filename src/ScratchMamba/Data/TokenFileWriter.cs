using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Data;

/// <summary>What a file of tokens says of itself in its header.</summary>
/// <param name="VocabularySize">The number of token ids.</param>
/// <param name="EndOfText">The token that ends documents; null for none.</param>
/// <param name="TokenizerHash">The SHA-256 digest of the tokenizer; 32 zeros for one of bytes.</param>
public sealed record TokenFileHeader(int VocabularySize, int? EndOfText, byte[] TokenizerHash)
{
    internal int Width => VocabularySize <= 1 << 8 ? 1 : VocabularySize <= 1 << 16 ? 2 : 4;
}

/// <summary>
/// Writes a <see cref="TokenFile"/> document by document, in memory that does not grow: tokens to <c>PATH.partial</c>, the ends of documents to <c>PATH.partial-ends</c>. What has been flushed can be
/// gone on from; the file itself appears when it is complete.
/// </summary>
public sealed class TokenFileWriter : IDisposable
{
    private readonly string path;
    private readonly TokenFileHeader header;
    private readonly FileStream tokens, ends;
    private readonly byte[] buffer = new byte[1 << 18];
    private long documentStart;

    /// <summary>Begins a file, or goes on with one.</summary>
    /// <param name="path">The file to be.</param>
    /// <param name="header">What it says of itself.</param>
    /// <param name="count">How many tokens are there already.</param>
    /// <param name="documents">How many documents are there already.</param>
    /// <param name="documentLength">How many of the tokens are of a document that has not ended.</param>
    /// <exception cref="CheckpointException">It cannot be written, or there is less than there should be.</exception>
    public TokenFileWriter(string path, TokenFileHeader header, long count = 0, long documents = 0, long documentLength = 0)
    {
        (this.path, this.header, Count, Documents, documentStart) = (path, header, count, documents, count - documentLength);
        try
        {
            tokens = Open(PartialOf(path), TokenFile.HeaderBytes + count * header.Width);
            ends = Open(EndsOf(path), documents * 8);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            tokens?.Dispose();
            throw new CheckpointException($"{path}: cannot be written: {error.Message}", error);
        }

        FileStream Open(string name, long length)
        {
            var stream = new FileStream(name, count == 0 ? FileMode.Create : FileMode.Open, FileAccess.ReadWrite, FileShare.None, 1 << 18);
            if (stream.Length < length && count > 0)
            {
                stream.Dispose();
                throw new IOException($"{name} is shorter than when it was left");
            }
            stream.SetLength(length);
            stream.Position = length;
            return stream;
        }
    }

    /// <summary>The tokens of whole documents so far, and of the one that is being written.</summary>
    public long Count { get; private set; }

    /// <summary>The documents so far.</summary>
    public long Documents { get; private set; }

    /// <summary>The tokens of the document that is being written.</summary>
    public long DocumentLength => Count - documentStart;

    /// <summary>Writes tokens of the current document.</summary>
    public void Append(ReadOnlySpan<int> given)
    {
        Count += given.Length;
        if (header.Width == 4)
        {
            tokens.Write(MemoryMarshal.AsBytes(given));
            return;
        }
        while (given.Length > 0)
        {
            ReadOnlySpan<int> part = given[..Math.Min(given.Length, buffer.Length / header.Width)];
            if (header.Width == 1)
            {
                for (int i = 0; i < part.Length; i++)
                    buffer[i] = (byte)part[i];
            }
            else
            {
                Span<ushort> narrow = MemoryMarshal.Cast<byte, ushort>(buffer.AsSpan());
                for (int i = 0; i < part.Length; i++)
                    narrow[i] = (ushort)part[i];
            }
            tokens.Write(buffer.AsSpan(0, part.Length * header.Width));
            given = given[part.Length..];
        }
    }

    /// <summary>Writes tokens that are bytes.</summary>
    public void Append(ReadOnlySpan<byte> given)
    {
        Count += given.Length;
        tokens.Write(given);
    }

    /// <summary>Ends the current document. One without tokens is none.</summary>
    public void EndDocument()
    {
        if (DocumentLength == 0)
            return;
        Span<byte> end = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(end, Count);
        ends.Write(end);
        Documents++;
        documentStart = Count;
    }

    /// <summary>Takes the current document back.</summary>
    public void DropDocument()
    {
        Count = documentStart;
        tokens.SetLength(TokenFile.HeaderBytes + Count * header.Width);
        tokens.Position = tokens.Length;
    }

    /// <summary>Waits until the disk has everything so far.</summary>
    public void Flush()
    {
        tokens.Flush(flushToDisk: true);
        ends.Flush(flushToDisk: true);
    }

    /// <summary>Writes the header and the ends of documents, and gives the file its name.</summary>
    /// <exception cref="InvalidDataException">There is no document.</exception>
    public void Complete(long textBytes, byte[] textHash)
    {
        if (Documents == 0)
            throw new InvalidDataException("There is no document to make a file of tokens of.");
        tokens.Write(new byte[TokenFile.EndsStart(Count, header.Width) - TokenFile.HeaderBytes - Count * header.Width]);
        ends.Position = 0;
        ends.CopyTo(tokens);
        Span<byte> start = stackalloc byte[TokenFile.HeaderBytes];
        start.Clear();
        TokenFile.Magic.CopyTo(start);
        BinaryPrimitives.WriteInt32LittleEndian(start[8..], TokenFile.Version);
        BinaryPrimitives.WriteInt32LittleEndian(start[12..], header.Width);
        BinaryPrimitives.WriteInt64LittleEndian(start[16..], Count);
        BinaryPrimitives.WriteInt64LittleEndian(start[24..], Documents);
        BinaryPrimitives.WriteInt32LittleEndian(start[32..], header.VocabularySize);
        BinaryPrimitives.WriteInt32LittleEndian(start[36..], header.EndOfText ?? -1);
        BinaryPrimitives.WriteInt64LittleEndian(start[40..], textBytes);
        textHash.CopyTo(start[48..]);
        header.TokenizerHash.CopyTo(start[80..]);
        tokens.Position = 0;
        tokens.Write(start);
        tokens.Flush(flushToDisk: true);
        Dispose();
        File.Move(PartialOf(path), path, overwrite: true);
        FolderFlush.Flush(Path.GetDirectoryName(Path.GetFullPath(path))!);
        File.Delete(EndsOf(path));
    }

    /// <summary>Closes what is open; what was flushed stays, to be gone on from.</summary>
    public void Dispose()
    {
        tokens.Dispose();
        ends.Dispose();
    }

    internal static string PartialOf(string path) => $"{path}.partial";

    internal static string EndsOf(string path) => $"{path}.partial-ends";
}
