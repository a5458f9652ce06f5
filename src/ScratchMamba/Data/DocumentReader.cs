using System.Buffers;
using System.IO.Compression;
using System.Text.Json;
using System.Text.Unicode;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Data;

/// <summary>A piece of a document's text.</summary>
/// <param name="Text">UTF-8; never half a character.</param>
/// <param name="EndsDocument">Whether the document ends with it.</param>
/// <param name="Next">Where the file, uncompressed, goes on after it.</param>
/// <param name="Line">How many lines there are up to there.</param>
internal sealed record TextPiece(ReadOnlyMemory<byte> Text, bool EndsDocument, long Next, long Line);

/// <summary>
/// The documents of one file, in pieces of about a mebibyte. Files named <c>.jsonl</c>, <c>.ndjson</c> or <c>.json</c> have one in a field of each line; others are text, one document or several with a separator between them.
/// Gzip is recognised by its first bytes. What is not UTF-8, or not JSON with the field, is left out line by line, and counted.
/// </summary>
/// <param name="path">The file.</param>
/// <param name="field">The field of a JSON line.</param>
/// <param name="separator">What stands between the documents of a text; null for one a file.</param>
internal sealed class DocumentReader(string path, string field, byte[]? separator)
{
    // Lines longer than this are no documents but something gone wrong, and would have to be held in memory.
    private const int LongestLine = 1 << 26;
    private const int PieceBytes = 1 << 20;

    private readonly bool isJsonLines = Path.GetExtension(path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path).ToLowerInvariant() is ".jsonl" or ".ndjson" or ".json";
    private byte[] buffer = new byte[2 * PieceBytes];
    private int start, filled;
    private long line;

    /// <summary>Is told what is wrong with a line that is left out, and where it is.</summary>
    public required Action<string> Bad { get; init; }

    /// <summary>How far the file itself has been read, for progress.</summary>
    public long Position { get; private set; }

    /// <summary>The pieces from the place on that a piece before was followed by.</summary>
    /// <param name="from">The place, uncompressed.</param>
    /// <param name="lines">How many lines there are up to there.</param>
    /// <exception cref="CheckpointException">The file cannot be read.</exception>
    public IEnumerable<TextPiece> Read(long from, long lines)
    {
        line = lines;
        using FileStream file = Open();
        var magic = new byte[2];
        bool isGzip = file.ReadAtLeast(magic, 2, throwOnEndOfStream: false) == 2 && magic is [0x1F, 0x8B];
        file.Position = 0;
        using Stream stream = isGzip ? new GZipStream(file, CompressionMode.Decompress) : file;
        if (!isGzip)
            file.Position = from;
        else
            Skip(stream, from);
        long offset = from;
        bool ended = false;
        while (true)
        {
            if (!ended)
                ended = !Fill(stream, file);
            if (start == filled && ended)
                yield break;
            (int length, int text, bool ends) = isJsonLines ? Line(ended) : Part(ended);
            if (length == 0)
                continue;
            offset += length;
            ReadOnlyMemory<byte> content = buffer.AsMemory(start, Math.Max(0, text));
            start += length;
            if (isJsonLines)
            {
                line++;
                byte[]? document = text < 0 ? null : FromJson(content.Span);
                if (document is not null)
                    yield return new TextPiece(document, EndsDocument: true, offset, line);
            }
            else
            {
                yield return new TextPiece(Valid(content), ends, offset, line);
            }
        }
    }

    private FileStream Open()
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: {error.Message}", error);
        }
    }

    /// <summary>Reads more into the buffer, behind what has not been given out; false at the end of the file.</summary>
    private bool Fill(Stream stream, FileStream file)
    {
        if (filled - start >= PieceBytes)
            return true;
        buffer.AsSpan(start, filled - start).CopyTo(buffer);
        (start, filled) = (0, filled - start);
        return More(stream, file);
    }

    private bool More(Stream stream, FileStream file)
    {
        try
        {
            int read = stream.ReadAtLeast(buffer.AsSpan(filled), buffer.Length - filled, throwOnEndOfStream: false);
            bool isFull = filled + read == buffer.Length;
            filled += read;
            Position = file.Position;
            return isFull;
        }
        catch (Exception error) when (error is InvalidDataException or IOException)
        {
            throw new CheckpointException($"{path}: {error.Message}", error);
        }
    }

    /// <summary>The next line: its length with the line break, without it (−1 for one that is too long), and that it is a document. Nothing where more has to be read.</summary>
    private (int Length, int Text, bool Ends) Line(bool ended)
    {
        int at = buffer.AsSpan(start, filled - start).IndexOf((byte)'\n');
        if (at >= 0)
            return (at + 1, at, true);
        if (ended)
            return (filled - start, filled - start, true);
        if (filled - start >= LongestLine)
        {
            Bad($"{path}: line {line + 1:#,0} is longer than {LongestLine >> 20} MiB");
            // Its rest will be no JSON either, and be counted once more.
            return (filled - start, -1, true);
        }
        if (filled - start == buffer.Length)
            Array.Resize(ref buffer, 2 * buffer.Length);
        else if (start > 0)
            Compact();
        return (0, 0, false);
    }

    private void Compact()
    {
        buffer.AsSpan(start, filled - start).CopyTo(buffer);
        (start, filled) = (0, filled - start);
    }

    /// <summary>The next piece of text: its length with a separator, without it, and whether it ends a document.</summary>
    private (int Length, int Text, bool Ends) Part(bool ended)
    {
        ReadOnlySpan<byte> given = buffer.AsSpan(start, filled - start);
        // What may be the beginning of a separator waits for what follows.
        int sure = separator is null ? -1 : given.IndexOf(separator);
        if (sure >= 0 && sure <= PieceBytes)
            return (sure + separator!.Length, sure, true);
        if (ended && given.Length <= PieceBytes)
            return (given.Length, given.Length, true);
        int cut = Cut(given, Math.Min(PieceBytes, given.Length - Math.Max(1, separator?.Length ?? 0)));
        return (cut, cut, false);
    }

    /// <summary>
    /// Where text can be cut, at <paramref name="limit"/> or before, so that its halves have the tokens of the whole: between lines that neither end nor begin with a space; else between any lines, else
    /// between characters.
    /// </summary>
    private static int Cut(ReadOnlySpan<byte> text, int limit)
    {
        int between = -1;
        for (int i = limit; i > 1 && (between < 0 || between - i < PieceBytes / 4); i--)
        {
            if (text[i - 1] != '\n')
                continue;
            if (text[i - 2] > ' ' && text[i] > ' ')
                return i;
            between = Math.Max(between, i);
        }
        if (between > 0)
            return between;
        while (limit > 1 && (text[limit] & 0xC0) == 0x80)
            limit--;
        return limit;
    }

    /// <summary>The text without the lines of it that are not UTF-8.</summary>
    private ReadOnlyMemory<byte> Valid(ReadOnlyMemory<byte> text)
    {
        if (Utf8.IsValid(text.Span))
        {
            line += text.Span.Count((byte)'\n');
            return text;
        }
        var kept = new ArrayBufferWriter<byte>(text.Length);
        while (text.Length > 0)
        {
            int at = text.Span.IndexOf((byte)'\n');
            ReadOnlyMemory<byte> one = at < 0 ? text : text[..(at + 1)];
            line++;
            if (Utf8.IsValid(one.Span))
                kept.Write(one.Span);
            else
                Bad($"{path}: line {line:#,0} is not UTF-8");
            text = text[one.Length..];
        }
        return kept.WrittenMemory;
    }

    private byte[]? FromJson(ReadOnlySpan<byte> text)
    {
        if (text.TrimStart(" \t\r"u8).IsEmpty)
            return null;
        try
        {
            var reader = new Utf8JsonReader(text);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
                return Refused("is not a JSON object");
            byte[]? found = null;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                bool isField = reader.ValueTextEquals(field);
                reader.Read();
                if (isField && reader.TokenType == JsonTokenType.String)
                {
                    var value = new byte[reader.ValueSpan.Length];
                    Array.Resize(ref value, reader.CopyString(value));
                    found = value;
                }
                else
                {
                    reader.Skip();
                }
            }
            // Whatever follows the object is an error, too.
            while (reader.Read())
            {
            }
            return found ?? Refused($"has no text in a field '{field}'");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return Refused("is not JSON");
        }

        byte[]? Refused(string why)
        {
            Bad($"{path}: line {line:#,0} {why}");
            return null;
        }
    }

    private static void Skip(Stream stream, long count)
    {
        byte[] scratch = new byte[1 << 16];
        while (count > 0)
        {
            int read = stream.Read(scratch, 0, (int)Math.Min(scratch.Length, count));
            if (read == 0)
                return;
            count -= read;
        }
    }
}
