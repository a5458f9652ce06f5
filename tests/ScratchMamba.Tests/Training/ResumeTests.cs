using System.Diagnostics;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Tests.Cli;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

/// <summary>Trainings that were stopped and gone on with: they end as if they had never stopped.</summary>
public sealed class ResumeTests(SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private const int Interruptions = 20;

    private static readonly string[] Files = ["model.safetensors", "training.safetensors", "training.json"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void AProcessThatIsKilledAgainAndAgainEndsAsIfItHadNotBeen() =>
        AssertSurvives(small, folder, interruptions: 20, "--steps", "1500", "--save-every", "7", "--eval-every", "500", "--initial-state", "carried", "--segments", "5", "--reset", "0.2", "--accumulate", "2");

    /// <summary>Trains in one go, and in many, each ended by a signal or killed: the last checkpoints are the same, byte for byte.</summary>
    internal static void AssertSurvives(SmallModel small, TemporaryFolder folder, int interruptions, params string[] options)
    {
        string[] training = ["train", "--data", small.Text, .. SmallModel.Tiny, .. options];
        Run.Of([.. training, "--out", folder.File("whole")]).Succeeds();
        string cut = folder.File("cut");
        var random = new Random(7);
        int kills = 0;
        for (int i = 0; i < interruptions; i++)
        {
            // One that was killed before its first checkpoint has begun, and is gone on with from its first step.
            using Process process = Run.Start(limit: null, File.Exists(Path.Combine(cut, "run.json")) ? ["train", "--resume", "--out", cut] : [.. training, "--out", cut]);
            while (process.StandardOutput.ReadLine() is { } line && !line.StartsWith("step", StringComparison.Ordinal))
            {
            }
            Thread.Sleep(random.Next(40));
            if (i % 3 == 1)
            {
                Process.Start("kill", ["-s", "TERM", $"{process.Id}"]).WaitForExit();
            }
            else
            {
                process.Kill();
                kills++;
            }
            process.StandardOutput.ReadToEnd();
            process.WaitForExit();
        }
        Assert.InRange(kills, interruptions / 2, interruptions - interruptions / 3);
        Assert.InRange(RunFolder.CheckpointsIn(cut)[0].Step, 1, RunFolder.CheckpointsIn(folder.File("whole"))[0].Step - 1);
        Run.Of("train", "--resume", "--out", cut).Succeeds();
        AssertSame(RunFolder.Newest(folder.File("whole"))!, RunFolder.Newest(cut)!);
        Assert.DoesNotContain(Directory.GetDirectories(Path.Combine(cut, "checkpoints")), path => path.Contains("partial", StringComparison.Ordinal));
    }

    public static TheoryData<string> Beginnings => ["empty", "carried", "through", "random", "fitted", "fp16"];

    [Theory, MemberData(nameof(Beginnings))]
    public void GoingOnIsAsIfTheTrainingHadNotStopped(string beginning)
    {
        using var cpu = new CpuBackend();
        AssertResumes(folder, cpu, beginning, steps: 9, stop: 5);
    }

    /// <summary>Trains in one go, and in two with everything made anew in between.</summary>
    internal static void AssertResumes(TemporaryFolder folder, Backend backend, string beginning, int steps, int stop)
    {
        Train("whole", steps, null);
        Train("cut", steps, stop);
        Train("cut", steps, null);
        AssertSame(RunFolder.Newest(folder.File("whole"))!, RunFolder.Newest(folder.File("cut"))!);

        void Train(string name, int steps, int? stop)
        {
            using var scope = new Scope();
            using var run = new RunFolder(folder.File(name));
            var config = new Mamba2Config { VocabularySize = 32, Width = 16, Layers = 2, StateSize = 4, HeadSize = 8, ChunkSize = 8 };
            var model = new Mamba2Model(config, backend, seed: 1) { Precision = beginning == "fp16" ? MatMulPrecision.Float16 : MatMulPrecision.Full };
            var batches = new TokenBatches([.. Enumerable.Range(0, 2000).Select(i => (i * i + i / 7) % 32)], 2, 16, seed: 3) { Segments = beginning is "carried" or "through" ? 3 : 1 };
            InitialStates? states = beginning switch
            {
                "carried" or "through" => new CarriedStates(model, 0.3, 4),
                "random" => new RandomNoise(model, 0.5, 0.3, 4),
                "fitted" => new FittedNoise(model, 0.3, 4),
                _ => null,
            };
            using var carried = states as IDisposable;
            using var cancellation = new CancellationTokenSource();
            var training = new TrainingRun
            {
                Trainer = new Trainer(model, number => batches[number], 16, new LearningRateSchedule(5e-3, steps, 2, LearningRateDecay.Cosine), accumulation: 2)
                {
                    InitialStates = states,
                    Through = beginning == "through" ? 2 : 1,
                    LossScale = new LossScale { Patience = 3 },
                },
                Folder = run,
                Data = batches.Fingerprint,
                Spikes = new SpikeDetector(8),
            };
            training.Observers.Add(new Stop(report => report.Step == stop, cancellation));
            Assert.Equal(stop is null && name == "cut", training.Resume());
            if (stop is null)
                training.Run(CancellationToken.None);
            else
                Assert.Throws<OperationCanceledException>(() => training.Run(cancellation.Token));
        }
    }

    [Fact]
    public void OtherDataAndDamagedCheckpointsAreNotGoneOnFrom()
    {
        string run = folder.File("run");
        Run.Of(["train", "--data", small.Text, "--out", run, .. SmallModel.Tiny, "--steps", "4", "--save-every", "2"]).Succeeds();
        Assert.Equal([4L, 2], RunFolder.CheckpointsIn(run).Select(item => item.Step));
        Run.Of("train", "--resume", "--out", run, "--steps", "6", "--seed", "5").FailsSaying("other data", "--seed");
        Run.Of("train", "--resume", "--out", run, "--steps", "6", "--initial-state", "fitted").FailsSaying("initial_states");
        Run.Of("train", "--resume", "--out", folder.File("nowhere")).FailsSaying("no training to resume");
        Run.Of("train", "--resume", "--out", folder.Path).FailsSaying("no training to resume");
        Run.Of(["train", "--data", small.Text, "--out", run, .. SmallModel.Tiny]).FailsSaying("--resume", "4 steps");
        // The newest is cut short: the one before is whole.
        string newest = Path.Combine(RunFolder.Newest(run)!, "training.safetensors");
        using (FileStream file = File.OpenWrite(newest))
            file.SetLength(file.Length - 9);
        string output = Run.Of("train", "--resume", "--out", run, "--steps", "6").Succeeds().Output;
        Assert.Contains("trying the checkpoint before", output, StringComparison.Ordinal);
        Assert.Contains("going on after step 2", output, StringComparison.Ordinal);
        Assert.Equal(6, RunFolder.CheckpointsIn(run)[0].Step);
        using var held = new RunFolder(run);
        Run.Of("train", "--resume", "--out", run, "--steps", "8").FailsSaying("another process");
    }

    [Fact]
    public void TheBestAndTheLastCheckpointsAreKept()
    {
        using var cpu = new CpuBackend();
        var config = new Mamba2Config { VocabularySize = 32, Width = 16, Layers = 1, StateSize = 4, HeadSize = 8 };
        var batches = new TokenBatches([.. Enumerable.Range(0, 2000).Select(i => i % 32)], 2, 16, seed: 3);
        using var run = new RunFolder(folder.File("kept"));
        var losses = new Queue<double>([3, 1, 2, 2.5, 2.6, 2.7]);
        var training = new TrainingRun
        {
            Trainer = new Trainer(new Mamba2Model(config, cpu, seed: 1), number => batches[number], 16, new LearningRateSchedule(1e-3, 12, 2, LearningRateDecay.Constant)),
            Folder = run,
            SaveEvery = new SaveInterval(2, TimeSpan.Zero),
            EvaluateEvery = 2,
            Keep = 2,
            Evaluate = _ => new Evaluation(losses.Dequeue(), 100),
        };
        training.Run(CancellationToken.None);
        Assert.Equal([12L, 10, 4], RunFolder.CheckpointsIn(run.Path).Select(item => item.Step));
        Assert.Equal((4, 1.0), training.Best);
    }

    private static void AssertSame(string expected, string actual)
    {
        Assert.Equal(Path.GetFileName(expected), Path.GetFileName(actual));
        foreach (string file in Files)
            Assert.Equal(File.ReadAllBytes(Path.Combine(expected, file)), File.ReadAllBytes(Path.Combine(actual, file)));
    }

    private sealed class Stop(Func<StepReport, bool> isTime, CancellationTokenSource source) : ITrainingObserver
    {
        public void Stepped(StepReport report)
        {
            if (isTime(report))
                source.Cancel();
        }
    }
}

public class SaveIntervalTests
{
    [Theory, InlineData("100", 100, 0), InlineData("90s", 0, 90), InlineData("10m", 0, 600), InlineData("2h", 0, 7200), InlineData("0", 0, 0)]
    public void StepsAndTimesAreRead(string text, long steps, int seconds)
    {
        Assert.True(SaveInterval.TryParse(text, out SaveInterval interval));
        Assert.Equal(new SaveInterval(steps, TimeSpan.FromSeconds(seconds)), interval);
    }

    [Theory, InlineData(""), InlineData("-1"), InlineData("m"), InlineData("1.5h"), InlineData("10 m"), InlineData("99999999999h"), InlineData("1d")]
    public void NothingElseIs(string text) => Assert.False(SaveInterval.TryParse(text, out _));
}
