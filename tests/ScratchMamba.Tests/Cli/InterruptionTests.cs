using System.Diagnostics;
using ScratchMamba.Checkpoints;
using ScratchMamba.Cli;
using ScratchMamba.Training;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Cli;

/// <summary>Trainings that do not get to their end: what was saved before stays whole.</summary>
public sealed class InterruptionTests(SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private const int Endless = 1_000_000;

    private readonly TemporaryFolder folder = new();

    private string Out => folder.File("out");

    public void Dispose() => folder.Dispose();

    private string[] Training(params string[] more) => ["train", "--data", small.Text, "--out", Out, .. SmallModel.Tiny, "--steps", $"{Endless}", "--schedule", "constant", .. more];

    private void AssertOutIsWhole()
    {
        Run.Of("evaluate", "--model", Out, "--data", small.Text).Succeeds();
        string[] entries = [.. Directory.GetFileSystemEntries(Out).Select(path => Path.GetFileName(path))];
        Assert.Empty(new[] { "checkpoints", "run.json" }.Except(entries));
        Assert.Empty(entries.Except(["checkpoints", "metrics.jsonl", "report.html", "run.json", "tensorboard"]));
        foreach (string checkpoint in Directory.GetDirectories(Path.Combine(Out, "checkpoints")))
            Assert.Equal(["config.json", "model.safetensors", "training.json", "training.safetensors"], Directory.GetFileSystemEntries(checkpoint).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void CancellationSavesAndSaysWhere()
    {
        using var stop = new CancellationTokenSource();
        using var output = new WatchingWriter(line => line.StartsWith("step", StringComparison.Ordinal), stop.Cancel);
        Run run = Run.Of(stop.Token, output, Training());
        Assert.Equal(CommandLine.Failed, run.Code);
        Assert.Equal($"stopped after 1 of {Endless} steps; saved in {Out}\n", run.Error.ReplaceLineEndings("\n"));
        AssertOutIsWhole();
        Assert.Equal([Out], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void CancellationBeforeTheFirstStepSavesNothing()
    {
        Run run = Run.Of(new CancellationToken(canceled: true), new StringWriter(), Training());
        Assert.Equal(CommandLine.Failed, run.Code);
        Assert.StartsWith("stopped", run.Error, StringComparison.Ordinal);
        Assert.Empty(RunFolder.CheckpointsIn(Out));
    }

    [Fact]
    public void CancellationEndsAMeasurementAtItsNextOperation()
    {
        using var stop = new CancellationTokenSource();
        // After the ceilings are known the model is made, and 1,000 steps are measured.
        using var output = new WatchingWriter(line => line.StartsWith("ceiling: memory triad", StringComparison.Ordinal), stop.Cancel);
        Run run = Run.Of(stop.Token, output, "bench", "train", "--layers", "1", "--width", "16", "--head", "8", "--state", "8", "--vocabulary", "32", "--batch", "1", "--length", "16", "--repeat", "1000");
        Assert.Equal((CommandLine.Failed, "stopped\n"), (run.Code, run.Error.ReplaceLineEndings("\n")));
        Assert.DoesNotContain("train", output.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void CancellationEndsAText()
    {
        using var stop = new CancellationTokenSource();
        using var output = new WatchingWriter(_ => true, stop.Cancel);
        Run run = Run.Of(stop.Token, output, "generate", "--model", small.Model, "--prompt", "line", "-n", $"{Endless}");
        Assert.Equal((CommandLine.Failed, "stopped\n"), (run.Code, run.Error.ReplaceLineEndings("\n")));
    }

    [Fact]
    public void ALostDeviceIsOpenedAgainAndTheTrainingGoesOn()
    {
        string[] training = ["train", "--data", small.Text, .. SmallModel.Tiny, "--steps", "12", "--save-every", "5", "--initial-state", "carried", "--segments", "3"];
        Run.Of([.. training, "--out", folder.File("whole")]).Succeeds();
        int losses = 0;
        // The display writes on the training's thread: what it throws ends a step as a device does that is lost.
        using var output = new WatchingWriter(
            line => line.StartsWith("step      8", StringComparison.Ordinal) && losses++ < 2, () => throw new DeviceLostException("device 7", "a step"));
        Run run = Run.Of(CancellationToken.None, output, [.. training, "--out", Out]).Succeeds();
        Assert.Equal(2, run.Output.Split("device 7 was lost during a step.").Length - 1);
        Assert.Contains("going on after step 5 of 12", run.Output, StringComparison.Ordinal);
        foreach (string file in new[] { "model.safetensors", "training.safetensors", "training.json" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(RunFolder.Newest(folder.File("whole"))!, file)), File.ReadAllBytes(Path.Combine(RunFolder.Newest(Out)!, file)));
    }

    [Fact]
    public void ADeviceThatIsAlwaysLostIsTheEnd()
    {
        using var output = new WatchingWriter(line => line.StartsWith("step      8", StringComparison.Ordinal), () => throw new DeviceLostException("device 7", "a step"));
        Run.Of(CancellationToken.None, output, ["train", "--data", small.Text, "--out", Out, .. SmallModel.Tiny, "--save-every", "5", "--steps", "12"]).FailsSaying("device 7 was lost during a step");
        Assert.Equal(5, RunFolder.CheckpointsIn(Out)[0].Step);
    }

    [Theory, InlineData("INT"), InlineData("TERM")]
    public void ASignalSavesAndSaysWhere(string signal)
    {
        using Process process = Run.Start(limit: null, Training());
        WaitForStep(process);
        Process.Start("kill", ["-s", signal, $"{process.Id}"]).WaitForExit();
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(CommandLine.Failed, process.ExitCode);
        Assert.StartsWith("stopped after ", error, StringComparison.Ordinal);
        Assert.EndsWith($"saved in {Out}\n", error.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        AssertOutIsWhole();
        Assert.Equal([Out], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void AProcessThatIsKilledLeavesItsLastCheckpoint()
    {
        // Saving after every step, so that it is likely to die while it saves.
        using Process process = Run.Start(limit: null, Training("--save-every", "1"));
        WaitForStep(process);
        while (RunFolder.Newest(Out) is null)
            Thread.Sleep(1);
        process.Kill();
        process.WaitForExit();
        Run.Of("evaluate", "--model", Out, "--data", small.Text).Succeeds();
        // The next training tidies up what the dead one left.
        Run.Of("train", "--resume", "--out", Out, "--steps", $"{RunFolder.CheckpointsIn(Out)[0].Step + 1}").Succeeds();
        AssertOutIsWhole();
        Assert.Equal([Out], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void ACheckpointIsFoundBetweenItsTwoRenames()
    {
        string aside = folder.File("out.previous-0123abcd");
        Directory.CreateDirectory(aside);
        foreach (string file in Directory.GetFiles(small.Model))
            File.Copy(file, Path.Combine(aside, Path.GetFileName(file)));
        Run.Of("inspect", "--model", Out).Succeeds();
        Run.Of("generate", "--model", Out, "--prompt", "a", "-n", "2").Succeeds();
        Assert.Equal([aside], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public async Task AFullDiskLeavesWhatWasThere()
    {
        Run.Of(["train", "--data", small.Text, "--out", Out, .. SmallModel.Tiny, "--steps", "1"]).Succeeds();
        string checkpoint = RunFolder.Newest(Out)!;
        byte[] before = File.ReadAllBytes(Path.Combine(checkpoint, "model.safetensors"));
        // Eight kilobytes: room for the configuration, not for the weights.
        using Process process = Run.Start(limit: 16, "train", "--resume", "--out", Out, "--steps", "2");
        Task<string> error = process.StandardError.ReadToEndAsync();
        await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        new Run(process.ExitCode, "", await error).FailsSaying(Out, "cannot be written, and nothing was changed");
        Assert.Equal([checkpoint], RunFolder.CheckpointsIn(Out).Select(item => item.Path));
        Assert.Equal(before, File.ReadAllBytes(Path.Combine(checkpoint, "model.safetensors")));
        AssertOutIsWhole();
        Assert.Equal([Out], Directory.GetFileSystemEntries(folder.Path));
    }

    private static void WaitForStep(Process process)
    {
        while (process.StandardOutput.ReadLine() is { } line)
        {
            if (line.StartsWith("step", StringComparison.Ordinal))
                return;
        }
        Assert.Fail(process.StandardError.ReadToEnd());
    }

    /// <summary>Calls back when something is written that is waited for.</summary>
    private sealed class WatchingWriter(Func<string, bool> awaited, Action callback) : StringWriter
    {
        public override void Write(string? value) => Watch(value, base.Write);

        public override void WriteLine(string? value) => Watch(value, base.WriteLine);

        private void Watch(string? value, Action<string?> write)
        {
            write(value);
            if (awaited(value ?? ""))
                callback();
        }
    }
}
