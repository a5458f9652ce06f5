using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tests.Cli;
using ScratchMamba.Tests.Mamba2;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Checkpoints;

public sealed class ConversionTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string, string[]> Ways => new()
    {
        { "hf-tiny", ["mamba_ssm"] },
        { "hf-tiny", ["gguf"] },
        { "hf-tiny", ["gguf", "hf"] },
        { "hf-tiny", ["mamba_ssm", "gguf", "hf"] },
        { "ssm-tied", [] },
        { "ssm-tied", ["hf"] },
        { "ssm-tied", ["gguf", "mamba_ssm"] },
        { "ssm-tied", ["hf", "mamba_ssm", "gguf"] },
    };

    public void Dispose() => folder.Dispose();

    [Theory, MemberData(nameof(Ways))]
    public void GoldenSetsAgreeInEveryForm(string set, string[] ways)
    {
        string model = Golden.File(set), original = model;
        foreach (string way in ways)
        {
            string next = folder.File($"{way}-model{(way == "gguf" ? ".gguf" : "")}");
            Run.Of("convert", "--in", model, "--out", next, "--to", way).Succeeds();
            model = next;
        }
        string output = Run.Of("verify", "--model", model, "--expected", Path.Combine(original, "expected.safetensors")).Succeeds().Output;
        Assert.Contains(set == "hf-tiny" ? "all 26 agree" : "all 22 agree", output, StringComparison.Ordinal);
        Run.Of("inspect", "--model", model).Succeeds();
        // Every value of the last form is that of the first.
        AssertSameWeights(original, model);
    }

    private static void AssertSameWeights(string a, string b)
    {
        using var cpu = new CpuBackend();
        Mamba2Model first = Checkpoint.Load(a, cpu), second = Checkpoint.Load(b, cpu);
        foreach ((var one, var other) in first.Parameters().Zip(second.Parameters()))
        {
            Assert.Equal(one.Path, other.Path);
            Assert.Equal(one.Parameter.Value.ToArray<float>(), other.Parameter.Value.ToArray<float>());
        }
    }

    [Theory]
    [InlineData("f16", 1e-3)]
    [InlineData("bf16", 8e-3)]
    [InlineData("q8_0", 1e-2)]
    [InlineData("q4_0", 1.5e-1)]
    public void SmallerTypesAreNearAndKeptFromThenOn(string type, double tolerance)
    {
        string small = folder.File("small.gguf"), back = folder.File("back"), again = folder.File("again.gguf");
        Run.Of("convert", "--in", Golden.File("ssm-tied"), "--out", small, "--to", "gguf", "--type", type).Succeeds();
        Assert.True(new FileInfo(small).Length < 0.7 * new FileInfo(Golden.File("ssm-tied/pytorch_model.bin")).Length);
        using var cpu = new CpuBackend();
        Mamba2Model exact = Checkpoint.Load(Golden.File("ssm-tied"), cpu), near = Checkpoint.Load(small, cpu);
        foreach ((var one, var other) in exact.Parameters().Zip(near.Parameters()))
            Assert.True(RelativeError.Of(other.Parameter.Value.ToDoubles(), one.Parameter.Value.ToDoubles(), floor: 0) <= tolerance, one.Path);
        Run.Of("convert", "--in", small, "--out", back, "--to", "hf").Succeeds();
        AssertSameWeights(small, back);
        // In a folder the type is asked for in the same way; what GGUF made of quantised blocks is F32 there.
        if (type is "f16" or "bf16")
        {
            Run.Of("convert", "--in", back, "--out", again, "--to", "gguf").Succeeds();
            AssertSameWeights(small, again);
            using var source = new GgufFile(again);
            Assert.Equal(type.ToUpperInvariant(), source.Entry("token_embd.weight").Type.ToString());
            Run.Of("convert", "--in", Golden.File("ssm-tied"), "--out", folder.File("narrow"), "--to", "mamba_ssm", "--type", type).Succeeds();
            using WeightSource narrow = WeightSource.Open(folder.File("narrow"));
            Assert.All(narrow.Names, name => Assert.Equal(type.ToUpperInvariant(), narrow.Entry(name).Type.ToString()));
        }
        else
        {
            Run.Of("convert", "--in", small, "--out", folder.File("x"), "--to", "hf", "--type", type).IsMisuseSaying("--type", "GGUF");
        }
    }

    [Fact]
    public void MetadataIsThatOfLlamaCpp()
    {
        string path = folder.File("m.gguf");
        Conversion.Convert(Golden.File("ssm-tied"), path, ModelFormat.Gguf);
        using var file = new GgufFile(path);
        Assert.Equal("mamba2", file.Text("general.architecture"));
        (string Key, long Value)[] expected =
        [
            ("context_length", 1048576), ("embedding_length", 64), ("feed_forward_length", 0), ("attention.head_count", 0), ("block_count", 2), ("ssm.conv_kernel", 4),
            ("ssm.inner_size", 128), ("ssm.state_size", 32), ("ssm.time_step_rank", 4), ("ssm.group_count", 1), ("vocab_size", 96),
        ];
        Assert.All(expected, pair => Assert.Equal(pair.Value, file.WholeNumber("mamba2." + pair.Key)));
        Assert.Equal(1e-5f, file.Number("mamba2.attention.layer_norm_rms_epsilon"));
        Assert.Equal(
            [
                "token_embd.weight", "blk.0.attn_norm.weight", "blk.0.ssm_in.weight", "blk.0.ssm_conv1d.weight", "blk.0.ssm_conv1d.bias", "blk.0.ssm_dt.bias", "blk.0.ssm_a", "blk.0.ssm_d",
                "blk.0.ssm_norm.weight", "blk.0.ssm_out.weight",
            ],
            file.Names.Take(10));
        Assert.Equal("output_norm.weight", file.Names[^1]);
        Assert.Equal([new Shape(4, 1), new Shape(4, 1), new Shape(192, 4), new Shape(1, 128)],
            new[] { "ssm_a", "ssm_d", "ssm_conv1d.weight", "ssm_norm.weight" }.Select(name => file.Entry("blk.1." + name).Shape));
        Assert.All(file.ReadFloats("blk.0.ssm_a"), decay => Assert.InRange(decay, -20, 0));
    }

    [Theory, InlineData("hf", "model.safetensors"), InlineData("mamba_ssm", "pytorch_model.bin"), InlineData("gguf", "")]
    public void ALargeDamagedFileTakesNoMoreMemoryThanTwiceItsSize(string form, string weights)
    {
        using var cpu = new CpuBackend();
        Checkpoint.Save(new Mamba2Model(new Mamba2Config { VocabularySize = 6000, Width = 128, Layers = 4, StateSize = 16, HeadSize = 32 }, cpu, seed: 1), folder.File("large"));
        Run.Of("convert", "--in", folder.File("large"), "--out", folder.File("whole.gguf"), "--to", form).Succeeds();
        byte[] whole = File.ReadAllBytes(Path.Combine(folder.File("whole.gguf"), weights));
        Corruption.Check(whole, folder.File("damaged"), 100, 2L * whole.Length, Corruption.ReadAll);
    }

    public static TheoryData<string> Samples => [.. Tests.Mamba2.Samples.All.Keys];

    [Theory, MemberData(nameof(Samples))]
    public void EveryOptionIsKeptOrRefusedByName(string name)
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        string first = folder.File("first");
        Checkpoint.Save(Tests.Mamba2.Samples.Model(name, cpu, DType.F32), first);
        foreach ((string to, string target, bool keeps) in new (string, string, bool)[]
        {
            ("mamba_ssm", "ssm", name is not ("two groups, norm over the whole width" or "a learned initial state")),
            ("gguf", "m.gguf", name is "plain" or "untied" or "two groups, norm per group" or "a group for each head" or "three taps" or "one tap" or "expansion 3, odd sizes" or "a head of one channel"),
        })
        {
            Run run = Run.Of("convert", "--in", first, "--out", folder.File(target), "--to", to);
            if (!keeps)
            {
                run.FailsSaying("no place for");
                Assert.False(Path.Exists(folder.File(target)));
                continue;
            }
            run.Succeeds();
            AssertSameWeights(first, folder.File(target));
            using var tokens = new Scope();
            Tensor input = cpu.Tensor<int>([1, 5], 1, 2, 3, 4, 5);
            Assert.Equal(Checkpoint.Load(first, cpu).Forward(input).Logits.ToArray<float>(), Checkpoint.Load(folder.File(target), cpu).Forward(input).Logits.ToArray<float>(),
                (a, b) => Math.Abs(a - b) < 1e-4);
        }
    }

    [Fact]
    public void TransformersIsNotToldToRescaleAgain()
    {
        Conversion.Convert(Golden.File("ssm-tied"), folder.File("hf"), ModelFormat.HuggingFace);
        Assert.False(JsonNode.Parse(File.ReadAllText(Path.Combine(folder.File("hf"), "config.json")))!["rescale_prenorm_residual"]!.GetValue<bool>());
        Assert.True(Checkpoint.LoadConfig(folder.File("hf")).RescalesOutput);
    }

    [Fact]
    public void TheTokenizerGoesAlong()
    {
        var config = new Mamba2Config { VocabularySize = 656, Width = 32, Layers = 1, StateSize = 4, HeadSize = 8 };
        var tokenizer = BpeTokenizer.Load(Golden.File("tokenizer/byte-level.json"));
        using var cpu = new CpuBackend();
        Checkpoint.Save(new Mamba2Model(config, cpu, seed: 1), folder.File("hf"), tokenizer: tokenizer);
        Conversion.Convert(folder.File("hf"), folder.File("m.gguf"), ModelFormat.Gguf);
        Conversion.Convert(folder.File("hf"), folder.File("ssm"), ModelFormat.MambaSsm);
        Conversion.Convert(folder.File("m.gguf"), folder.File("back"), ModelFormat.HuggingFace);
        foreach (string form in new[] { "m.gguf", "ssm", "back" })
        {
            Tokenizer other = Checkpoint.LoadTokenizer(folder.File(form), config);
            Assert.Equal(tokenizer.EndOfText, other.EndOfText);
            // GGUF has no place for how some tokens take spaces, and for NFC: text with neither is the same.
            byte[] text = "public static int Sum(int a) => a + 1; the quick brown <|endoftext|>    x"u8.ToArray();
            Assert.Equal(tokenizer.Encode(text), other.Encode(text));
        }
    }

    [Fact]
    public void PublishedVariantsAreOpened()
    {
        // safetensors with mamba_ssm's names and configuration, and without the head.
        string variant = Directory.CreateDirectory(folder.File("variant")).FullName;
        using (WeightSource source = WeightSource.Open(Golden.File("ssm-tied")))
        {
            WeightToSave[] weights = [.. source.Names.Where(name => name != "lm_head.weight").Select(name => WeightToSave.Of(name, source, source.Entry(name), StoredType.F16, source.Entry(name).Shape))];
            SafetensorsWriter.WriteFolder(variant, weights);
        }
        File.Copy(Golden.File("ssm-tied/config.json"), Path.Combine(variant, "config.json"));
        Assert.Equal(Checkpoint.LoadConfig(Golden.File("ssm-tied")), Checkpoint.LoadConfig(variant));
        using var cpu = new CpuBackend();
        Checkpoint.Load(variant, cpu);
        Checkpoint.Load(Path.Combine(variant, "model.safetensors"), cpu);

        // Codestral: a prefix, params.json with other names, one file called consolidated.
        string codestral = Directory.CreateDirectory(folder.File("codestral")).FullName;
        var config = new Mamba2Config { VocabularySize = 20, Width = 64, Layers = 2, Groups = 2, TiedEmbeddings = false, StateSize = 128, ChunkSize = 256 };
        Checkpoint.Save(new Mamba2Model(config, cpu, seed: 1), folder.File("plain"));
        using (WeightSource source = WeightSource.Open(folder.File("plain")))
        {
            SafetensorsWriter.Write(Path.Combine(codestral, "consolidated.safetensors"),
                [.. source.Names.Select(name => WeightToSave.Of("model." + name.Replace("embeddings", "embedding"), source, source.Entry(name), StoredType.F32, source.Entry(name).Shape))]);
        }
        File.WriteAllText(Path.Combine(codestral, "params.json"), """{"dim":64,"vocab_size":20,"n_layers":2,"n_groups":2,"pad_vocab_size_multiple":1,"tie_embeddings":false,"model_type":"mamba"}""");
        Assert.Equal(config, Checkpoint.LoadConfig(codestral));
        AssertSameWeights(folder.File("plain"), codestral);
    }

    [Theory]
    [InlineData("ssm_cfg", "{}", "layer", "'Mamba2'", "absence")]
    [InlineData("ssm_cfg", "{\"layer\":\"Mamba1\"}", "line", "layer", "'Mamba1'")]
    [InlineData("ssm_cfg", "{\"layer\":\"Mamba2\",\"d_ssm\":64}", "d_ssm", "part of the width")]
    [InlineData("ssm_cfg", "{\"layer\":\"Mamba2\",\"dt_limit\":[1]}", "dt_limit", "two numbers")]
    [InlineData("ssm_cfg", "{\"layer\":\"Mamba2\",\"headdim\":5}", "d_model", "head size 5")]
    [InlineData("attn_layer_idx", "[1]", "attn_layer_idx", "attention")]
    [InlineData("d_intermediate", "128", "d_intermediate", "feed-forward")]
    [InlineData("rms_norm", "false", "rms_norm", "layer norms")]
    [InlineData("pad_vocab_size_multiple", "0", "pad_vocab_size_multiple")]
    [InlineData("vocab_size", "2147483647", "vocab_size")]
    [InlineData("n_layer", "3", "layers.2", "is missing")]
    public void ConfigurationsThatCannotBeBuiltAreRefusedByName(string key, string value, params string[] words)
    {
        string model = Directory.CreateDirectory(folder.File("model")).FullName;
        File.Copy(Golden.File("ssm-tied/pytorch_model.bin"), Path.Combine(model, "pytorch_model.bin"));
        JsonNode json = JsonNode.Parse(File.ReadAllText(Golden.File("ssm-tied/config.json")))!;
        json[key] = JsonNode.Parse(value);
        File.WriteAllText(Path.Combine(model, "config.json"), json.ToJsonString());
        Run.Of("inspect", "--model", model).FailsSaying([model, .. words]);
    }

    [Fact]
    public void OutputsThatCannotBeAreRefused()
    {
        Run.Of("convert", "--in", Golden.File("hf-tiny"), "--out", Golden.File("hf-tiny"), "--to", "hf").FailsSaying("is the input");
        Run.Of("convert", "--in", Golden.File("hf-tiny"), "--out", folder.Path, "--to", "gguf").FailsSaying("is a folder");
        Run.Of("convert", "--in", Golden.File("hf-tiny"), "--out", folder.File("x"), "--to", "onnx").IsMisuseSaying("onnx");
        Run.Of("convert", "--in", folder.File("none"), "--out", folder.File("x"), "--to", "hf").FailsSaying("none", "no such file");
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Theory, InlineData("model.gguf"), InlineData("pytorch_model.bin")]
    public void ADamagedModelIsRefusedOrLoaded(string name)
    {
        string whole = folder.File(name);
        if (name == "model.gguf")
            Conversion.Convert(Golden.File("ssm-tied"), whole, ModelFormat.Gguf);
        else
            File.Copy(Golden.File("ssm-tied/pytorch_model.bin"), whole);
        string damaged = Directory.CreateDirectory(folder.File("damaged")).FullName;
        if (name != "model.gguf")
            File.Copy(Golden.File("ssm-tied/config.json"), Path.Combine(damaged, "config.json"));
        using var cpu = new CpuBackend();
        Corruption.Check(File.ReadAllBytes(whole), Path.Combine(damaged, name), 150, path =>
        {
            using var scope = new Scope();
            Checkpoint.Load(Path.GetDirectoryName(path)!, cpu);
        });
    }
}
