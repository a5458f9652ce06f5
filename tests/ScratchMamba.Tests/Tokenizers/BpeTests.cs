using System.Text;
using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Tokenizers;

public sealed class BpeTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);

    private static byte[][] Lines() => [.. File.ReadAllText(Golden.File("tokenizer/lines.txt")).Split('\n')[..^1].Select(Utf8)];

    private static BpeTokenizer Load(string name) => BpeTokenizer.Load(Golden.File($"tokenizer/{name}.json"));

    [Theory, InlineData("byte-level"), InlineData("space-mark")]
    public void IdsAreThoseOfHuggingFace(string name)
    {
        BpeTokenizer tokenizer = Load(name);
        string[] expected = File.ReadAllLines(Golden.File($"tokenizer/{name}.ids"));
        byte[][] lines = Lines();
        Assert.Equal(expected.Length, lines.Length);
        for (int i = 0; i < lines.Length; i++)
            Assert.Equal((i, expected[i]), (i, string.Join(' ', tokenizer.Encode(lines[i]))));
    }

    [Theory, InlineData("byte-level"), InlineData("space-mark")]
    public void AFileThatIsWrittenIsTheSameTokenizer(string name)
    {
        BpeTokenizer tokenizer = Load(name);
        tokenizer.Save(folder.File("tokenizer.json"));
        BpeTokenizer again = BpeTokenizer.Load(folder.File("tokenizer.json"));
        Assert.Equal((tokenizer.VocabularySize, tokenizer.EndOfText), (again.VocabularySize, again.EndOfText));
        Assert.Equal(tokenizer.PromptStart, again.PromptStart);
        Assert.All(Lines(), line => Assert.Equal(tokenizer.Encode(line), again.Encode(line)));
        // What is not read here, but elsewhere: nothing but the order of keys may differ.
        JsonNode before = JsonNode.Parse(File.ReadAllText(Golden.File($"tokenizer/{name}.json")))!, after = JsonNode.Parse(File.ReadAllText(folder.File("tokenizer.json")))!;
        foreach (string part in new[] { "added_tokens", "normalizer", "decoder", "model" })
            Assert.True(JsonNode.DeepEquals(before[part], after[part]), part);
    }

    [Fact]
    public void TheTrainerLearnsTheMergesOfHuggingFace()
    {
        BpeTokenizer trained = BpeTrainer.Train(File.ReadAllBytes(Golden.File("tokenizer/lines.txt")), 512, special: "<|endoftext|>");
        Assert.Equal(File.ReadAllLines(Golden.File("tokenizer/trained.merges")), trained.Model.Merges.Select(merge => $"{merge.Left} {merge.Right}"));
        Assert.Equal((512, 0), (trained.VocabularySize, trained.EndOfText));
    }

    [Fact]
    public void EveryStringComesBack()
    {
        BpeTokenizer trained = BpeTrainer.Train(File.ReadAllBytes(Golden.File("tokenizer/lines.txt")), 400), marked = Load("space-mark");
        Properties.ForAll(300, (choices, seed) =>
        {
            var random = new Random(seed);
            var text = new StringBuilder();
            foreach (int choice in choices)
                text.Append(Piece(choice, random));
            byte[] bytes = Utf8(text.ToString());
            Assert.Equal(bytes, trained.Decode(trained.Encode(bytes).AsSpan()));
            // The mark for spaces is a character, and comes back as a space; and so do the names of tokens.
            Assert.Equal(bytes, marked.Decode(marked.Encode(bytes).AsSpan()));
        });

        static string Piece(int choice, Random random) => ((uint)choice % 6) switch
        {
            0 => new string((char)random.Next(1, 128), random.Next(1, 5)),
            1 => new Rune(random.Next(0x80, 0x2500)).ToString(),
            2 => new Rune(random.Next(0xE000, 0x110000)).ToString(),
            3 => new string(' ', random.Next(1, 40)),
            4 => "the quick",
            _ => "\r\n\t",
        };
    }

    [Fact]
    public void BytesThatAreNoTextComeBackToo() => Properties.ForAll(100, (choices, seed) =>
    {
        var bytes = new byte[choices.Length * 3];
        new Random(seed).NextBytes(bytes);
        BpeTokenizer tokenizer = Load("space-mark");
        Assert.Equal(bytes, tokenizer.Decode(tokenizer.Encode(bytes).AsSpan()));
        tokenizer = BpeTrainer.Train(bytes, 300);
        Assert.Equal(bytes, tokenizer.Decode(tokenizer.Encode(bytes).AsSpan()));
    });

    [Fact]
    public void MergesAreThoseOfTheDefinition()
    {
        // The definition: as long as there is a pair with a merge, the leftmost one of the lowest rank becomes one token.
        Properties.ForAll(200, (choices, seed) =>
        {
            var random = new Random(seed);
            var pairs = new List<(int, int, int)>();
            for (int rank = 0, tokens = 4; rank < 30; rank++, tokens++)
                pairs.Add((random.Next(tokens), random.Next(tokens), tokens));
            int[] word = [.. choices.Select(choice => (int)((uint)choice % 4))];
            Assert.Equal(Naive(word, pairs), new BpeMerges(pairs).Apply(word));
        });

        static List<int> Naive(int[] word, List<(int Left, int Right, int Merged)> pairs)
        {
            var ranks = new Dictionary<(int, int), int>();
            for (int rank = 0; rank < pairs.Count; rank++)
                ranks[(pairs[rank].Left, pairs[rank].Right)] = rank;
            List<int> symbols = [.. word];
            while (true)
            {
                int best = int.MaxValue, at = -1;
                for (int i = 0; i + 1 < symbols.Count; i++)
                {
                    if (ranks.TryGetValue((symbols[i], symbols[i + 1]), out int rank) && rank < best)
                        (best, at) = (rank, i);
                }
                if (at < 0)
                    return symbols;
                symbols[at] = pairs[best].Merged;
                symbols.RemoveAt(at + 1);
            }
        }
    }

    [Fact]
    public void AVeryLongWordIsNoTrouble()
    {
        BpeTokenizer tokenizer = Load("byte-level");
        byte[] word = new byte[300_000];
        word.AsSpan().Fill((byte)'e');
        Assert.Equal(word, tokenizer.Decode(tokenizer.Encode(word).AsSpan()));
    }

    [Theory]
    [InlineData("é", "e\u0301")]
    [InlineData("각", "\u1100\u1161\u11A8")]
    [InlineData("\u0915\u093C", "\u0958")]
    [InlineData("Å", "\u212B")]
    [InlineData("\u1EAD", "a\u0302\u0323")]
    [InlineData("q\u0323\u0307", "q\u0307\u0323")]
    public void TextIsComposed(string expected, string text)
    {
        string actual = Encoding.UTF8.GetString(Composition.Compose(Utf8(text)));
        Assert.Equal(expected, actual);
        Assert.Equal(actual, Encoding.UTF8.GetString(Composition.Compose(Utf8(actual))));
    }

    [Fact]
    public void BytesThatAreNoTextAreLeftAsTheyAre() => Assert.Equal([0xFF, 0xC3, 0xA9, 0xCC], Composition.Compose([0xFF, (byte)'e', 0xCC, 0x81, 0xCC]));

    [Theory]
    [InlineData("model.type", "\"Unigram\"", "model.type", "only BPE")]
    [InlineData("model.dropout", "0.1", "model.dropout")]
    [InlineData("model.end_of_word_suffix", "\"</w>\"", "end_of_word_suffix")]
    [InlineData("model.vocab", "[]", "model.vocab must be an object")]
    [InlineData("model.vocab", "{\"a\":0,\"b\":0}", "'a' and 'b' have the same id 0")]
    [InlineData("model.vocab", "{\"a\":1000000}", "ids up to 1000000")]
    [InlineData("model.vocab", "{\"a\":99999999999}", "whole number below")]
    [InlineData("model.vocab", "{\"a\":-1}", "whole number below")]
    [InlineData("model.merges", "[[\"a\",\"b\",\"c\"]]", "model.merges[0] is not a pair")]
    [InlineData("model.merges", "[\"ab\"]", "model.merges[0] is not a pair")]
    [InlineData("model.merges", "[[\"a\",\"no such\"]]", "'no such' is not in the vocabulary")]
    [InlineData("normalizer", "{\"type\":\"Lowercase\"}", "normalizer", "Lowercase", "not supported")]
    [InlineData("normalizer", "7", "normalizer must be an object")]
    [InlineData("pre_tokenizer", "{\"type\":\"BertPreTokenizer\"}", "pre_tokenizer", "BertPreTokenizer")]
    [InlineData("pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", "Not enough )")]
    [InlineData("pre_tokenizer", "null", "decoder", "does not undo")]
    [InlineData("post_processor", "{\"type\":\"BertProcessing\"}", "post_processor", "BertProcessing")]
    [InlineData("decoder", "null", "decoder is missing")]
    [InlineData("added_tokens", "[{\"id\":1}]", "added_tokens[0]")]
    public void WhatIsNotSupportedIsRefusedByName(string path, string value, params string[] words)
    {
        JsonNode json = JsonNode.Parse(File.ReadAllText(Golden.File("tokenizer/byte-level.json")))!, node = json;
        string[] parts = path.Split('.');
        foreach (string part in parts[..^1])
            node = node[part]!;
        node[parts[^1]] = JsonNode.Parse(value);
        string file = folder.File("tokenizer.json");
        File.WriteAllText(file, json.ToJsonString());
        CheckpointException error = Assert.Throws<CheckpointException>(() => BpeTokenizer.Load(file));
        Assert.StartsWith(file, error.Message, StringComparison.Ordinal);
        Assert.All(words, word => Assert.Contains(word, error.Message, StringComparison.Ordinal));
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void BothFormsOfMergesAndOtherPatternsAreRead()
    {
        JsonNode json = JsonNode.Parse(File.ReadAllText(Golden.File("tokenizer/byte-level.json")))!;
        json["model"]!["merges"] = new JsonArray([.. json["model"]!["merges"]!.AsArray().Select(merge => (JsonNode)$"{merge![0]} {merge[1]}")]);
        json["pre_tokenizer"] = JsonNode.Parse("""
            {"type":"Sequence","pretokenizers":[
                {"type":"Digits","individual_digits":true},
                {"type":"Split","pattern":{"Regex":"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},
                {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}
            """);
        string file = folder.File("tokenizer.json");
        File.WriteAllText(file, json.ToJsonString());
        BpeTokenizer tokenizer = BpeTokenizer.Load(file), plain = Load("byte-level");
        Assert.Equal(plain.Encode("some words of text"u8), tokenizer.Encode("some words of text"u8));
        Assert.Equal(["1", "2", "3"], tokenizer.Encode("123"u8).Select(token => Encoding.UTF8.GetString(tokenizer.Decode(token).Span)));
        Assert.Equal(Utf8("𠀋1𝟙 x\r\n"), tokenizer.Decode(tokenizer.Encode(Utf8("𠀋1𝟙 x\r\n")).AsSpan()));
    }

    [Fact]
    public void TheTokenThatEndsATextIsFound()
    {
        Assert.Equal(0, Load("byte-level").EndOfText);
        Assert.Equal(2, Load("space-mark").EndOfText);
        Assert.Equal([1], Load("space-mark").PromptStart);
        File.Copy(Golden.File("tokenizer/byte-level.json"), folder.File("tokenizer.json"));
        File.WriteAllText(folder.File("tokenizer_config.json"), """{"eos_token":{"content":"<|padding|>"}}""");
        Assert.Equal(1, BpeTokenizer.Load(folder.File("tokenizer.json")).EndOfText);
        File.WriteAllText(folder.File("tokenizer_config.json"), """{"eos_token":null}""");
        Assert.Null(BpeTokenizer.Load(folder.File("tokenizer.json")).EndOfText);
    }

    [Fact]
    public void DamageIsNeverMoreThanACheckpointException()
    {
        byte[] whole = File.ReadAllBytes(Golden.File("tokenizer/byte-level.json"));
        string path = folder.File("tokenizer.json");
        Properties.ForAll(1000, (choices, seed) =>
        {
            var random = new Random(seed);
            byte[] damaged = [.. whole];
            foreach (int choice in choices.Append(1))
                damaged[random.Next(damaged.Length)] ^= (byte)(1 << (choice & 7));
            if ((seed & 3) == 0)
                damaged = damaged[..random.Next(damaged.Length + 1)];
            File.WriteAllBytes(path, damaged);
            try
            {
                BpeTokenizer tokenizer = BpeTokenizer.Load(path);
                tokenizer.Decode(tokenizer.Encode("some text, naïve  and 1"u8).AsSpan());
            }
            catch (CheckpointException error)
            {
                Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
                Assert.DoesNotContain('\n', error.Message);
            }
        });
    }

    [Fact]
    public void TrainingRefusesWhatMakesNoSense()
    {
        Assert.Contains("at least 257", Assert.Throws<ArgumentException>(() => BpeTrainer.Train("text"u8, 256, special: "<end>")).Message, StringComparison.Ordinal);
        Assert.Contains("twice", Assert.Throws<ArgumentException>(() => BpeTrainer.Train("text"u8, 300, special: ["<end>", "<end>"])).Message, StringComparison.Ordinal);
        // A text that gives no more pairs gives no more tokens.
        Assert.Equal(258, BpeTrainer.Train("ab ab ab"u8, 1000).VocabularySize);
    }

    [Fact]
    public void ThreadsGetTheSameTokens()
    {
        BpeTokenizer shared = Load("byte-level"), own = Load("byte-level");
        byte[][] lines = Lines();
        int[][] expected = [.. lines.Select(line => own.Encode(line))];
        Parallel.For(0, 8, _ => Assert.All(lines.Index(), line => Assert.Equal(expected[line.Index], shared.Encode(line.Item))));
    }
}
