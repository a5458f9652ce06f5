using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Data;

/// <summary>How far a preparation is.</summary>
/// <param name="Done">The bytes of the files that have been read; of compressed ones as they lie there.</param>
/// <param name="Total">The bytes of all files.</param>
/// <param name="TextBytes">The bytes of text.</param>
/// <param name="Tokens">The tokens written.</param>
/// <param name="Documents">The documents written.</param>
public readonly record struct PreparationProgress(long Done, long Total, long TextBytes, long Tokens, long Documents);

/// <summary>Makes a <see cref="TokenFile"/> of texts of any size in memory that does not grow. When it is stopped, the same preparation goes on where it was.</summary>
public sealed class TokenFilePreparation
{
    private const int BatchBytes = 1 << 22;

    private readonly List<(string Path, long Length)> files = [];
    private long textBytes, tooShort, tooLong, bad;
    private byte[] hash = new byte[SHA256.HashSizeInBytes];

    /// <summary>The files, and the files in folders: those that are text, JSON lines, or either compressed by gzip.</summary>
    public required IReadOnlyList<string> Inputs { get; init; }

    /// <summary>The file to write.</summary>
    public required string Output { get; init; }

    /// <summary>What makes tokens of text. Its end of text, if it has one, ends every document.</summary>
    public required Tokenizer Tokenizer { get; init; }

    /// <summary>The field of a JSON line that holds the text.</summary>
    public string Field { get; init; } = "text";

    /// <summary>What stands between the documents of a text file; null for one document a file.</summary>
    public string? Separator { get; init; }

    /// <summary>Documents of fewer tokens are left out.</summary>
    public long MinTokens { get; init; } = 2;

    /// <summary>Documents of more tokens are left out.</summary>
    public long MaxTokens { get; init; } = long.MaxValue;

    /// <summary>How many bytes of files are read between two places that can be gone on from.</summary>
    public long SaveBytes { get; init; } = 1 << 26;

    /// <summary>Is told of progress, a few times a second.</summary>
    public Action<PreparationProgress>? Progress { get; init; }

    /// <summary>Is told of lines that are left out because they are damaged.</summary>
    public Action<string>? Bad { get; init; }

    /// <summary>How many lines were left out because they were damaged.</summary>
    public long BadLines => bad;

    /// <summary>How many documents were left out because they are too short.</summary>
    public long TooShort => tooShort;

    /// <summary>How many documents were left out because they are too long.</summary>
    public long TooLong => tooLong;

    /// <summary>How many bytes of the files had been done when this began: more than 0 for a preparation that was gone on with.</summary>
    public long ResumedAt { get; private set; }

    private string StateFile => $"{Output}.partial.json";

    /// <summary>Prepares.</summary>
    /// <exception cref="OperationCanceledException">It was cancelled; what is done is kept.</exception>
    /// <exception cref="CheckpointException">A file cannot be read or written.</exception>
    /// <exception cref="InvalidDataException">There is no document.</exception>
    public void Run(CancellationToken cancellation)
    {
        files.AddRange(Find());
        byte[] tokenizerHash = HashOf(Tokenizer);
        var header = new TokenFileHeader(Tokenizer.VocabularySize, Tokenizer.EndOfText, tokenizerHash);
        string settings = Settings(tokenizerHash);
        (int index, long offset, long line) = (0, 0, 0);
        using TokenFileWriter writer = Restore(settings) is { } state ? GoOn(state) : new TokenFileWriter(Output, header);
        long total = files.Sum(file => file.Length), before = files.Take(index).Sum(file => file.Length), lastSave = before, lastShown = 0;
        ResumedAt = before + offset;
        var batch = new List<TextPiece>();
        for (; index < files.Count; index++, offset = 0, line = 0)
        {
            long batched = 0;
            var reader = new DocumentReader(files[index].Path, Field, Separator is null ? null : System.Text.Encoding.UTF8.GetBytes(Separator)) { Bad = Refuse };
            foreach (TextPiece piece in reader.Read(offset, line))
            {
                // The text lies in the reader's buffer, which is about to change.
                batch.Add(piece with { Text = piece.Text.ToArray() });
                batched += piece.Text.Length;
                if (batched < BatchBytes && batch.Count < 4096)
                    continue;
                Write(writer, batch);
                batched = 0;
                long done = before + reader.Position;
                Show(done);
                bool stops = cancellation.IsCancellationRequested;
                if (stops || done - lastSave >= SaveBytes)
                {
                    Save(settings, writer, index, piece.Next, piece.Line);
                    lastSave = done;
                }
                cancellation.ThrowIfCancellationRequested();
            }
            Write(writer, batch);
            if (writer.DocumentLength > 0)
                End(writer);
            before += files[index].Length;
            if (before - lastSave >= SaveBytes)
            {
                Save(settings, writer, index + 1, 0, 0);
                lastSave = before;
            }
        }
        if (writer.Documents == 0)
            throw new InvalidDataException($"There is no document in {string.Join(", ", Inputs)}{(tooShort + tooLong > 0 ? $" of {MinTokens} to {MaxTokens} tokens" : "")}.");
        Progress?.Invoke(new PreparationProgress(total, total, textBytes, writer.Count, writer.Documents));
        writer.Complete(textBytes, hash);
        File.Delete(StateFile);

        TokenFileWriter GoOn(JsonNode state)
        {
            (textBytes, bad, tooShort, tooLong) = (state["text_bytes"]!.GetValue<long>(), state["bad"]!.GetValue<long>(), state["too_short"]!.GetValue<long>(), state["too_long"]!.GetValue<long>());
            hash = Convert.FromHexString(state["hash"]!.GetValue<string>());
            (index, offset, line) = (state["file"]!.GetValue<int>(), state["offset"]!.GetValue<long>(), state["line"]!.GetValue<long>());
            return new TokenFileWriter(Output, header, state["tokens"]!.GetValue<long>(), state["documents"]!.GetValue<long>(), state["document_length"]!.GetValue<long>());
        }

        void Show(long done)
        {
            if (Stopwatch.GetElapsedTime(lastShown).TotalMilliseconds < 200)
                return;
            lastShown = Stopwatch.GetTimestamp();
            Progress?.Invoke(new PreparationProgress(done, total, textBytes, writer.Count, writer.Documents));
        }
    }

    /// <summary>The SHA-256 digest that a file of tokens names a tokenizer by: of its <c>tokenizer.json</c> as it is written here; zeros for one of bytes.</summary>
    public static byte[] HashOf(Tokenizer tokenizer)
    {
        if (tokenizer is not BpeTokenizer pairs)
            return new byte[SHA256.HashSizeInBytes];
        using var stream = new MemoryStream();
        TokenizerJsonWriter.Write(stream, pairs.Model);
        return SHA256.HashData(stream.ToArray());
    }

    private List<(string Path, long Length)> Find()
    {
        var found = new List<(string Path, long Length)>();
        foreach (string path in Inputs)
        {
            if (Directory.Exists(path))
            {
                foreach (string file in Directory.EnumerateFiles(path, "*", new EnumerationOptions { RecurseSubdirectories = true }).Order(StringComparer.Ordinal))
                {
                    if (Looks(file))
                        found.Add((file, new FileInfo(file).Length));
                }
            }
            else if (!File.Exists(path))
            {
                throw new FileNotFoundException($"There is no file or folder {path}.");
            }
            else if (!Looks(path))
            {
                throw new InvalidDataException($"{path} is neither text nor compressed by gzip.");
            }
            else
            {
                found.Add((path, new FileInfo(path).Length));
            }
        }
        return found;
    }

    /// <summary>Whether a file may be text: it is compressed by gzip, or has no zero among its first bytes.</summary>
    private static bool Looks(string path)
    {
        byte[] beginning = InputFile.Beginning(path, 4096);
        return beginning is [0x1F, 0x8B, ..] || !beginning.Contains((byte)0);
    }

    private void Refuse(string what)
    {
        bad++;
        Bad?.Invoke(what);
    }

    private void Write(TokenFileWriter writer, List<TextPiece> batch)
    {
        bool isBytes = Tokenizer is ByteTokenizer;
        var encoded = new int[batch.Count][];
        if (!isBytes)
            Parallel.For(0, batch.Count, i => encoded[i] = Tokenizer.Encode(batch[i].Text.Span));
        for (int i = 0; i < batch.Count; i++)
        {
            textBytes += batch[i].Text.Length;
            hash = Next(hash, batch[i].Text.Span);
            if (isBytes)
                writer.Append(batch[i].Text.Span);
            else
                writer.Append(encoded[i]);
            if (batch[i].EndsDocument)
                End(writer);
        }
        batch.Clear();
    }

    private void End(TokenFileWriter writer)
    {
        if (writer.DocumentLength == 0)
            return;
        if (Tokenizer.EndOfText is { } end)
            writer.Append([end]);
        if (writer.DocumentLength < MinTokens || writer.DocumentLength > MaxTokens)
        {
            (writer.DocumentLength < MinTokens ? ref tooShort : ref tooLong)++;
            writer.DropDocument();
        }
        writer.EndDocument();
    }

    private static byte[] Next(byte[] before, ReadOnlySpan<byte> text)
    {
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        digest.AppendData(before);
        digest.AppendData(text);
        return digest.GetHashAndReset();
    }

    private string Settings(byte[] tokenizerHash) => string.Join('\n',
    [
        Convert.ToHexString(tokenizerHash), Field, Separator ?? "", $"{MinTokens}-{MaxTokens}",
        .. files.Select(file => $"{Path.GetFullPath(file.Path)} {file.Length} {File.GetLastWriteTimeUtc(file.Path).Ticks}"),
    ]);

    private void Save(string settings, TokenFileWriter writer, int index, long offset, long line)
    {
        writer.Flush();
        var state = new JsonObject
        {
            ["settings"] = Digest(settings), ["file"] = index, ["offset"] = offset, ["line"] = line, ["tokens"] = writer.Count, ["documents"] = writer.Documents, ["document_length"] = writer.DocumentLength,
            ["text_bytes"] = textBytes, ["hash"] = Convert.ToHexString(hash), ["bad"] = bad, ["too_short"] = tooShort, ["too_long"] = tooLong,
        };
        AtomicFile.Write(StateFile, stream =>
        {
            using var json = new Utf8JsonWriter(stream);
            state.WriteTo(json);
        });
    }

    /// <summary>What the same preparation left when it was stopped; null where there is nothing.</summary>
    private JsonNode? Restore(string settings)
    {
        try
        {
            JsonNode? state = File.Exists(StateFile) ? JsonNode.Parse(File.ReadAllBytes(StateFile)) : null;
            return state?["settings"]?.GetValue<string>() == Digest(settings) ? state : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    private static string Digest(string settings) => Convert.ToHexString(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(settings)));
}
