using System.Xml.Linq;
using ScratchMamba.Cli;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Training;
using ScratchMamba.Training.Seeing;

namespace ScratchMamba.Tests.Cli;

/// <summary>Recipes, what is seen of trainings, and sweeps, as a user has them.</summary>
public sealed class RecipeVerbTests(SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private readonly TemporaryFolder folder = new();

    private string Out => folder.File("out");

    public void Dispose() => folder.Dispose();

    private string[] Training(string to, params string[] more) => ["train", "--data", small.Text, "--out", to, .. SmallModel.Tiny, .. more];

    private static byte[] Average(string run) => File.ReadAllBytes(Path.Combine(run, "average", "model.safetensors"));

    [Fact]
    public void ARunLeavesMetricsEventsSamplesAndAPage()
    {
        Run.Of(Training(Out, "--steps", "12", "--eval-every", "5", "--accumulate", "2", "--sample", "line 1")).Succeeds();
        MetricsRow[] rows = [.. MetricsFile.Read(Out)];
        Assert.Equal(Enumerable.Range(1, 12).Select(step => (long)step), rows.Where(row => row.Values.ContainsKey(MetricsFile.Loss)).Select(row => row.Step));
        Assert.Equal([5, 10, 12], rows.Where(row => row.Values.ContainsKey(MetricsFile.HeldOut)).Select(row => row.Step));
        Assert.All(rows.Where(row => row.Texts.ContainsKey(MetricsFile.Sample)), row => Assert.Equal("line 1", row.Texts[MetricsFile.Prompt]));
        MetricsRow measured = rows.Single(row => row.Values.ContainsKey(MetricsFile.UpdateNorm));
        Assert.Equal(10, measured.Step);
        Assert.InRange(measured[MetricsFile.UpdateNorm] / measured[MetricsFile.ParameterNorm], 1e-6, 1);
        Assert.Equal(12 * 2 * 2 * 32, rows[^3][MetricsFile.Tokens]);
        Assert.NotEmpty(Directory.GetFiles(Path.Combine(Out, "tensorboard")));
        string page = File.ReadAllText(Path.Combine(Out, "report.html"));
        Assert.Contains($"--out {Out}", XElement.Parse(page[page.IndexOf('\n')..]).Descendants("code").First().Value, StringComparison.Ordinal);
        File.Delete(Path.Combine(Out, "report.html"));
        Assert.Equal(Path.Combine(Out, "report.html"), Run.Of("report", "--run", Out).Succeeds().Output.Trim());
        Assert.Equal(page, File.ReadAllText(Path.Combine(Out, "report.html")));
        Run.Of("report", "--run", folder.Path).FailsSaying("metrics.jsonl");
        Run.Of("report", "--run", folder.File("nothing")).FailsSaying("no folder");
    }

    [Fact]
    public void AStoppedRunGoesOnWithItsAverageAndItsMetrics()
    {
        string[] recipe = ["--steps", "8", "--ema", "0.9", "--group", "*.A_log,lr=0.5,decay=0.1", "--freeze", "*.conv1d.*", "--schedule", "linear", "--save-every", "3"];
        Run.Of(Training(Out, recipe)).Succeeds();
        string stopped = folder.File("stopped");
        using (var stop = new CancellationTokenSource())
        {
            var output = new StoppingWriter("step      1", stop);
            Assert.Equal(CommandLine.Failed, Run.Of(stop.Token, output, Training(stopped, recipe)).Code);
        }
        Run.Of("train", "--resume", "--out", stopped).Succeeds();
        Assert.Equal(Average(Out), Average(stopped));
        Assert.NotEqual(Average(Out), File.ReadAllBytes(Path.Combine(RunFolder.Newest(Out)!, "model.safetensors")));
        Assert.Equal(Enumerable.Range(1, 8).Select(step => (long)step), MetricsFile.Read(stopped).Where(row => row.Values.ContainsKey(MetricsFile.Loss)).Select(row => row.Step));
        Run.Of("evaluate", "--model", Path.Combine(Out, "average"), "--data", small.Text).Succeeds();
    }

    [Fact]
    public void AdaptersAreTrainedBesideAModelAndGoOn()
    {
        byte[] before = File.ReadAllBytes(Path.Combine(small.Model, "model.safetensors"));
        Run.Of("train", "--data", small.Text, "--out", Out, "--init", small.Model, "--lora", "2", "--batch", "2", "--length", "32", "--steps", "3").Succeeds();
        Assert.False(File.Exists(Path.Combine(RunFolder.Newest(Out)!, "model.safetensors")));
        Run.Of("train", "--resume", "--out", Out, "--steps", "5").Succeeds();
        Run.Of("evaluate", "--model", Out, "--data", small.Text).Succeeds();
        Run.Of("convert", "--in", Out, "--out", folder.File("merged"), "--to", "hf").Succeeds();
        Assert.Equal(before, File.ReadAllBytes(Path.Combine(small.Model, "model.safetensors")));
        Assert.NotEqual(before, File.ReadAllBytes(Path.Combine(folder.File("merged"), "model.safetensors")));
    }

    [Fact]
    public void TrainingBeginsWithTheWeightsOfAModel()
    {
        Run.Of("train", "--data", small.Text, "--out", Out, "--init", small.Model, "--batch", "2", "--length", "32", "--steps", "1", "--lr", "1e-12", "--weight-decay", "0").Succeeds();
        string Loss(string model) => Run.Of("evaluate", "--model", model, "--data", small.Text).Succeeds().Output;
        Assert.Equal(Loss(small.Model), Loss(Out));
    }

    [Fact]
    public void ARateIsSuggestedAndNothingIsTrained()
    {
        Run run = Run.Of(Training(Out, "--find-lr")).Succeeds();
        Assert.Contains("suggested: --lr ", run.Output, StringComparison.Ordinal);
        Assert.Equal(["learning-rates.csv", "learning-rates.html"], Directory.GetFileSystemEntries(Out).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void RecipesThatMakeNoSenseAreRefused()
    {
        Run.Of(Training(Out, "--lora", "2")).IsMisuseSaying("--init");
        Run.Of(Training(Out, "--init", small.Model)).IsMisuseSaying("--layers", "--init");
        Run.Of(Training(Out, "--eval-ema")).IsMisuseSaying("--ema");
        Run.Of(Training(Out, "--group", "*.A_log")).IsMisuseSaying("--group", "*.A_log");
        Run.Of(Training(Out, "--group", "nothing,lr=2")).IsMisuseSaying("nothing");
        Run.Of(Training(Out, "--freeze", "*")).IsMisuseSaying("freezes all");
        Run.Of(Training(Out, "--ema", "1")).IsMisuseSaying("--ema");
        Assert.False(Directory.Exists(Out));
    }

    [Fact]
    public void WhatDoesNotFitIsRefusedWithWhatWould()
    {
        Run.Of("train", "--data", small.Text, "--out", Out, "--batch", "1048576", "--length", "1024").FailsSaying("there is", "With --batch", "--accumulate");
        Assert.False(Directory.Exists(Out));
    }

    [Fact]
    public void AsManyLayersAreComputedAgainAsItTakesToFit()
    {
        var config = new Mamba2Config { VocabularySize = 256, Layers = 6, Width = 64, StateSize = 16, HeadSize = 16 };
        var shape = new StepShape(4, 100);
        Mamba2Model Make(Backend backend) => new(config, backend, seed: null);
        long Bytes(int recomputed) => Memory.ForTraining(Make, shape with { Recomputed = recomputed });
        long all = Bytes(0), least = Bytes(6), between = (all + least) / 2;

        Assert.Equal((shape, all), Memory.Require(Make, config, shape, null, false, all));
        (StepShape chosen, long bytes) = Memory.Require(Make, config, shape, null, false, between);
        Assert.InRange(chosen.Recomputed, 1, 5);
        Assert.Equal(Bytes(chosen.Recomputed), bytes);
        Assert.True(bytes <= between && Bytes(chosen.Recomputed - 1) > between);
        Assert.Equal(6, Memory.Require(Make, config, shape, int.MaxValue, false, between).Shape.Recomputed);

        // What was said is done, and what would fit is named.
        StepShape row = shape with { Batch = 1 };
        least = Memory.ForTraining(Make, row with { Recomputed = 6 });
        Assert.Contains("With --batch 1 --length 100 --recompute 6", Assert.Throws<InvalidOperationException>(() => Memory.Require(Make, config, row, 0, false, least)).Message, StringComparison.Ordinal);
        Assert.Contains("--accumulate", Assert.Throws<InvalidOperationException>(() => Memory.Require(Make, config, shape, null, false, Bytes(6) - 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LayersToComputeAgainAreAllNoneOrANumber()
    {
        Run.Of(Training(Out, "--recompute", "sometimes")).IsMisuseSaying("--recompute", "on, off or a number");
        byte[] Model(string to, params string[] more)
        {
            Run.Of(Training(to, more)).Succeeds();
            return File.ReadAllBytes(Assert.Single(Directory.GetFiles(to, "model.safetensors", SearchOption.AllDirectories)));
        }
        byte[] kept = Model(Out);
        Assert.Equal(kept, Model(folder.File("one"), "--recompute", "1"));
        Assert.Equal(kept, Model(folder.File("all"), "--recompute"));
    }

    [Theory, InlineData(1, false, false), InlineData(3, false, true), InlineData(1, true, false)]
    public void TheEstimateIsWhatIsTaken(int accumulation, bool recomputes, bool averages)
    {
        var config = new Mamba2Config { VocabularySize = 256, Layers = 3, Width = 64, StateSize = 16, HeadSize = 16 };
        long expected = Memory.ForTraining(backend => new Mamba2Model(config, backend, seed: null), new StepShape(4, 100, accumulation, recomputes ? 3 : 0), averages);
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(config, cpu, seed: 1) { RecomputedLayers = recomputes ? int.MaxValue : 0 };
        var batch = new TokenBatch(new int[400], new int[400]);
        using var trainer = new Trainer(model, _ => batch, 100, new LearningRateSchedule(1e-3, 10, 0, LearningRateDecay.Constant), accumulation: accumulation);
        WeightAverage? average = averages ? new WeightAverage(model, 0.9) : null;
        cpu.ResetPeak();
        trainer.Step();
        average?.Add();
        Assert.InRange(expected / (double)cpu.PeakBytes, 0.85, 1.15);
    }

    [Fact]
    public void ASweepTrainsEveryCombinationOnceAndGoesOn()
    {
        string grid = folder.File("grid.json");
        File.WriteAllText(grid, $$"""{ "base": { "data": "{{small.Text}}", "layers": 1, "width": 16, "head": 8, "batch": 2, "length": 32, "steps": 4 }, "grid": { "lr": [1e-3, 4e-3], "state": [8, 16] } }""");
        Run run = Run.Of("sweep", "--grid", grid, "--out", Out).Succeeds();
        Assert.Contains("4/4", run.Output, StringComparison.Ordinal);
        string[] names = ["lr=0.001,state=16", "lr=0.001,state=8", "lr=0.004,state=16", "lr=0.004,state=8"];
        Assert.Equal(names, Directory.GetDirectories(Out).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        string[] lines = File.ReadAllLines(folder.File("out/sweep.csv"));
        Assert.Equal(5, lines.Length);
        Assert.StartsWith("lr,state,steps,held_out_loss", lines[0], StringComparison.Ordinal);
        Assert.All(lines[1..], line => Assert.Equal("4", line.Split(',')[2]));
        string page = File.ReadAllText(folder.File("out/sweep.html"));
        Assert.Equal(2, XElement.Parse(page[page.IndexOf('\n')..]).Descendants("svg").Count());

        // One that was stopped: it goes on, and the others are left alone.
        File.Delete(folder.File($"out/{names[1]}/sweep.json"));
        DateTime untouched = File.GetLastWriteTimeUtc(folder.File($"out/{names[0]}/metrics.jsonl"));
        Assert.Contains("3 of 4", Run.Of("sweep", "--grid", grid, "--out", Out).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal(untouched, File.GetLastWriteTimeUtc(folder.File($"out/{names[0]}/metrics.jsonl")));
        Assert.Equal(lines.Select(Found), File.ReadAllLines(folder.File("out/sweep.csv")).Select(Found));

        File.WriteAllText(grid, File.ReadAllText(grid).Replace("\"steps\": 4", "\"steps\": 5", StringComparison.Ordinal));
        Run.Of("sweep", "--grid", grid, "--out", Out).IsMisuseSaying("base");

        static string Found(string line) => string.Join(',', line.Split(',')[..6]);
    }

    [Fact]
    public void ATrainingThatFailsIsReportedAndTheOthersAreDone()
    {
        string grid = folder.File("grid.json"), empty = folder.File("empty.txt");
        File.WriteAllText(empty, "");
        File.WriteAllText(grid, $$"""{ "base": { "layers": 1, "width": 16, "head": 8, "batch": 2, "length": 32, "steps": 2 }, "grid": { "data": ["{{empty}}", "{{small.Text}}"] } }""");
        Run run = Run.Of("sweep", "--grid", grid, "--out", Out, "--jobs", "1");
        Assert.Equal(CommandLine.Failed, run.Code);
        Assert.Contains("best: ", run.Output, StringComparison.Ordinal);
        Assert.Contains("error: ", File.ReadAllText(folder.File("out/sweep.html")), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{ "grid": { "lr": [] } }""", "lr"), InlineData("""{ "base": {} }""", "grid"), InlineData("""{ "base": { "lr": 1 }, "grid": { "lr": [1] } }""", "twice|'base' and in 'grid'")]
    [InlineData("""{ "grid": { "out": ["x"] } }""", "out"), InlineData("""{ "grid": { "lr": [1, 1] } }""", "twice"), InlineData("""[1]""", "object"), InlineData("""{""", "grid.json")]
    [InlineData("""{ "grid": { "lr": [1] }, "more": 1 }""", "more"), InlineData("""{ "grid": { "speed": [1] } }""", "--speed"), InlineData("""{ "grid": { "lr": [-1] } }""", "--lr")]
    public void AGridThatMakesNoSenseIsRefused(string json, string words)
    {
        string grid = folder.File("grid.json");
        File.WriteAllText(grid, json);
        Run.Of("sweep", "--grid", grid, "--out", Out).IsMisuseSaying(words.Split('|')[^1]);
        Assert.False(Directory.Exists(Out));
    }

    /// <summary>Cancels when a line is written that begins with certain words.</summary>
    private sealed class StoppingWriter(string awaited, CancellationTokenSource stop) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            if (value?.StartsWith(awaited, StringComparison.Ordinal) == true)
                stop.Cancel();
        }
    }
}
