using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tests.Cli;

/// <summary>Whatever is wrong: one line that says so, the right exit code, and nothing left behind.</summary>
public sealed class BadInputTests(SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private readonly TemporaryFolder folder = new();

    private string Out => folder.File("out");

    public void Dispose() => folder.Dispose();

    private Run Train(params string[] args) => Run.Of(["train", "--data", small.Text, "--out", Out, .. SmallModel.Tiny, "--steps", "2", .. args]);

    private Run Generate(params string[] args) => Run.Of(["generate", "--model", small.Model, .. args]);

    /// <summary>A copy of the small model, to be damaged.</summary>
    private string Copy()
    {
        string copy = Directory.CreateDirectory(folder.File("copy")).FullName;
        foreach (string file in Directory.GetFiles(small.Model))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        return copy;
    }

    private void AssertNothingIsLeft(params string[] names) => Assert.Equal(names.Order(), Directory.GetFileSystemEntries(folder.Path).Select(path => Path.GetFileName(path)).Order());

    [Theory]
    [InlineData("--steps 99999999999", "--steps must be a whole number from 1 to 2147483647; it is '99999999999'")]
    [InlineData("--steps -1", "--steps")]
    [InlineData("--steps 0", "--steps")]
    [InlineData("--steps many", "'many'")]
    [InlineData("--steps 1.5", "'1.5'")]
    [InlineData("--steps", "--steps")]
    [InlineData("--lr nan", "--lr must be a positive number; it is 'nan'")]
    [InlineData("--lr 0", "--lr")]
    [InlineData("--lr 1e999", "--lr")]
    [InlineData("--lr 1,5", "--lr")]
    [InlineData("--clip -1", "--clip")]
    [InlineData("--weight-decay -0.1", "--weight-decay")]
    [InlineData("--seed -1", "--seed")]
    [InlineData("--seed 18446744073709551616", "--seed")]
    [InlineData("--warm-up -1", "--warm-up")]
    [InlineData("--warm-up x", "--warm-up")]
    [InlineData("--save-every -1", "--save-every")]
    [InlineData("--schedule slow", "slow")]
    [InlineData("--device gpu", "gpu")]
    [InlineData("--no-such-option 1", "--no-such-option")]
    [InlineData("--width 2000000000", "2³¹")]
    [InlineData("--layers 2000000000", "2000000000 layers")]
    [InlineData("--state 2000000000", "2³¹")]
    [InlineData("--head 2000000000", "head size")]
    [InlineData("--head 5", "not a multiple of the head size 5")]
    public void ValuesThatMakeNoSenseAreMisuse(string options, string words)
    {
        string[] given = options.Split(' ');
        // An option that is given replaces the one that would have been.
        string[] tiny = [.. SmallModel.Tiny.Concat(["--steps", "2"]).Chunk(2).Where(pair => !given.Contains(pair[0])).SelectMany(pair => pair)];
        Run.Of(["train", "--data", small.Text, "--out", Out, .. tiny, .. given]).IsMisuseSaying(words);
        AssertNothingIsLeft();
    }

    [Theory]
    [InlineData("-n -1", "-n")]
    [InlineData("--temperature -1", "--temperature must be 0 or a positive number; it is '-1'")]
    [InlineData("--temperature inf", "--temperature")]
    [InlineData("--top-k -3", "--top-k")]
    [InlineData("--top-p 0", "--top-p")]
    [InlineData("--top-p 1.1", "--top-p")]
    [InlineData("--top-p nan", "--top-p")]
    [InlineData("--cure windows=4", "There is no cure 'windows'; there are retention,")]
    [InlineData("--cure window=0", "The cure 'window' is written window=R")]
    [InlineData("--cure norm=1x", "--cure norm=1x measures the model on text")]
    [InlineData("--cure", "--cure")]
    public void ChoicesThatMakeNoSenseAreMisuse(string options, string words) => Generate(["--prompt", "a", .. options.Split(' ')]).IsMisuseSaying(words);

    [Fact]
    public void CommandLinesThatAreNoneAreMisuse()
    {
        Run.Of().IsMisuseSaying("command");
        Run.Of("teach").IsMisuseSaying("teach");
        Run.Of("train", "--out", Out).IsMisuseSaying("--data");
        Run.Of("evaluate", "--data", small.Text, "--model", "").IsMisuseSaying("--model is empty");
        Run.Of("verify", "--model", small.Model, "--tolerance", "nan").IsMisuseSaying("--tolerance");
        Run.Of("verify", "--model", small.Model, "--precision", "f16").IsMisuseSaying("f16");
        Run.Of("train", "--data", small.Text, "--out", Out, "--config", small.Model, "--width", "32").IsMisuseSaying("--width and --config");
    }

    [Fact]
    public void PromptsThatAreNoTextAreMisuse()
    {
        Generate("--prompt", "").IsMisuseSaying("--prompt is empty");
        Generate("--prompt", "half \uD83D of a pair").IsMisuseSaying("not valid UTF-8");
        // What bytes that are not UTF-8 have become when the program gets them.
        Generate("--prompt", "byte \uFFFD").IsMisuseSaying("not valid UTF-8");
    }

    [Fact]
    public void MissingFilesAreNamed()
    {
        string nowhere = folder.File("nowhere");
        foreach (string[] line in new string[][] { ["generate", "--prompt", "a"], ["evaluate", "--data", small.Text], ["inspect"] })
            Run.Of([.. line, "--model", nowhere]).FailsSaying(nowhere, "no such file or folder");
        Run.Of("verify", "--model", nowhere).FailsSaying(nowhere);
        Run.Of("verify", "--model", small.Model).FailsSaying("expected.safetensors");
        Run.Of(["train", "--data", nowhere, "--out", Out, .. SmallModel.Tiny]).FailsSaying(nowhere);
        Train("--config", nowhere).IsMisuseSaying("--config");
        Run.Of("train", "--data", small.Text, "--out", Out, "--config", nowhere).FailsSaying(nowhere);
        AssertNothingIsLeft();
    }

    [Fact]
    public void DamagedWeightsAreNamed()
    {
        string weights = Path.Combine(Copy(), "model.safetensors"), model = Path.GetDirectoryName(weights)!;
        byte[] whole = File.ReadAllBytes(weights);
        int header = (int)BinaryPrimitives.ReadInt64LittleEndian(whole);

        void Refused(byte[] content, params string[] words)
        {
            File.WriteAllBytes(weights, content);
            Run.Of("generate", "--model", model, "--prompt", "a").FailsSaying([weights, .. words]);
            Run.Of("evaluate", "--model", model, "--data", small.Text).FailsSaying([weights, .. words]);
        }

        Refused(whole[..^10], "cut short");
        Refused(whole[..5], "too short");
        Refused(whole[..(8 + header / 2)], "cut short");
        Refused([.. whole, 1, 2, 3], "3 bytes follow");
        byte[] longHeader = [.. whole];
        BinaryPrimitives.WriteInt64LittleEndian(longHeader, long.MaxValue);
        Refused(longHeader, "the header would have");
        string text = Encoding.UTF8.GetString(whole, 8, header);
        byte[] integers = [.. whole];
        Encoding.UTF8.GetBytes(text.Replace("\"F32\"", "\"I32\"", StringComparison.Ordinal), integers.AsSpan(8));
        Refused(integers, "I32");
        byte[] notNumbers = [.. whole];
        BinaryPrimitives.WriteSingleLittleEndian(notNumbers.AsSpan(8 + header + 40), float.NaN);
        Refused(notNumbers, "NaN", "element 10");
        File.WriteAllBytes(weights, whole);
        Run.Of("generate", "--model", model, "--prompt", "a").Succeeds();
    }

    [Fact]
    public void ConfigurationsThatContradictThemselvesAreNamed()
    {
        string model = Copy(), config = Path.Combine(model, "config.json");
        string good = File.ReadAllText(config);

        void Refused(string key, JsonNode? value, params string[] words)
        {
            JsonNode json = JsonNode.Parse(good)!;
            json[key] = value;
            File.WriteAllText(config, json.ToJsonString());
            foreach (string[] line in new string[][] { ["inspect", "--model", model], ["train", "--data", small.Text, "--out", Out, "--config", config] })
                Run.Of(line).FailsSaying([config, .. words]);
        }

        Refused("num_heads", 5, "num_heads", "contradicts");
        Refused("n_groups", 3, "groups");
        Refused("hidden_size", -16, "hidden_size");
        Refused("hidden_size", "wide", "hidden_size");
        Refused("num_hidden_layers", 2000000000, "layers");
        Refused("conv_kernel", 2000000000, "2³¹");
        Refused("state_size", 2000000000, "2³¹");
        Refused("model_type", "llama", "mamba2");
        File.WriteAllText(config, good[..^20]);
        Run.Of("inspect", "--model", model).FailsSaying(config);
        // Sizes that fit each other, but not the weights.
        JsonNode other = JsonNode.Parse(good)!;
        other["vocab_size"] = 300;
        File.WriteAllText(config, other.ToJsonString());
        Run.Of("inspect", "--model", model).FailsSaying("embeddings", "[300, 16]");
        AssertNothingIsLeft("copy");
    }

    [Fact]
    public void DataWithoutTextIsNamed()
    {
        string empty = folder.File("empty.txt"), binary = folder.File("binary"), one = folder.File("one.txt"), bare = Directory.CreateDirectory(folder.File("bare")).FullName;
        File.WriteAllBytes(empty, []);
        File.WriteAllBytes(binary, [0, 1, 2, 0xFF]);
        File.WriteAllText(one, "x");
        File.Copy(binary, Path.Combine(bare, "binary"));
        foreach ((string data, string words) in new[] { (empty, "no text"), (bare, "no text"), (binary, "not UTF-8"), (one, "") })
        {
            Run.Of(["train", "--data", data, "--out", Out, .. SmallModel.Tiny]).FailsSaying(words);
            Run.Of("evaluate", "--model", small.Model, "--data", data).FailsSaying(words);
        }
        File.WriteAllText(one, "forty bytes are too short for a window..");
        Run.Of(["train", "--data", one, "--out", Out, .. SmallModel.Tiny[..^1], "64"]).FailsSaying("windows of length 64", "shorter length");
        AssertNothingIsLeft("empty.txt", "binary", "one.txt", "bare");
    }

    [Fact]
    public void ATrainingLargerThanTheMachineIsRefused()
    {
        Run.Of("train", "--data", small.Text, "--out", Out, "--batch", "40000", "--length", "40000").FailsSaying("TiB", "--batch");
        Run.Of("train", "--data", small.Text, "--out", Out, "--batch", "2000000000", "--length", "2000000000").FailsSaying("TiB", "--batch");
        Run.Of("inspect", "--model", small.Model, "--batch", "2000000000", "--length", "2000000000").IsMisuseSaying("too large");
        AssertNothingIsLeft();
    }

    [Fact]
    public void AModelIsNotSavedOverSomethingElse()
    {
        File.WriteAllText(Out, "a file");
        Train().FailsSaying(Out, "is a file");
        Run.Of("quickstart", "--out", Out, "--steps", "1").FailsSaying(Out, "is a file");
        Assert.Equal("a file", File.ReadAllText(Out));
        File.Delete(Out);

        Directory.CreateDirectory(Out);
        File.WriteAllText(Path.Combine(Out, "notes.txt"), "dear diary");
        // A configuration of something else does not make the folder a checkpoint.
        File.WriteAllText(Path.Combine(Out, "config.json"), "{\"port\": 80}");
        Train().FailsSaying(Out, "holds other files");
        Assert.Equal("dear diary", File.ReadAllText(Path.Combine(Out, "notes.txt")));
        Assert.Equal("{\"port\": 80}", File.ReadAllText(Path.Combine(Out, "config.json")));
        AssertNothingIsLeft("out");
    }

    [Fact]
    public void PlacesThatCannotBeWrittenToAreFoundOutBeforeTraining()
    {
        string below = Path.Combine(small.Text, "model");
        Run.Of(["train", "--data", small.Text, "--out", below, .. SmallModel.Tiny]).FailsSaying(below, "cannot be written");
        // Not even root writes there.
        if (OperatingSystem.IsLinux())
            Run.Of(["train", "--data", small.Text, "--out", "/proc/model", .. SmallModel.Tiny]).FailsSaying("/proc/model", "cannot be written");
    }

    [Fact]
    public void VerboseShowsWhereAnErrorCameFrom()
    {
        Run run = Run.Of("inspect", "--model", folder.File("nowhere"), "--verbose");
        Assert.Equal(1, run.Code);
        Assert.Contains(nameof(CheckpointException), run.Error, StringComparison.Ordinal);
        Assert.Contains("   at ", run.Error, StringComparison.Ordinal);
    }
}
