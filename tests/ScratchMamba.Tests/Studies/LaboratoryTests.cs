using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Studies;

/// <summary>Work is done once, found again, and the same however it is divided; measurements measure what they say.</summary>
public sealed class LaboratoryTests : IDisposable
{
    private static readonly StudyOptions Options = StudyOptions.Tiny with
    {
        Data = new StreamingRecall(8, 4), Width = 16, HeadSize = 8, StateSize = 4, Layers = 1, Length = 16, Steps = 8, EarlySteps = 2, EarlyLength = 8, TokensPerStep = 64, Seeds = 2, Prompts = 3, LengthFactor = 8, PasskeySamples = 10,
        StreamLength = 512, CapacityStates = [2, 4], CapacityLengths = [8, 16], CapacityTokens = 128,
        PasskeyModels = [(16, 1, 4)], PasskeySeeds = 2, PasskeyStages = [new(0, 64, 2, 2, 0.003), new(1024, 128, 2, 2, 0.003, Segments: 4)], PasskeyLongest = 2048,
        UnseenModels = [(16, 1, 4)], UnseenStages = [new(192, 64, 2, 2, 0.003) { LearnsAll = true }, new(512, 64, 2, 2, 0.003) { Passes = true }, new(1024, 128, 2, 2, 0.003, Segments: 4) { Falls = true, Candidates = 2 }],
        Prose = new Prose("lines", "when in the course of human events it becomes necessary for one people to dissolve the political bands which have connected them with another"u8),
    };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static Scheduler Workers(int count, Action<StudyProgress>? report = null) => new(threads => new CpuBackend(threads), count, count, report ?? (_ => { }));

    private static JobContext Context(CpuBackend cpu) => new(cpu, new Store(""), (_, _) => { }, CancellationToken.None);

    private static Mamba2Model Model(CpuBackend cpu) => new(Options.Config(4), cpu, seed: 1);

    private static ProfileSettings Settings(long length = 128) => new() { Data = Options.Data, TrainingLength = 16, Length = length, Prompts = 3 };

    private string[] Files(string pattern) => [.. Directory.EnumerateFiles(folder.Path, pattern, SearchOption.AllDirectories).Order()];

    [Fact]
    public void EveryStudyRunsAndIsNotDoneAgain()
    {
        (IReadOnlyList<StudyResult> first, string report) = StudyRun.Run(StudyRun.Names, Options, Subject.Trained(Options), folder.Path, "study {0}", Workers(2), CancellationToken.None);
        Assert.Equal(StudyRun.Names, first.Select(result => result.Name));
        Assert.All(first, result => Assert.NotEmpty(result.Figures));
        Assert.All(first, result => Assert.NotEmpty(result.Findings));
        Assert.DoesNotContain("NaN", File.ReadAllText(report), StringComparison.Ordinal);
        string[] names = [.. first.SelectMany(result => result.Figures).Select(figure => figure.Table.Name)];
        Assert.Equal(names.Length, names.Distinct().Count());
        Assert.All(names, name => Assert.True(File.Exists(folder.File(name + ".csv"))));
        // Every model is named with what its weights are, and of those that were chosen from, the one with most right answers, the later of two.
        Assert.Equal(Files("training.json").Length, File.ReadLines(folder.File("models.csv")).Count() - 1);
        Assert.Matches("[0-9a-f]{64}", File.ReadAllText(report));
        string[][] choice = [.. File.ReadLines(folder.File("passkey-unseen-choice.csv")).Skip(1).Select(line => line.Split(','))];
        Assert.All(choice.GroupBy(row => row[^9]), seed => Assert.Equal(seed.MaxBy(row => (int.Parse(row[^7]), int.Parse(row[^8])))![^8], seed.Single(row => row[^2] == "true")[^8]));
        Dictionary<string, DateTime> written = Files("*.safetensors").Concat(Files("*.json").Where(file => file.Contains("results", StringComparison.Ordinal))).ToDictionary(file => file, File.GetLastWriteTimeUtc);

        int reports = 0;
        (IReadOnlyList<StudyResult> second, _) = StudyRun.Run(StudyRun.Names, Options, Subject.Trained(Options), folder.Path, "study {0}", Workers(1, _ => reports++), CancellationToken.None);
        Assert.Equal(0, reports);
        Assert.Equal(first.SelectMany(result => result.Findings), second.SelectMany(result => result.Findings));
        Assert.All(written, entry => Assert.Equal(entry.Value, File.GetLastWriteTimeUtc(entry.Key)));
    }

    [Fact]
    public void OnlyWhatChangesIsDoneAgain()
    {
        StudyRun.Run(["collapse"], Options, Subject.Trained(Options), folder.Path, "", Workers(2), CancellationToken.None);
        int models = Files("training.json").Length, results = Files("*.json").Length;
        StudyOptions longer = Options with { LengthFactor = 16 };
        StudyRun.Run(["collapse"], longer, Subject.Trained(longer), folder.Path, "", Workers(2), CancellationToken.None);
        Assert.Equal(models, Files("training.json").Length);
        Assert.True(Files("*.json").Length > results);
        StudyOptions other = Options with { Seeds = 3 };
        StudyRun.Run(["collapse"], other, Subject.Trained(other), folder.Path, "", Workers(2), CancellationToken.None);
        Assert.Equal(models + 1, Files("training.json").Length);
    }

    [Fact]
    public void AStudyThatWasStoppedGoesOn()
    {
        using var stop = new CancellationTokenSource();
        var scheduler = Workers(1, progress =>
        {
            if (progress.Share > 0.5)
                stop.Cancel();
        });
        Assert.ThrowsAny<OperationCanceledException>(() => StudyRun.Run(["collapse"], Options, Subject.Trained(Options), folder.Path, "", scheduler, stop.Token));
        string[] done = Files("training.json");
        Assert.NotEmpty(done);
        DateTime written = File.GetLastWriteTimeUtc(done[0]);
        StudyRun.Run(["collapse"], Options, Subject.Trained(Options), folder.Path, "", Workers(1), CancellationToken.None);
        Assert.Equal(written, File.GetLastWriteTimeUtc(done[0]));
    }

    [Fact]
    public void AFaultInAWorkerIsTheCallers()
    {
        StudyOptions wrong = Options with { Width = 15 };
        Assert.Throws<ArgumentException>(() => StudyRun.Run(["collapse"], wrong, Subject.Trained(wrong), folder.Path, "", Workers(2), CancellationToken.None));
    }

    [Fact]
    public void ResultsDoNotDependOnTheNumberOfWorkers()
    {
        string[] Values(int workers, string name)
        {
            StudyRun.Run(["collapse"], Options, Subject.Trained(Options), folder.File(name), "", Workers(workers), CancellationToken.None);
            return [File.ReadAllText(Path.Combine(folder.File(name), "collapse-loss.csv")), File.ReadAllText(Path.Combine(folder.File(name), "collapse-training.csv"))];
        }
        Assert.Equal(Values(1, "one"), Values(3, "three"));
    }

    [Fact]
    public void ModelsThatAreTrainedTogetherAreThoseTrainedAlone()
    {
        byte[][] Weights(string name, Func<int, CpuBackend> open, List<string> said)
        {
            var store = new Store(folder.File(name));
            new Scheduler(open, 1, 1, progress => said.Add(progress.Text)).Run(Options.Plans.Select(plan => new TrainingJob(plan)).Append(new TrainingJob(Options.Plans[0] with { Steps = 3 })), store, CancellationToken.None);
            return [.. Options.Plans.SelectMany(plan => plan.Checkpoints.Select(step => store.ModelFolder(plan, step)).Append(store.ModelFolder(plan))).Select(path => File.ReadAllBytes(Path.Combine(path, "model.safetensors")))];
        }
        List<string> alone = [], together = [];
        Assert.Equal(Weights("alone", threads => new CpuBackend(threads), alone), Weights("together", threads => new QueuedBackend(threads), together));
        Assert.DoesNotContain(alone, text => text.Contains("models", StringComparison.Ordinal));
        Assert.Contains(together, text => text.Contains(": 2 models, step 8/8", StringComparison.Ordinal));
        Assert.DoesNotContain(together, text => text.Contains("3 models", StringComparison.Ordinal));
    }

    private sealed class QueuedBackend(int threads) : CpuBackend(threads)
    {
        public override bool IsQueued => true;
    }

    [Fact]
    public void AProfileIsThatOfReadingAtOnce()
    {
        using var cpu = new CpuBackend();
        // So many tokens are made by several threads.
        LengthProfile whole = LengthProfile.Measure(Model(cpu), Settings() with { Prompts = 512, TokensAtOnce = 100_000 }, Context(cpu)), pieces = LengthProfile.Measure(Model(cpu), Settings(), Context(cpu));
        Assert.Equal([4, 8, 16, 32, 64, 128], whole.Ends);
        for (int prompt = 0; prompt < 3; prompt++)
        {
            MarkedToken[] tokens = [.. Options.Data.Document(Settings().Seed, (ulong)prompt).Take(129)];
            for (int bucket = 0; bucket < 6; bucket++)
            {
                int from = bucket == 0 ? 1 : (int)whole.Ends[bucket - 1] + 1;
                Assert.Equal(tokens[from..((int)whole.Ends[bucket] + 1)].Count(token => token.IsScored), whole.All[prompt][bucket].Count);
                Assert.Equal(tokens[from..((int)whole.Ends[bucket] + 1)].Count(token => token.Distance is >= 0 and <= 16), whole.Recent[prompt][bucket].Count);
                Assert.Equal(whole.All[prompt][bucket].Loss, pieces.All[prompt][bucket].Loss, 1e-4);
            }
        }
    }

    [Theory, InlineData("none"), InlineData("window=16"), InlineData("retention=0.99,insertion=0.75")]
    public void AStreamNeedsNoMoreMemoryThanAPiece(string cure)
    {
        using var cpu = new CpuBackend();
        long Peak(long length)
        {
            Mamba2Model model = Model(cpu);
            cpu.ResetPeak();
            long before = cpu.LiveBytes;
            LengthProfile.Measure(model, Settings(length) with { Prompts = 1, TokensAtOnce = 128, Cure = Cure.Parse(cure) }, Context(cpu));
            return cpu.PeakBytes - before;
        }
        Peak(256);
        Assert.Equal(Peak(512), Peak(8192));
    }

    [Fact]
    public void TheTestOfForgettingComparesTheWorstBuckets()
    {
        Tally[] Prompt(params double[] losses) => [.. losses.Select(loss => new Tally(loss * 10, 0, 10))];
        LengthProfile Of(params double[] losses) => new(16, [8, 16, 32, 64], [Prompt(losses), Prompt(losses), Prompt(losses)], [Prompt(losses), Prompt(losses), Prompt(losses)], 0);
        LengthRule collapsed = LengthRule.Of(Of(0.2, 0.4, 0.7, 3)), forgets = LengthRule.Of(Of(0.5, 1, 1.2, 1.1));
        Assert.Equal(7.5, collapsed.LossRatio.Estimate, 1e-12);
        Assert.Equal(Math.Exp(2.6), collapsed.PerplexityRatio.Estimate, 1e-9);
        Assert.Equal(Verdict.Fails, collapsed.Verdict);
        Assert.Equal(1.2, forgets.LossRatio.Estimate, 1e-12);
        Assert.Equal(Verdict.Holds, forgets.Verdict);
    }

    [Theory, InlineData(TrainingMethod.StatePassing), InlineData(TrainingMethod.Truncated), InlineData(TrainingMethod.FittedNoise), InlineData(TrainingMethod.Penalty)]
    public void EveryMethodOfTrainingIsAnotherPlan(TrainingMethod method)
    {
        TrainingPlan start = Options.Plans[0], plain = StudyOptions.After(start, TrainingMethod.Plain) with { Steps = 3 }, other = plain with { Method = method };
        Assert.NotEqual(plain.Settings, other.Settings);
        var store = new Store(folder.Path);
        Workers(1).Run([new TrainingJob(plain), new TrainingJob(other)], store, CancellationToken.None);
        byte[] Weights(TrainingPlan plan) => File.ReadAllBytes(Path.Combine(store.ModelFolder(plan), "model.safetensors"));
        Assert.NotEqual(Weights(plain), Weights(other));
        Assert.NotEqual(Weights(start), Weights(plain));
    }

    [Fact]
    public void SegmentsContinueTheirDocuments()
    {
        StudyData data = Options.Data;
        const int Rows = 4, Length = 10, Segments = 3;
        var documents = new List<int>[Rows];
        var finished = new HashSet<string>();
        for (long step = 0; step < 9; step++)
        {
            int[] inputs = data.Batch(1, step, Rows, Length, Segments).Inputs;
            int begun = 0;
            for (int row = 0; row < Rows; row++)
            {
                if (StudyData.Begins(step, row, Segments))
                {
                    begun++;
                    documents[row] = [];
                    Assert.Equal(StreamingRecall.Start, inputs[row * Length]);
                }
                documents[row].AddRange(inputs[(row * Length)..((row + 1) * Length)]);
                Assert.InRange(documents[row].Count, Length, Segments * Length);
                Assert.Equal(1, documents[row].Count(id => id == StreamingRecall.Start));
                // Values of reads are known: a document is continued by itself.
                if (documents[row].Count == Segments * Length)
                    Assert.True(finished.Add(string.Join(' ', documents[row])));
            }
            Assert.True(step == 0 ? begun == Rows : begun is 1 or 2);
        }
        Assert.Equal(data.Document(1, 4).Take(30).Select(token => token.Id), Enumerable.Range(3, 3).SelectMany(step => data.Batch(1, step, Rows, Length, Segments).Inputs[..Length]));
    }

    [Fact]
    public void PasskeysAreAnsweredGreedily()
    {
        using var cpu = new CpuBackend();
        var passkey = new RecallPasskey((StreamingRecall)Options.Data);
        (int, double)[] places = [.. PasskeyTable.Even(16, 4), .. PasskeyTable.Even(40, 4)];
        Mamba2Model model = Model(cpu);
        PasskeyTable table = PasskeyTable.Measure(model, passkey, places, 1, Context(cpu));
        Assert.Equal((4, 4), (table.Count(16).Count, table.Count(40).Count));
        Assert.Equal(2, table.Count(40, 0.5).Count);
        foreach ((PasskeyAnswer answer, int number) in table.Answers.OrderBy(answer => (answer.Length, answer.Depth)).Select((answer, i) => (answer, i)))
        {
            PasskeyPrompt prompt = passkey.Prompt(1, (ulong)number, answer.Length, answer.Depth);
            (Tensor logits, _) = model.Prefill(cpu.Tensor<int>([1, prompt.Tokens.Length], prompt.Tokens));
            double[] values = logits.ToDoubles();
            Assert.Equal(passkey.Accepts(prompt, [Array.IndexOf(values, values.Max())]), answer.Right);
            Assert.Equal(prompt.Distance, answer.Distance);
        }
    }

    [Fact]
    public void ATraceSeesEveryHead()
    {
        using var cpu = new CpuBackend();
        StateTrace trace = StateTrace.Measure(Model(cpu), Options.Data, 16, 64, 4, 2, 1, Context(cpu));
        Assert.Equal(Enumerable.Range(1, 16).Select(i => 4L * i), trace.Positions);
        Assert.Equal(4, trace.Heads.Length);
        Assert.All(trace.Heads, head => Assert.Equal(0, head.KeyDrift[0]));
        Assert.All(trace.Heads, head => Assert.True(head.LogRetention[^1] < head.LogRetention[0] && head.LogRetention[0] < 0));
        Assert.All(trace.LateStates, state => Assert.Equal(8 * 4, state.Length));
    }

    [Fact]
    public void AModelOfTextIsAskedInText()
    {
        using var cpu = new CpuBackend();
        var text = new TextDocuments("text", "To be, or not to be, that is the question. "u8, new ScratchMamba.Tokenizers.ByteTokenizer());
        StudyOptions options = Options with { Data = text, PasskeySamples = 1, Prompts = 2 };
        ScratchMamba.Checkpoints.Checkpoint.Save(new Mamba2Model(options.Config(2), cpu, seed: 1), folder.File("model"));
        Subject subject = Subject.Given(folder.File("model"), text, 16);
        (IReadOnlyList<StudyResult> results, _) = StudyRun.Run(["retention", "recall", "remembrance"], options, subject, folder.File("out"), "", Workers(1), CancellationToken.None);
        Assert.All(results, result => Assert.NotEmpty(result.Figures));
    }

    [Fact]
    public void AGivenModelIsStudiedAsItIs()
    {
        using var cpu = new CpuBackend();
        ScratchMamba.Checkpoints.Checkpoint.Save(Model(cpu), folder.File("model"));
        Subject subject = Subject.Given(folder.File("model"), Options.Data, 16);
        (IReadOnlyList<StudyResult> results, _) = StudyRun.Run(["collapse", "cures"], Options, subject, folder.File("out"), "", Workers(1), CancellationToken.None);
        Assert.Empty(Files("training.json"));
        Assert.All(results.SelectMany(result => result.Findings), finding => Assert.DoesNotContain("E9", finding.Experiment, StringComparison.Ordinal));
        Assert.Throws<ArgumentException>(() => Subject.Given(folder.File("model"), new StreamingRecall(), 16));
    }

    [Fact]
    public void WhatIsLearnedInEachStageIsInItsPlan()
    {
        IReadOnlyList<TrainingPlan> seen = Options.PasskeyPlans((16, 1, 4), 1), unseen = Options.PasskeyPlans((16, 1, 4), 1, isTrainedOn: false);
        Assert.All(seen, plan => Assert.True(plan.ScoredOnly && plan.Data is PasskeyDocuments));
        Assert.All(unseen, plan => Assert.IsType<RecordDocuments>(plan.Data));
        Assert.Equal([false, true, true], unseen.Select(plan => plan.ScoredOnly));
        Assert.Equal([TrainingMethod.Plain, TrainingMethod.StatePassing, TrainingMethod.Truncated], unseen.Select(plan => plan.Method));
        ScratchMamba.Tokenizers.BpeTokenizer vocabulary = ScratchMamba.Tokenizers.BpeTrainer.Train("the one the other the next"u8, 260);
        var prose = new Prose("words", System.Text.Encoding.UTF8.GetBytes(string.Join('\n', Enumerable.Range(0, 26).Select(i => $"word{(char)('a' + i)}"))), vocabulary);
        IReadOnlyList<TrainingPlan> inTokens = (Options with { Tokenizer = vocabulary, Prose = prose }).PasskeyPlans((16, 1, 4), 1, isTrainedOn: false);
        Assert.All(inTokens, plan => Assert.Equal(vocabulary.VocabularySize, plan.Config.VocabularySize));
        Assert.NotEqual(unseen[^1].Settings, inTokens[^1].Settings);
        Assert.NotEqual(unseen[^1].Settings, (Options with { Precision = MatMulPrecision.Bfloat16 }).PasskeyPlans((16, 1, 4), 1, isTrainedOn: false)[^1].Settings);
    }
}
