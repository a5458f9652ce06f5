using System.Text;
using ScratchMamba.Data;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Data;

public sealed class DataTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Write(string name, byte[] content)
    {
        string path = folder.File(name);
        File.WriteAllBytes(path, content);
        return path;
    }

    [Fact]
    public void ABatchIsAPureFunctionOfSeedAndStep()
    {
        int[] tokens = [.. Enumerable.Range(0, 1000)];
        TokenBatches batches = new(tokens, 4, 10, seed: 1), again = new(tokens, 4, 10, seed: 1), other = new(tokens, 4, 10, seed: 2);
        _ = again[5];
        Assert.Equal(batches[17].Inputs, again[17].Inputs);
        Assert.NotEqual(batches[17].Inputs, batches[18].Inputs);
        Assert.NotEqual(batches[17].Inputs, other[17].Inputs);
        Assert.Equal(batches[17].Inputs.Select(token => token + 1), batches[17].Labels);
    }

    [Fact]
    public void WindowsReachBothEndsOfTheData()
    {
        var batches = new TokenBatches([1, 2, 3, 4], 1, 2, seed: 0);
        var seen = Enumerable.Range(0, 50).Select(step => batches[step]).ToList();
        Assert.Contains(seen, batch => batch.Inputs[0] == 1);
        Assert.Contains(seen, batch => batch.Labels[1] == 4);
        Assert.Contains("3 tokens", Assert.Throws<ArgumentException>(() => new TokenBatches([1, 2, 3], 1, 3, 0)).Message);
    }

    [Fact]
    public void HeldOutTextIsNeverTrainedOn()
    {
        byte[] text = new byte[300_000];
        for (int i = 0; i < text.Length; i++)
            text[i] = (byte)(i / 4096);
        TextCorpus corpus = TextCorpus.FromBytes(text);
        Assert.Equal(text.Length, corpus.Training.Length + corpus.HeldOut.Length);
        Assert.Empty(corpus.Training.Distinct().Intersect(corpus.HeldOut));
        Assert.Equal([15, 31, 47, 63], corpus.HeldOut.Distinct());
    }

    [Fact]
    public void ShortTextHoldsOutItsEnd()
    {
        TextCorpus corpus = TextCorpus.FromBytes(Encoding.UTF8.GetBytes("0123456789"));
        Assert.Equal("9", Encoding.UTF8.GetString(corpus.HeldOut));
    }

    [Fact]
    public void FoldersAreReadInOrderWithoutWhatIsNotText()
    {
        Write("b.txt", "second"u8.ToArray());
        Write("a.txt", "first "u8.ToArray());
        Write("c.bin", [1, 0, 2]);
        Write("d.txt", [0xFF, 0xFE, 0x41]);
        Assert.Equal("first second", Encoding.UTF8.GetString(TextCorpus.ReadFiles([folder.Path])));
    }

    [Fact]
    public void FaultsNameThePath()
    {
        Assert.Contains("nowhere", Assert.Throws<FileNotFoundException>(() => TextCorpus.ReadFiles([folder.File("nowhere")])).Message);
        Assert.Contains("not UTF-8", Assert.Throws<InvalidDataException>(() => TextCorpus.ReadFiles([Write("x", [0xC3])])).Message);
        Assert.Contains("no text", Assert.Throws<InvalidDataException>(() => TextCorpus.ReadFiles([Write("empty", [])])).Message);
    }

    [Fact]
    public void TheDefaultCorpusIsThereAndText()
    {
        byte[] text = TextCorpus.ReadDefault();
        Assert.InRange(text.Length, 100_000, 50_000_000);
        string decoded = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(text);
        Assert.Contains("class Mamba2Mixer", decoded);
    }

    [Fact]
    public void CountingGivesTheEntropyOfWhatItCounts()
    {
        int[] text = [.. Enumerable.Range(0, 4000).Select(i => i % 2)];
        (double unigram, double bigram) = new NGramBaseline(text, 2).Evaluate(text);
        Assert.Equal(Math.Log(2), unigram, 1e-3);
        Assert.InRange(bigram, 0, 0.01);
    }

    [Fact]
    public void ABaselineGivesNothingProbabilityZero()
    {
        (double unigram, double bigram) = new NGramBaseline([0, 1, 0, 1], 256).Evaluate([200, 201, 202]);
        Assert.True(double.IsFinite(unigram) && double.IsFinite(bigram));
    }
}

public class TokenizerTests
{
    [Fact]
    public void EveryTextComesBack() => Properties.ForAll(50, (choices, seed) =>
    {
        var random = new Random(seed);
        var bytes = new byte[choices.Length];
        random.NextBytes(bytes);
        var tokenizer = new ByteTokenizer();
        Assert.Equal(bytes, tokenizer.Encode(bytes).SelectMany(token => tokenizer.Decode(token).ToArray()));
    });

    [Fact]
    public void AStreamNeverShowsHalfACharacter()
    {
        const string Text = "aß水🐍z";
        var stream = new Utf8Decoder();
        var shown = new StringBuilder();
        foreach (byte value in Encoding.UTF8.GetBytes(Text))
        {
            string part = stream.Append([value]);
            Assert.DoesNotContain('\uFFFD', part);
            shown.Append(part);
        }
        Assert.Equal(Text, shown + stream.Finish());
    }

    [Fact]
    public void BytesThatAreNoTextAreReplaced()
    {
        var stream = new Utf8Decoder();
        Assert.Equal("a\uFFFDb", stream.Append([0x61, 0xFF, 0x62]) + stream.Finish());
        Assert.Equal("\uFFFD", new Utf8Decoder() is var cut ? cut.Append([0xE6]) + cut.Finish() : "");
    }

    [Fact]
    public void ATokenOutsideTheVocabularyIsRefused() => Assert.Throws<ArgumentOutOfRangeException>(() => new ByteTokenizer().Decode(256));
}
