using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

public class TrainerTests
{
    private static readonly Mamba2Config Config = new() { VocabularySize = 32, Width = 32, Layers = 2, StateSize = 8, HeadSize = 16 };

    private static readonly int[] Tokens = [.. Enumerable.Range(0, 2000).Select(i => (i * i + i / 7) % 32)];

    private static Trainer Start(Backend backend, Func<long, TokenBatch> batches, int length, double rate = 5e-3, int steps = 100, int accumulation = 1, AdamWSettings? settings = null) =>
        new(new Mamba2Model(Config, backend, seed: 1), batches, length, new LearningRateSchedule(rate, steps, 5, LearningRateDecay.Constant), settings, accumulation);

    [Fact]
    public void OneBatchCanBeLearntByHeart()
    {
        using var cpu = new CpuBackend();
        TokenBatch batch = new TokenBatches(Tokens, 2, 40, seed: 0)[0];
        Trainer trainer = Start(cpu, _ => batch, 40, steps: 150);
        double first = trainer.Step().Loss;
        double last = first;
        while (trainer.StepsDone < 150)
            last = trainer.Step().Loss;
        Assert.InRange(first, 0.9 * Math.Log(32), 1.2 * Math.Log(32));
        Assert.InRange(last, 0, 0.05);
    }

    [Fact]
    public void TrainingIsTheSameBitForBitForAnyNumberOfThreads()
    {
        double[] Losses(int threads)
        {
            using var cpu = new CpuBackend(threads);
            var batches = new TokenBatches(Tokens, 4, 65, seed: 3);
            Trainer trainer = Start(cpu, step => batches[step], 65);
            return [.. Enumerable.Range(0, 6).Select(_ => trainer.Step().Loss)];
        }
        double[] one = Losses(1);
        Assert.Equal(one, Losses(1));
        Assert.Equal(one, Losses(2));
        Assert.Equal(one, Losses(3));
    }

    [Fact]
    public void AccumulatedBatchesAreOneLargeBatch()
    {
        using var cpu = new CpuBackend();
        var batches = new TokenBatches(Tokens, 2, 30, seed: 3);
        TokenBatch a = batches[0], b = batches[1];
        var both = new TokenBatch([.. a.Inputs, .. b.Inputs], [.. a.Labels, .. b.Labels]);
        StepReport large = Start(cpu, _ => both, 30).Step();
        StepReport accumulated = Start(cpu, step => step == 0 ? a : b, 30, accumulation: 2).Step();
        Assert.Equal(large.Loss, accumulated.Loss, 1e-6);
        Assert.Equal(large.GradientNorm, accumulated.GradientNorm, 1e-5);
    }

    [Theory, InlineData(1), InlineData(7), InlineData(59)]
    public void LogitsInBlocksGiveTheSameLossAndGradients(int rowsAtOnce)
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        TokenBatch batch = new TokenBatches(Tokens, 2, 30, seed: 3)[0];
        batch.Labels[5] = -100;
        var model = new Mamba2Model(Config, cpu, DType.F64, seed: 1);
        Tensor whole = Trainer.Loss(model, batch, 30);
        Gradients expected = whole.Backward();
        model.LogitsBytes = rowsAtOnce * 32 * 8;
        Tensor blocks = Trainer.Loss(model, batch, 30);
        Gradients actual = blocks.Backward();
        Assert.Equal(whole.Item(), blocks.Item(), 1e-14);
        foreach ((_, Parameter parameter) in model.Parameters())
            Assert.InRange(RelativeError.Of(actual[parameter.Value].ToDoubles(), expected[parameter.Value].ToDoubles()), 0, 1e-13);
    }

    [Fact]
    public void StepsAfterTheFirstAllocateNothing()
    {
        using var cpu = new CpuBackend();
        var batches = new TokenBatches(Tokens, 2, 30, seed: 3);
        Trainer trainer = Start(cpu, step => batches[step], 30);
        trainer.Step();
        long live = cpu.LiveCount, bytes = cpu.LiveBytes;
        cpu.ResetPeak();
        trainer.Step();
        long peak = cpu.PeakBytes;
        for (int i = 0; i < 5; i++)
            trainer.Step();
        Assert.Equal((live, bytes, peak), (cpu.LiveCount, cpu.LiveBytes, cpu.PeakBytes));
    }

    [Fact]
    public void ClippingBoundsTheUpdateAndReportsTheNormBefore()
    {
        using var cpu = new CpuBackend();
        var batches = new TokenBatches(Tokens, 2, 30, seed: 3);
        StepReport free = Start(cpu, step => batches[step], 30, settings: new AdamWSettings(ClipNorm: double.PositiveInfinity)).Step();
        StepReport clipped = Start(cpu, step => batches[step], 30, settings: new AdamWSettings(ClipNorm: 1e-3)).Step();
        Assert.Equal(free.GradientNorm, clipped.GradientNorm);
    }

    [Fact]
    public void ALossThatIsNotFiniteStopsBeforeAnythingChanges()
    {
        using var cpu = new CpuBackend();
        var batches = new TokenBatches(Tokens, 2, 30, seed: 3);
        var model = new Mamba2Model(Config, cpu, seed: 1);
        Parameter norm = model.Parameters().Single(entry => entry.Path == "backbone.norm_f.weight").Parameter;
        norm.Value.Write<float>([float.NaN, .. new float[31]]);
        var before = model.Parameters().Select(entry => entry.Parameter.Value.ToArray<float>()).ToArray();
        using var trainer = new Trainer(model, step => batches[step], 30, new LearningRateSchedule(1e-3, 10, 0, LearningRateDecay.Constant));
        Assert.Contains("step 1", Assert.Throws<NumericalException>(() => trainer.Step()).Message);
        Assert.Equal(before, model.Parameters().Select(entry => entry.Parameter.Value.ToArray<float>()).ToArray());
    }

    [Fact]
    public void TheGroupsSayWhatDecays()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu);
        var groups = new AdamWOptimizer(model, new AdamWSettings()).Groups.ToArray();
        Assert.Equal([true, false], groups.Select(group => group.WeightDecay > 0));
        Assert.Equal(model.ParameterCount, groups.Sum(group => group.Count));
        Assert.Contains("backbone.layers.0.mixer.in_proj.weight", groups[0].Paths);
        Assert.Contains("backbone.layers.0.mixer.A_log", groups[1].Paths);
        Assert.Single(new AdamWOptimizer(model, new AdamWSettings(DecaysEverything: true)).Groups);
    }

    [Fact]
    public void EvaluationCountsEveryTokenOnceWhateverTheWindow()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 1);
        int[] text = Tokens[..203];
        Evaluation whole = Evaluator.Evaluate(model, text, 1000);
        Assert.Equal(202, whole.Tokens);
        Assert.Equal(202, Evaluator.Evaluate(model, text, 7, rows: 3).Tokens);
        // A window of one token is a model that sees only that token.
        Evaluation single = Evaluator.Evaluate(model, text, 1);
        Assert.NotEqual(whole.Loss, single.Loss);
        Assert.Equal(whole.Loss / Math.Log(2), whole.BitsPerByte(202), 1e-12);
        Assert.Throws<ArgumentException>(() => Evaluator.Evaluate(model, [1], 8));
    }

    [Fact]
    public void StatesInFewBitsAreRoundedAfterEveryTokenThatEvaluationReads()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 1);
        Evaluation exact = Evaluator.Evaluate(model, Tokens[..203], 40, rows: 3);
        double[] changes = [.. new[] { DType.BF16, DType.F16 }.Select(type =>
        {
            model.StateType = type;
            Evaluation rounded = Evaluator.Evaluate(model, Tokens[..203], 40, rows: 3);
            Assert.Equal(exact.Tokens, rounded.Tokens);
            return Math.Abs(rounded.Loss - exact.Loss);
        })];
        // By 2⁻⁹ and 2⁻¹² of a state, which is a small part of what a logit is made from.
        Assert.InRange(changes[0], 1e-9, 1e-3);
        Assert.InRange(changes[1], 1e-10, changes[0]);
    }
}

public class LearningRateScheduleTests
{
    [Fact]
    public void TheWarmUpRisesLinearlyToThePeak()
    {
        var schedule = new LearningRateSchedule(2, 100, 10, LearningRateDecay.Constant);
        Assert.Equal(0.2, schedule[0], 1e-12);
        Assert.Equal(2, schedule[9], 1e-12);
        Assert.Equal(2, schedule[99]);
        Assert.Equal(2, new LearningRateSchedule(2, 100, 0, LearningRateDecay.Constant)[0]);
    }

    [Fact]
    public void TheCosineFallsToATenth()
    {
        var schedule = new LearningRateSchedule(2, 110, 10, LearningRateDecay.Cosine);
        Assert.Equal(2, schedule[10], 1e-12);
        Assert.Equal(1.1, schedule[60], 1e-12);
        Assert.Equal(0.2, schedule[110], 1e-12);
        Assert.Equal(0.2, schedule[500], 1e-12);
    }

    [Fact]
    public void WarmupStableDecayFallsOverTheLastTenth()
    {
        var schedule = new LearningRateSchedule(2, 100, 10, LearningRateDecay.WarmupStableDecay);
        Assert.Equal(2, schedule[50]);
        Assert.Equal(2, schedule[90], 1e-12);
        Assert.Equal(1, schedule[95], 1e-12);
        Assert.Equal(0.2, schedule[99], 1e-12);
    }
}
