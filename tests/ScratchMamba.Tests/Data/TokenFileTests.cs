using System.Diagnostics;
using System.IO.Compression;
using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Data;

/// <summary>Files of tokens: making them, and what happens when they or their texts are damaged.</summary>
public sealed class TokenFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Text(string name, string content, bool compressed = false)
    {
        string path = folder.File(name);
        using Stream file = File.Create(path), stream = compressed ? new GZipStream(file, CompressionLevel.Fastest) : file;
        stream.Write(Encoding.UTF8.GetBytes(content));
        return path;
    }

    private TokenFilePreparation Preparation(params string[] inputs) => new() { Inputs = inputs, Output = folder.File("out.tokens"), Tokenizer = new ByteTokenizer() };

    private string[] Documents(Tokenizer? tokenizer = null)
    {
        using var file = new TokenFile(folder.File("out.tokens"));
        tokenizer ??= new ByteTokenizer();
        var documents = new List<string>();
        long start = 0;
        for (long i = 0; i < file.Documents; i++)
        {
            var tokens = new int[file.EndOf(i) - start];
            file.Read(start, tokens);
            Assert.Equal((i, i), (file.DocumentAt(start), file.DocumentAt(file.EndOf(i) - 1)));
            documents.Add(Encoding.UTF8.GetString(tokenizer.Decode(tokens)));
            start = file.EndOf(i);
        }
        Assert.Equal(file.Count, start);
        return [.. documents];
    }

    [Fact]
    public void TextsJsonLinesAndGzipBecomeDocuments()
    {
        Preparation(
            Text("b.txt", "one|two|three"), Text("c.jsonl", "{\"text\":\"caf\\u00e9\",\"n\":[1,{\"text\":\"x\"}]}\n\n{\"n\":1,\"text\":\"line\\nbreak\"}"),
            Text("d.jsonl.gz", "{\"text\":\"packed\"}\r\n", compressed: true), Text("e.gz", "also packed", compressed: true)).With(separator: "|").Run(CancellationToken.None);
        Assert.Equal(["one", "two", "three", "café", "line\nbreak", "packed", "also packed"], Documents());
    }

    [Fact]
    public void BadLinesAreCountedAndReported()
    {
        var bad = new List<string>();
        string lines = "{\"text\":\"good\"}\nnot json\n{\"other\":1}\n{\"text\":5}\n[1]\n{\"text\":\"cut\n{\"text\":\"\\ud800\"}\n{\"text\":\"good\"} 7\n{\"text\":\"end\"}\n";
        string broken = folder.File("broken.txt");
        File.WriteAllBytes(broken, [.. "fine\n"u8, 0xFF, 0xFE, .. "\nfine too\n"u8]);
        TokenFilePreparation preparation = Preparation(Text("x.jsonl", lines), broken).With(bad: bad.Add);
        preparation.Run(CancellationToken.None);
        Assert.Equal(["good", "end", "fine\nfine too\n"], Documents());
        Assert.Equal((8, 8), (preparation.BadLines, bad.Count));
        Assert.Contains(bad, line => line.Contains("x.jsonl: line 2 is not JSON", StringComparison.Ordinal));
        Assert.Contains(bad, line => line.Contains("line 3 has no text in a field 'text'", StringComparison.Ordinal));
        Assert.Contains(bad, line => line.Contains("broken.txt: line 2 is not UTF-8", StringComparison.Ordinal));
    }

    [Fact]
    public void DocumentsAreFilteredByLength()
    {
        TokenFilePreparation preparation = Preparation(Text("a.txt", "a,bcd,ef,ghijk,")).With(separator: ",", least: 2, most: 3);
        preparation.Run(CancellationToken.None);
        Assert.Equal(["bcd", "ef"], Documents());
        Assert.Equal((1, 1), (preparation.TooShort, preparation.TooLong));
        Assert.Contains("no document", Assert.Throws<InvalidDataException>(() => Preparation(Text("b.txt", "x")).Run(CancellationToken.None)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ATokenizerEndsDocumentsAndIsKnownByItsDigest()
    {
        BpeTokenizer tokenizer = BpeTrainer.Train(File.ReadAllBytes(Golden.File("tokenizer/lines.txt")), 512, special: "<|endoftext|>");
        string text = File.ReadAllText(Golden.File("tokenizer/lines.txt"));
        new TokenFilePreparation { Inputs = [Text("a.txt", text)], Output = folder.File("out.tokens"), Tokenizer = tokenizer, Separator = "\n" }.Run(CancellationToken.None);
        string[] expected = [.. text.Split('\n').Where(line => line.Length > 0).Select(line => Encoding.UTF8.GetString(tokenizer.Decode([.. tokenizer.Encode(Encoding.UTF8.GetBytes(line)), tokenizer.EndOfText!.Value])))];
        Assert.Equal(expected, Documents(tokenizer));
        using var file = new TokenFile(folder.File("out.tokens"));
        Assert.Equal(Convert.ToHexStringLower(TokenFilePreparation.HashOf(tokenizer)), file.TokenizerHash);
    }

    [Fact]
    public void ALongTextIsCutWhereItsTokensStayTheSame()
    {
        BpeTokenizer tokenizer = BpeTrainer.Train(File.ReadAllBytes(Golden.File("tokenizer/lines.txt")), 400);
        string text = string.Concat(Enumerable.Range(0, 60_000).Select(i => $"line {i} of\n  a long text\n\n"));
        new TokenFilePreparation { Inputs = [Text("a.txt", text)], Output = folder.File("out.tokens"), Tokenizer = tokenizer }.Run(CancellationToken.None);
        using var file = new TokenFile(folder.File("out.tokens"));
        var tokens = new int[file.Count];
        file.Read(0, tokens);
        Assert.Equal(tokenizer.Encode(Encoding.UTF8.GetBytes(text)), tokens);
        Assert.Equal(1, file.Documents);
    }

    [Theory, InlineData(false), InlineData(true)]
    public void APreparationGoesOnWhereItWasStopped(bool compressed)
    {
        string lines = string.Concat(Enumerable.Range(0, 200_000).Select(i => i % 1000 == 7 ? "damaged\n" : $"{{\"text\":\"document number {i} with some words in it, \\u00e9 and more of them\"}}\n"));
        string first = Text(compressed ? "a.jsonl.gz" : "a.jsonl", lines, compressed), second = Text("b.txt", string.Concat(Enumerable.Repeat("a long text of one document\n", 300_000)));
        Preparation(first, second).Run(CancellationToken.None);
        byte[] whole = File.ReadAllBytes(folder.File("out.tokens"));
        File.Delete(folder.File("out.tokens"));
        TokenFilePreparation last;
        int stops = 0;
        while (true)
        {
            using var stop = new CancellationTokenSource();
            int shown = 0;
            last = Preparation(first, second).With(saves: 1 << 20, progress: _ =>
            {
                if (shown++ == 1)
                    stop.Cancel();
            });
            try
            {
                last.Run(stop.Token);
                break;
            }
            catch (OperationCanceledException)
            {
                Assert.False(File.Exists(folder.File("out.tokens")));
                if (++stops == 4)
                    File.AppendAllText(folder.File("out.tokens.partial"), "what was written after the last place to go on from");
            }
            Assert.InRange(stops, 0, 1000);
        }
        if (stops > 0)
            Assert.NotEqual(0, last.ResumedAt);
        Assert.Equal(200, last.BadLines);
        Assert.Equal(whole, File.ReadAllBytes(folder.File("out.tokens")));
        Assert.Equal(["out.tokens"], Directory.GetFiles(folder.Path, "out.*").Select(path => Path.GetFileName(path)));
    }

    [Fact]
    public void DamagedFilesAreRefused()
    {
        Preparation(Text("a.txt", "one,two,three")).With(separator: ",").Run(CancellationToken.None);
        string path = folder.File("out.tokens");
        byte[] whole = File.ReadAllBytes(path);
        void Refused(byte[] content, string why)
        {
            File.WriteAllBytes(path, content);
            Assert.Contains(why, Assert.Throws<CheckpointException>(() => new TokenFile(path)).Message, StringComparison.Ordinal);
        }
        Refused(whole[..^1], "cut short");
        Refused([.. whole, 0], "cut short");
        Refused(whole[..100], "not a file of tokens");
        Refused([.. "hello, world"u8, .. whole], "not a file of tokens");
        for (int at = 12; at < 32; at += 4)
        {
            byte[] changed = [.. whole];
            changed[at] ^= 0x80;
            changed[at + 3] ^= 0x80;
            File.WriteAllBytes(path, changed);
            Assert.Throws<CheckpointException>(() => new TokenFile(path));
        }
        byte[] falling = [.. whole];
        falling[^16] = 0xFF;
        Refused(falling, "document 2");
        // Shortened while it is open: an exception, not the end of the process.
        File.WriteAllBytes(path, whole);
        using var open = new TokenFile(path);
        using (Process other = Process.Start("truncate", ["-s", "130", path]))
            other.WaitForExit();
        Assert.Contains("cut short", Assert.Throws<CheckpointException>(() => open.Read(0, new int[8])).Message, StringComparison.Ordinal);
    }
}

file static class Changed
{
    public static TokenFilePreparation With(
        this TokenFilePreparation given, string? separator = null, long least = 2, long most = long.MaxValue, Action<string>? bad = null, long saves = 1 << 26, Action<PreparationProgress>? progress = null) => new()
    {
        Inputs = given.Inputs, Output = given.Output, Tokenizer = given.Tokenizer, Separator = separator, MinTokens = least, MaxTokens = most, Bad = bad, SaveBytes = saves, Progress = progress,
    };
}
