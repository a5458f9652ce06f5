using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;
using ScratchMamba.Checkpoints;
using ScratchMamba.Cli;
using ScratchMamba.Mamba2;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Cli;

/// <summary>What each verb does when all is well.</summary>
public sealed partial class VerbTests(SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Verbs => [.. CommandLine.Verbs.Select(verb => verb.Name)];

    public void Dispose() => folder.Dispose();

    [Fact]
    public void QuickstartTwiceIsTheSameToTheLastDigit()
    {
        string[] Lines(string name)
        {
            string output = Run.Of("quickstart", "--steps", "2", "--out", folder.File(name)).Succeeds().Output;
            return [.. output.Split('\n').Select(line => Speed().Replace(line, "").Replace(folder.File(name), "OUT", StringComparison.Ordinal))];
        }
        string[] first = Lines("first");
        Assert.Equal(first, Lines("second"));
        Assert.Contains(first, line => line.Contains("counting pairs", StringComparison.Ordinal));
        Assert.Equal(File.ReadAllBytes(Path.Combine(RunFolder.Newest(folder.File("first"))!, "model.safetensors")), File.ReadAllBytes(Path.Combine(RunFolder.Newest(folder.File("second"))!, "model.safetensors")));
        // What it says to try next works.
        string[] next = first.Single(line => line.StartsWith("  scratchmamba inspect", StringComparison.Ordinal)).Replace("OUT", folder.File("first"), StringComparison.Ordinal).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Run.Of(next[1..]).Succeeds();
    }

    [Theory, InlineData("constant", "1.00e-2"), InlineData("cosine", "2.32e-3"), InlineData("wsd", "1.00e-2")]
    public void TrainFollowsItsSchedule(string schedule, string lastRate)
    {
        string output = Run.Of(["train", "--data", small.Text, "--out", folder.File("model"), .. SmallModel.Tiny, "--steps", "6", "--lr", "1e-2", "--warm-up", "2", "--schedule", schedule]).Succeeds().Output;
        Assert.Contains("lr 5.00e-3", output, StringComparison.Ordinal);
        Assert.Contains($"lr {lastRate}", output.Split('\n').Last(line => line.StartsWith("step", StringComparison.Ordinal)), StringComparison.Ordinal);
        Assert.Contains("weight decay", output, StringComparison.Ordinal);
        Assert.Contains("held-out loss", output, StringComparison.Ordinal);
        Assert.Equal(16, Checkpoint.LoadConfig(folder.File("model")).Width);
    }

    [Fact]
    public void TrainTakesAConfigurationAndAFolder()
    {
        string data = Directory.CreateDirectory(folder.File("data")).FullName;
        File.Copy(small.Text, Path.Combine(data, "a.txt"));
        File.Copy(small.Text, Path.Combine(data, "b.txt"));
        Run.Of("train", "--data", data, small.Text, "--out", folder.File("out"), "--config", Path.Combine(small.Model, "config.json"), "--batch", "2", "--length", "32", "--steps", "2",
            "--accumulate", "2", "--clip", "0.5", "--weight-decay", "0", "--seed", "7").Succeeds();
        Mamba2Config given = Checkpoint.LoadConfig(small.Model);
        Assert.Equal(given, Checkpoint.LoadConfig(folder.File("out")));
    }

    [Fact]
    public void TrainSavesAndEvaluatesOnTheWay()
    {
        string output = Run.Of(["train", "--data", small.Text, "--out", folder.File("model"), .. SmallModel.Tiny, "--steps", "6", "--save-every", "2", "--eval-every", "3"]).Succeeds().Output;
        Assert.Single(output.Split('\n'), line => line.StartsWith("step", StringComparison.Ordinal) && line.Contains("3/6  held-out loss", StringComparison.Ordinal));
        Assert.Equal([folder.File("model")], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void CuresChangeWhatAModelReadsAndWrites()
    {
        string[] generate = ["generate", "--model", small.Model, "--prompt", "line 1", "-n", "20"], evaluate = ["evaluate", "--model", small.Model, "--data", small.Text, "--length", "64"];
        string loss = Run.Of(evaluate).Succeeds().Output, text = Run.Of(generate).Succeeds().Output;
        Assert.Equal(loss, Run.Of([.. evaluate, "--cure", "none"]).Succeeds().Output);
        Assert.Equal(text, Run.Of([.. generate, "--cure", "retention=1,step=1"]).Succeeds().Output);
        Assert.NotEqual(loss, Run.Of([.. evaluate, "--cure", "retention=0.5,insertion=0.5,window=8"]).Succeeds().Output);
        Assert.NotEqual(loss, Run.Of([.. evaluate, "--cure", "norm=0.1x@4", "--calibrate", small.Text, "--calibrate-length", "16"]).Succeeds().Output);
        Run.Of([.. generate, "--cure", "stagger=4,step=2"]).Succeeds();
        string help = Run.Of("evaluate", "--help").Succeeds().Output;
        Assert.All(ScratchMamba.Mamba2.Cures.CureText.Settings, setting => Assert.Contains($"{setting.Name}={setting.Form}", help, StringComparison.Ordinal));
    }

    [Fact]
    public void GenerateIsReproducibleAndStreams()
    {
        using var watched = new CountingWriter();
        string[] line = ["generate", "--model", small.Model, "--prompt", "line 1", "-n", "30", "--seed", "5"];
        string text = Run.Of(CancellationToken.None, watched, line).Succeeds().Output;
        Assert.StartsWith("line 1", text, StringComparison.Ordinal);
        Assert.True(watched.Flushes >= 30, "every token is shown as it comes");
        Assert.Equal(text, Run.Of(line).Output);
        Assert.NotEqual(text, Run.Of([.. line[..^1], "6"]).Output);
        Assert.Equal(Run.Of([.. line, "--temperature", "0"]).Output, Run.Of([.. line[..^1], "6", "--top-k", "1"]).Output);
        Assert.Equal("line 1\n", Run.Of("generate", "--model", small.Model, "--prompt", "line 1", "-n", "0").Succeeds().Output.ReplaceLineEndings("\n"));
        Assert.Equal("@name\n", Run.Of("generate", "--model", small.Model, "--prompt", "@name", "-n", "0").Succeeds().Output.ReplaceLineEndings("\n"));
    }

    [Fact]
    public void ATokenizerIsTrainedUsedAndKept()
    {
        string tokenizer = folder.File("tokenizer.json"), model = folder.File("model");
        Assert.Contains("300 tokens", Run.Of("tokenizer", "train", "--data", small.Text, "--vocabulary", "300", "--out", tokenizer).Succeeds().Output, StringComparison.Ordinal);
        string ids = Run.Of("tokenizer", "encode", "--tokenizer", tokenizer, "--text", "the quick brown naïve fox").Succeeds().Output.Trim();
        Assert.True(ids.Split(' ').Length < 20);
        Assert.Equal("the quick brown naïve fox\n", Run.Of(["tokenizer", "decode", "--tokenizer", tokenizer, "--ids", .. ids.Split(' ')]).Succeeds().Output.ReplaceLineEndings("\n"));
        Assert.Equal(200, Run.Of("tokenizer", "encode", "--tokenizer", tokenizer, "--data", small.Text).Succeeds().Output.Count(character => character == '\n'));
        Run.Of("tokenizer", "encode", "--tokenizer", tokenizer).IsMisuseSaying("--text or --data");
        Run.Of("tokenizer", "train", "--data", small.Text, "--vocabulary", "20", "--out", tokenizer).IsMisuseSaying("--vocabulary");

        string[] train = ["train", "--data", small.Text, "--out", model, .. SmallModel.Tiny, "--steps", "3"];
        Assert.Contains("bits per byte", Run.Of([.. train, "--tokenizer", tokenizer]).Succeeds().Output, StringComparison.Ordinal);
        Run.Of(["train", "--data", small.Text, "--out", folder.File("other"), .. SmallModel.Tiny, "--tokenizer", small.Model]).IsMisuseSaying("--tokenizer", "no tokenizer.json");
        Assert.Equal(304, Checkpoint.LoadConfig(model).VocabularySize);
        Assert.Contains("\"eos_token_id\": 0", File.ReadAllText(Path.Combine(Checkpoint.Current(model), "config.json")), StringComparison.Ordinal);
        Assert.Equal(File.ReadAllBytes(tokenizer), File.ReadAllBytes(Path.Combine(RunFolder.Newest(model)!, "tokenizer.json")));
        Run.Of("train", "--resume", "--out", model, "--steps", "4").Succeeds();
        Assert.Equal(304, Checkpoint.LoadConfig(model).VocabularySize);
        string[] generate = ["generate", "--model", model, "--prompt", "the quick", "-n", "20", "--ignore-eos"];
        Assert.StartsWith("the quick", Run.Of(generate).Succeeds().Output, StringComparison.Ordinal);
        Run.Of("evaluate", "--model", model, "--data", small.Text).Succeeds();
        // A model of bytes cannot have the tokens.
        File.Copy(tokenizer, Path.Combine(Copy(small.Model), "tokenizer.json"));
        Run.Of("generate", "--model", folder.File("copy"), "--prompt", "a").FailsSaying("300 tokens", "256");
    }

    [Fact]
    public void GenerateStopsSearchesAndPenalizes()
    {
        string[] generate = ["generate", "--model", small.Model, "--prompt", "line 1", "-n", "60", "--seed", "5"];
        string text = Run.Of(generate).Succeeds().Output.ReplaceLineEndings("\n");
        string stop = text[6..].First(character => character is > ' ' and < '\x7F').ToString();
        int end = text.IndexOf(stop, 6, StringComparison.Ordinal);
        Assert.Equal(text[..end] + "\n", Run.Of([.. generate, "--stop", stop, "never there"]).Succeeds().Output.ReplaceLineEndings("\n"));
        foreach (string options in new[] { "--min-p 1", "--typical 0.05", "--repetition-penalty 50", "--presence-penalty 100", "--frequency-penalty 100", "--logit-bias 32=-inf 101=5.5" })
        {
            string[] line = [.. generate, .. options.Split(' ')];
            string other = Run.Of(line).Succeeds().Output;
            Assert.NotEqual(text, other.ReplaceLineEndings("\n"));
            Assert.Equal(other, Run.Of(line).Output);
        }
        string[] search = [.. generate[..^2], "--beams", "3"];
        Assert.Equal(Run.Of(search).Succeeds().Output, Run.Of(search).Output);
        Run.Of([.. search, "--seed", "3"]).IsMisuseSaying("--beams");
        Run.Of([.. generate[..^2], "--beams", "1025"]).IsMisuseSaying("at most 1024");
        Run biased = Run.Of([.. generate, "--logit-bias", "1000000=1"]);
        Assert.Equal(1, biased.Code);
        Assert.Contains("bias for token 1000000", biased.Error, StringComparison.Ordinal);
        Assert.Empty(biased.Output);
        Run.Of([.. generate, "--stop", ""]).IsMisuseSaying("--stop is empty");
        Run.Of([.. generate, "--logit-bias", "x"]).IsMisuseSaying("--logit-bias", "'x'");
        Run.Of([.. generate, "--logit-bias", "999=1"]).FailsSaying("token 999", "256");
    }

    [Fact]
    public void GenerateGoesOnFromAState()
    {
        string file = folder.File("text.state");
        string[] generate = ["generate", "--model", small.Model, "--temperature", "1.5", "--repetition-penalty", "1.1", "--top-k", "0"];
        string whole = Run.Of([.. generate, "--prompt", "line 1", "-n", "50", "--seed", "7"]).Succeeds().Output;
        string first = Run.Of([.. generate, "--prompt", "line 1", "-n", "19", "--seed", "7", "--save-state", file]).Succeeds().Output;
        string second = Run.Of([.. generate, "--load-state", file, "-n", "20", "--save-state", file]).Succeeds().Output, third = Run.Of([.. generate, "--load-state", file, "-n", "11"]).Succeeds().Output;
        // Half a character at an end waits for the next part.
        Assert.Equal(whole, first[..^Environment.NewLine.Length] + second[..^Environment.NewLine.Length] + third);
        Assert.StartsWith("and then", Run.Of([.. generate, "--load-state", file, "--prompt", "and then", "-n", "3"]).Succeeds().Output, StringComparison.Ordinal);
        Assert.NotEqual(third, Run.Of([.. generate, "--load-state", file, "-n", "11", "--seed", "8"]).Succeeds().Output);
        Run.Of(generate).IsMisuseSaying("--prompt is missing");
        Run.Of("generate", "--model", small.Model, "--prompt", "x", "--beams", "2", "--save-state", file).IsMisuseSaying("--beams");
        Run.Of([.. generate, "--load-state", folder.File("missing")]).FailsSaying("missing", "cannot be opened");
        Run.Of([.. generate, "--prompt", "x", "--save-state", folder.File("no/such")]).FailsSaying("no/such", "cannot be written");
        Run.Of([.. generate, "--prompt", "x", "--save-state", folder.Path]).FailsSaying("is a folder");
        Run.Of([.. generate, "--load-state", file, "--cure", "window=9"]).FailsSaying("--cure none", "--cure window=9");
        Run.Of([.. generate, "--load-state", file, "--type", "bf16"]).FailsSaying("another model");
    }

    [Fact]
    public async Task GenerateEndsWhenNobodyReadsItAnyMore()
    {
        using Process process = Run.Start(null, "generate", "--model", small.Model, "--prompt", "line", "-n", int.MaxValue.ToString());
        await process.StandardOutput.ReadAsync(new char[20]);
        process.StandardOutput.Close();
        await process.WaitForExitAsync().WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(CommandLine.Failed, process.ExitCode);
    }

    private string Copy(string model)
    {
        string copy = Directory.CreateDirectory(folder.File("copy")).FullName;
        foreach (string file in Directory.GetFiles(model))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        return copy;
    }

    [Fact]
    public void EvaluateShowsTheSameLossInThreeUnits()
    {
        string output = Run.Of("evaluate", "--model", small.Model, "--data", small.Text, "--length", "64").Succeeds().Output;
        double Value(string name) => double.Parse(output.Split('\n').Single(line => line.StartsWith(name, StringComparison.Ordinal))[name.Length..].Trim().Split(' ')[0]);
        Assert.Equal(Math.Exp(Value("loss")), Value("perplexity"), Value("perplexity") * 1e-3);
        Assert.Equal(Value("loss") / Math.Log(2), Value("bits per byte"), 2e-4);
        Assert.Equal(new FileInfo(small.Text).Length - 1, Value("tokens"));
    }

    [Fact]
    public void InspectShowsEveryParameter()
    {
        string output = Run.Of("inspect", "--model", Golden.File("hf-tiny")).Succeeds().Output;
        using var weights = new SafetensorsFile(Path.Combine(Golden.File("hf-tiny"), "model.safetensors"));
        Assert.All(weights.Names, name => Assert.Contains(name, output, StringComparison.Ordinal));
        Assert.Contains($"parameters   {weights.Names.Sum(name => weights.Entry(name).Count):#,0}", output, StringComparison.Ordinal);
        Assert.Contains("training", output, StringComparison.Ordinal);
    }

    [Theory, InlineData("f32"), InlineData("f64")]
    public void VerifyAgreesWithTheGoldenSet(string precision)
    {
        string output = Run.Of("verify", "--model", Golden.File("hf-tiny"), "--precision", precision).Succeeds().Output;
        // Logits, loss, 21 gradients, a generated text, and two trajectories.
        Assert.Contains("all 26 agree", output, StringComparison.Ordinal);
    }

    [Fact]
    public void VerifyFailsWhereSomethingDiffers()
    {
        Run strict = Run.Of("verify", "--model", Golden.File("hf-tiny"), "--tolerance", "1e-12");
        Assert.Equal(CommandLine.Failed, strict.Code);
        Assert.Contains("WRONG", strict.Output, StringComparison.Ordinal);

        string changed = Directory.CreateDirectory(folder.File("changed")).FullName;
        foreach (string file in Directory.GetFiles(Golden.File("hf-tiny")))
            File.Copy(file, Path.Combine(changed, Path.GetFileName(file)));
        using (FileStream weights = File.Open(Path.Combine(changed, "model.safetensors"), FileMode.Open))
        {
            // The last element of the last tensor gets another exponent.
            weights.Seek(-1, SeekOrigin.End);
            weights.WriteByte(0x3F);
        }
        Run different = Run.Of("verify", "--model", changed);
        Assert.Equal(CommandLine.Failed, different.Code);
        Assert.Contains("differ", different.Output, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Verbs))]
    public void HelpShowsAnExampleThatParses(string verb)
    {
        string help = Run.Of(verb, "--help").Succeeds().Output;
        string example = help.TrimEnd().Split('\n')[^1].Trim();
        Assert.StartsWith($"scratchmamba {verb}", example, StringComparison.Ordinal);
        // With help asked for, everything before it is parsed and nothing runs.
        string[] args = [.. Word().Matches(example).Skip(1).Select(match => match.Value.Trim('"'))];
        Run.Of([.. args, "--help"]).Succeeds();
        Assert.Contains(example, Readme.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void HelpAndVersionNeedNoVerb()
    {
        string help = Run.Of("--help").Succeeds().Output;
        Assert.All(CommandLine.Verbs, verb => Assert.Contains(verb.Name, help, StringComparison.Ordinal));
        Assert.StartsWith("0.", Run.Of("--version").Succeeds().Output, StringComparison.Ordinal);
    }

    [GeneratedRegex(@"\s*[\d.,]+ tokens/s")]
    private static partial Regex Speed();

    [GeneratedRegex("\"[^\"]*\"|\\S+")]
    private static partial Regex Word();

    private sealed class CountingWriter : StringWriter
    {
        public int Flushes { get; private set; }

        public override void Flush() => Flushes++;
    }
}
