using System.Buffers.Binary;
using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Tensors;

namespace ScratchMamba.Tests.Checkpoints;

public sealed class GgufTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void MetadataOfEveryTypeIsRead()
    {
        using var file = new GgufFile(Golden.File("formats/types.gguf"));
        Assert.Equal("test", file.Text("general.architecture"));
        Assert.Equal([200, -3, 60000, -300, 4000000000, -5, 1, 1L << 40, -(1L << 40)],
            new[] { "u8", "i8", "u16", "i16", "u32", "i32", "bool", "u64", "i64" }.Select(key => file.WholeNumber("k." + key)));
        Assert.Equal([0.1f, 0.1], new[] { file.Number("k.f32"), file.Number("k.f64") });
        Assert.Equal("naïve\n", file.Text("k.text"));
        Assert.Equal([1, -2, 3], file.Integers("k.ints"));
        Assert.Equal(["a", "", "Ġb"], file.Texts("k.texts"));
        Assert.Equal([0.5f, 0.25f], file.Singles("k.floats"));
        Assert.Equal("-300", file.Metadata["k.i16"]);
        Assert.Contains("metadata none is missing", Assert.Throws<CheckpointException>(() => file.Text("none")).Message, StringComparison.Ordinal);
        Assert.Contains("k.text is Text, not an integer", Assert.Throws<CheckpointException>(() => file.WholeNumber("k.text")).Message, StringComparison.Ordinal);
        Assert.Contains("k.ints is an array of Int32, not of Text", Assert.Throws<CheckpointException>(() => file.Texts("k.ints")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TensorsOfEveryTypeAreExpandedAsGgufPyDoes()
    {
        using WeightSource file = WeightSource.Open(Golden.File("formats/types.gguf")), expected = WeightSource.Open(Golden.File("formats/types.safetensors"));
        Assert.IsType<GgufFile>(file);
        Assert.Equal(expected.Names.Order(), file.Names.Order());
        foreach (string name in file.Names)
        {
            Assert.Equal(expected.Entry(name).Shape, file.Entry(name).Shape);
            float[] values = expected.ReadFloats(name);
            // Products of a few factors, in another order.
            Assert.Equal(values, file.ReadFloats(name), (a, b) => Math.Abs(a - b) <= 3e-7f * Math.Max(1, Math.Abs(a)));
            Assert.Equal(file.ReadFloats(name).Select(value => (double)value), file.ReadDoubles(name));
        }
    }

    [Theory, InlineData("Q8_0"), InlineData("Q4_0"), InlineData("F16"), InlineData("BF16")]
    public void BlocksAreMadeAsGgufPyMakesThem(string type)
    {
        using var file = new GgufFile(Golden.File("formats/types.gguf"));
        StoredTensor entry = file.Entry("x." + type);
        var expected = new byte[entry.Bytes];
        file.ReadBytes(entry, 0, expected);
        var actual = new byte[entry.Bytes];
        Quantization.Store(entry.Type, file.ReadFloats("x"), actual);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void WhatIsWrittenComesBack()
    {
        string path = folder.File("a.gguf");
        using (var writer = new GgufWriter())
        {
            writer.Put("a", "text");
            writer.Put("b", 3u);
            writer.Put("c", 0.5f);
            writer.Put("d", true);
            writer.Put("e", ["x", "", "é"]);
            writer.Put("f", [1, -1]);
            writer.Put("g", [1.5f]);
            writer.Put("h", Array.Empty<string>());
            writer.Write(path, [WeightToSave.Of<float>("one", [3], new float[] { 1, 2, 3 }), WeightToSave.Of<float>("two", [2, 1, 2], new float[] { 4, 5, 6, 7 })]);
        }
        using var file = new GgufFile(path);
        Assert.Equal(("text", 3L, 0.5, 1L), (file.Text("a"), file.WholeNumber("b"), file.Number("c"), file.WholeNumber("d")));
        Assert.Equal(["x", "", "é"], file.Texts("e"));
        Assert.Equal([1, -1], file.Integers("f"));
        Assert.Equal([1.5f], file.Singles("g"));
        Assert.Empty(file.Texts("h"));
        Assert.Equal([1, 2, 3], file.ReadFloats("one"));
        Assert.Equal(new Shape(2, 1, 2), file.Entry("two").Shape);
        Assert.Equal([4, 5, 6, 7], file.ReadFloats("two"));
    }

    [Fact]
    public void PairsWithScoresAreMergedByThem()
    {
        // Characters, then all that two or three of them make, each with a score of its own.
        string[] letters = ["▁", "a", "b", "c", "é"];
        var random = new Random(6);
        string[] merged = [.. Enumerable.Range(0, 60).Select(_ => string.Concat(Enumerable.Range(0, random.Next(2, 4)).Select(_ => letters[random.Next(letters.Length)]))).Distinct()];
        string[] tokens = ["<unk>", "<s>", "</s>", "<tool>", .. Enumerable.Range(0, 256).Select(value => $"<0x{value:X2}>"), .. letters, .. merged];
        int[] types = [2, 3, 3, 4, .. Enumerable.Repeat(6, 256), .. Enumerable.Repeat(1, letters.Length + merged.Length)];
        float[] scores = [.. tokens.Select((_, id) => id < 260 ? 0 : -(float)(id * 37 % 101) - id / 1000f)];
        string path = folder.File("pairs.gguf");
        using (var writer = new GgufWriter())
        {
            writer.Put("tokenizer.ggml.model", "llama");
            writer.Put("tokenizer.ggml.tokens", tokens);
            writer.Put("tokenizer.ggml.token_type", types);
            writer.Put("tokenizer.ggml.scores", scores);
            writer.Put("tokenizer.ggml.unknown_token_id", 0u);
            writer.Put("tokenizer.ggml.bos_token_id", 1u);
            writer.Put("tokenizer.ggml.eos_token_id", 2u);
            writer.Write(path, []);
        }
        ScratchMamba.Tokenizers.Tokenizer tokenizer = Checkpoint.LoadTokenizer(path);
        Assert.Equal((1, 2), (Assert.Single(tokenizer.PromptStart), tokenizer.EndOfText));
        for (int i = 0; i < 300; i++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(1, 20)).Select(_ => (new[] { " ", "a", "b", "c", "é", "z", "\n", "😀" })[random.Next(8)]));
            int[] encoded = tokenizer.Encode(Encoding.UTF8.GetBytes(text));
            Assert.Equal(Pairs(text, tokens, scores), encoded);
            Assert.Equal(text, Encoding.UTF8.GetString(tokenizer.Decode(encoded.AsSpan())));
        }
        Assert.Equal([3], tokenizer.Encode("<tool>"u8));
    }

    /// <summary>SentencePiece, step by step: of all neighbours that make a token those with the largest score become one, the leftmost of equals.</summary>
    private static int[] Pairs(string text, string[] tokens, float[] scores)
    {
        List<string> symbols = [.. ("▁" + text.Replace(' ', '▁')).EnumerateRunes().Select(rune => rune.ToString())];
        while (true)
        {
            int best = -1;
            float score = float.NegativeInfinity;
            for (int i = 0; i + 1 < symbols.Count; i++)
            {
                if (Array.IndexOf(tokens, symbols[i] + symbols[i + 1]) is >= 260 and int id && scores[id] > score)
                    (best, score) = (i, scores[id]);
            }
            if (best < 0)
                return [.. symbols.SelectMany(symbol => Array.IndexOf(tokens, symbol) is >= 0 and int id ? [id] : Encoding.UTF8.GetBytes(symbol).Select(value => 4 + value).ToArray())];
            symbols[best] += symbols[best + 1];
            symbols.RemoveAt(best + 1);
        }
    }

    [Fact]
    public void FaultsAreNamed()
    {
        Refused(Header(1, 0, 0), "version 1");
        Refused(Header(0x03000000, 0, 0), "big-endian");
        Refused(Header(3, ulong.MaxValue, 0), "tensors");
        Refused(Header(3, 0, ulong.MaxValue), "metadata values");
        Refused(Header(3, 1, 0), "cut short");
        Refused([.. Header(3, 0, 1), .. Text("k"), .. U32(13), .. U64(0)], "metadata k is of type 13");
        Refused([.. Header(3, 0, 1), .. Text("k"), .. U32(9), .. U32(9), .. U64(0)], "array of type 9");
        Refused([.. Header(3, 0, 1), .. Text("k"), .. U32(9), .. U32(8), .. U64(1UL << 60)], "metadata k has", "cut short");
        Refused([.. Header(3, 0, 1), .. Text("k"), .. U32(9), .. U32(4), .. U64(ulong.MaxValue)], "metadata k has");
        Refused([.. Header(3, 0, 2), .. Text("k"), .. U32(4), .. U32(1), .. Text("k"), .. U32(4), .. U32(1)], "metadata k is given twice");
        Refused([.. Header(3, 0, 1), .. Text("general.alignment"), .. U32(4), .. U32(24)], "alignment 24");
        Refused([.. Header(3, 0, 1), .. U64(ulong.MaxValue), .. U64(0)], "text of");
        Refused([.. Header(3, 1, 0), .. Tensor("t", 0, 0, 8), .. new byte[20]], "tensor t", "outside");
        Refused([.. Header(3, 1, 0), .. Tensor("t", 3, 0, 8), .. new byte[200]], "tensor t: is of GGML's type 3");
        Refused([.. Header(3, 1, 0), .. Tensor("t", 8, 0, 48), .. new byte[200]], "tensor t: its rows of 48 elements are not whole blocks of Q8_0");
        Refused([.. Header(3, 1, 0), .. Tensor("t", 0, 8, 8), .. new byte[200]], "tensor t: its place 8 is not a multiple of 32");
        Refused([.. Header(3, 1, 0), .. Tensor("t", 0, 0, 1UL << 40), .. new byte[200]], "an extent of 1099511627776");
        Refused([.. Header(3, 1, 0), .. Tensor("t", 0, 0, 0x7FFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF), .. new byte[200]], "more elements than 64 bits");
        Refused([.. Header(3, 1, 0), .. Tensor("t", 0, 0, 1, 1, 1, 1, 1), .. new byte[200]], "has 5 axes");
        Refused([.. Header(3, 2, 0), .. Tensor("t", 0, 0, 8), .. Tensor("t", 0, 32, 8), .. new byte[200]], "described twice");
        Refused([.. Header(3, 2, 0), .. Tensor("t", 0, 0, 16), .. Tensor("u", 0, 32, 8), .. new byte[200]], "tensor u: its place 32 lies within the tensor before");

        void Refused(byte[] content, params string[] words)
        {
            string path = folder.File("bad.gguf");
            File.WriteAllBytes(path, content);
            CheckpointException error = Assert.Throws<CheckpointException>(() => WeightSource.Open(path));
            Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
            Assert.All(words, word => Assert.Contains(word, error.Message, StringComparison.Ordinal));
        }
    }

    [Fact]
    public void DamageIsNeverMoreThanACheckpointException() =>
        Corruption.Check(File.ReadAllBytes(Golden.File("formats/types.gguf")), folder.File("damaged.gguf"), 1000, Corruption.ReadAll);

    private static byte[] Header(uint version, ulong tensors, ulong values) => [.. "GGUF"u8, .. U32(version), .. U64(tensors), .. U64(values)];

    private static byte[] Tensor(string name, uint type, ulong offset, params ReadOnlySpan<ulong> extents)
    {
        byte[] bytes = [.. Text(name), .. U32((uint)extents.Length)];
        foreach (ulong extent in extents)
            bytes = [.. bytes, .. U64(extent)];
        return [.. bytes, .. U32(type), .. U64(offset)];
    }

    private static byte[] Text(string text) => [.. U64((ulong)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)];

    private static byte[] U32(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] U64(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }
}
