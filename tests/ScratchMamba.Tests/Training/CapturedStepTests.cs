using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

public class CapturedStepTests
{
    private static readonly Mamba2Config Config = new() { VocabularySize = 32, Layers = 2, Width = 16, StateSize = 8, HeadSize = 8, ChunkSize = 8 };

    private static TokenBatch Batch(long step, int length, bool documents = false)
    {
        var random = new Random((int)step);
        int[] tokens = [.. Enumerable.Range(0, 2 * length + 1).Select(_ => random.Next(32))];
        return new TokenBatch(tokens[..^1], tokens[1..]) { Documents = documents ? [.. Enumerable.Range(0, 2 * length).Select(i => i % length / 5)] : null };
    }

    [Theory]
    [InlineData(false, 0, MatMulPrecision.Full)]
    [InlineData(true, 2, MatMulPrecision.Full)]
    [InlineData(true, 2, MatMulPrecision.Bfloat16)]
    [InlineData(false, 2, MatMulPrecision.Float16)]
    public void CapturedStepsHaveTheBitsOfTheOthers(bool documents, int measureEvery, MatMulPrecision precision)
    {
        using var cpu = new CpuBackend();
        var schedule = new LearningRateSchedule(1e-2, 6, 2, LearningRateDecay.Cosine);
        var model = new Mamba2Model(Config, cpu, seed: 3) { Precision = precision };
        using var trainer = new Trainer(model, step => Batch(step, 24, documents), 24, schedule);
        trainer.Optimizer.MeasureEvery = measureEvery;

        var twin = new Mamba2Model(Config, cpu, seed: 3) { Precision = precision };
        var optimizer = new AdamWOptimizer(twin, new AdamWSettings()) { MeasureEvery = measureEvery };
        for (int step = 0; step < schedule.Steps; step++)
        {
            StepReport report = trainer.Step();
            using var scope = new Scope();
            Tensor loss = Trainer.Loss(twin, Batch(step, 24, documents), 24);
            Assert.Equal(loss.Item(), report.Loss);
            double scale = report.LossScale ?? 1;
            Assert.Equal(optimizer.Step(loss.Backward(cpu.Full(loss.Type, scale)), schedule[step], scale), report.GradientNorm);
            Assert.Equal(optimizer.UpdateNorm, trainer.Optimizer.UpdateNorm);
            Assert.Equal(optimizer.ParameterNorm, trainer.Optimizer.ParameterNorm);
            Assert.All(model.Parameters().Zip(twin.Parameters()), pair => Assert.Equal(pair.Second.Parameter.Value.ToArray<float>(), pair.First.Parameter.Value.ToArray<float>()));
        }
    }

    [Fact]
    public void BatchesOfAnotherShapeAreCapturedAnew()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 3);
        long before = cpu.LiveBytes;
        var trainer = new Trainer(model, step => step == 1 ? new TokenBatch(Batch(1, 24).Inputs[..24], Batch(1, 24).Labels[..24]) : Batch(step, 24), 24, new LearningRateSchedule(1e-2, 6, 0, LearningRateDecay.Constant));
        double[] losses = [.. Enumerable.Range(0, 3).Select(_ => trainer.Step().Loss)];
        Assert.All(losses, loss => Assert.InRange(loss, 2, 5));
        trainer.Dispose();
        // The moments are what stays.
        Assert.Equal(before + 2 * 4 * model.ParameterCount, cpu.LiveBytes);
    }

    [Fact]
    public void StepsAfterTheFirstAllocateNothingButTheirReports()
    {
        using var cpu = new CpuBackend(threads: 1);
        var model = new Mamba2Model(Config, cpu, seed: 3);
        TokenBatch batch = Batch(0, 24);
        using var trainer = new Trainer(model, _ => batch, 24, new LearningRateSchedule(1e-2, 100, 0, LearningRateDecay.Constant));
        for (int i = 0; i < 3; i++)
            trainer.Step();
        long native = cpu.LiveBytes, least = long.MaxValue;
        // A collection for other tests in between charges this thread with all of its allocation context, 8 KB: the round without one counts.
        for (int round = 0; round < 5; round++)
        {
            long managed = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 10; i++)
                trainer.Step();
            least = Math.Min(least, (GC.GetAllocatedBytesForCurrentThread() - managed) / 10);
        }
        Assert.Equal(native, cpu.LiveBytes);
        Assert.InRange(least, 0, 200);
    }

    [Fact]
    public void ModelsOfAnEnsembleAreTrainedAsAlone()
    {
        using var cpu = new CpuBackend();
        EnsemblesAreTrainedAsAlone(cpu);
    }

    [Fact]
    public void AModelThatFailsStopsAnEnsembleBeforeAnythingChanges()
    {
        using var cpu = new CpuBackend();
        Trainer Make(double first) => new(new Mamba2Model(Config, cpu, seed: 3), step => Batch(step, 24), 24, new LearningRateSchedule(first, 6, 0, LearningRateDecay.Constant));
        using Trainer good = Make(1e-2), bad = Make(1e-2), measured = Make(1e-2);
        bad.Model.Parameters().First().Parameter.Value.Write<float>(Enumerable.Repeat(float.NaN, (int)bad.Model.Parameters().First().Parameter.Count).ToArray());
        float[] before = good.Model.Parameters().First().Parameter.Value.ToArray<float>();
        using var ensemble = new Ensemble([good, bad]);
        Assert.Contains("model 1", Assert.Throws<NumericalException>(() => ensemble.Step()).Message, StringComparison.Ordinal);
        Assert.Equal(before, good.Model.Parameters().First().Parameter.Value.ToArray<float>());
        Assert.Equal(0, good.Optimizer.Updates);
        measured.Optimizer.MeasureEvery = 1;
        using var other = new Ensemble([good, measured]);
        Assert.Throws<InvalidOperationException>(() => other.Step());
    }

    [Fact]
    public void AStepThatIsNotFiniteChangesNothing()
    {
        using var cpu = new CpuBackend();
        NothingChangesByAStepThatIsNotFinite(cpu);
    }

    internal static void NothingChangesByAStepThatIsNotFinite(Backend backend)
    {
        using var scope = new Scope();
        Trainer Make() => new(new Mamba2Model(Config, backend, seed: 3), step => Batch(step, 24), 24, new LearningRateSchedule(1e-2, 6, 0, LearningRateDecay.Constant));
        using Trainer disturbed = Make(), other = Make();
        disturbed.Step();
        Tensor first = disturbed.Model.Parameters().First().Parameter.Value;
        float[] values = first.ToArray<float>();
        first.Write<float>([.. values[..^1], float.PositiveInfinity]);
        float[][] before = [.. disturbed.Model.Parameters().Select(entry => entry.Parameter.Value.ToArray<float>())];
        Assert.Throws<NumericalException>(() => disturbed.Step());
        Assert.Equal(before, disturbed.Model.Parameters().Select(entry => entry.Parameter.Value.ToArray<float>()));
        // Moments and the number of updates are as they were, too.
        first.Write<float>(values);
        other.Step();
        for (int step = 1; step < 4; step++)
            Assert.Equal(other.Step() with { Seconds = 0, Waited = 0 }, disturbed.Step() with { Seconds = 0, Waited = 0 });
        Assert.All(disturbed.Model.Parameters().Zip(other.Model.Parameters()), pair => Assert.Equal(pair.Second.Parameter.Value.ToArray<float>(), pair.First.Parameter.Value.ToArray<float>()));
    }

    internal static void EnsemblesAreTrainedAsAlone(Backend backend)
    {
        using var scope = new Scope();
        const int Steps = 4;
        (int Width, int State, int Length, ulong Seed)[] kinds = [(16, 8, 24, 1), (16, 8, 24, 2), (32, 4, 12, 1)];
        Trainer[] Make() =>
        [
            .. kinds.Select(kind => new Trainer(
                new Mamba2Model(Config with { Width = kind.Width, StateSize = kind.State }, backend, seed: kind.Seed), step => Batch(step + (long)kind.Seed, kind.Length), kind.Length,
                new LearningRateSchedule(1e-2, Steps, 1, LearningRateDecay.Cosine))),
        ];
        Trainer[] together = Make(), alone = Make();
        using var ensemble = new Ensemble(together);
        for (int step = 0; step < Steps; step++)
        {
            StepReport[] reports = ensemble.Step();
            foreach ((StepReport report, Trainer trainer) in reports.Zip(alone))
                Assert.Equal(trainer.Step() with { Seconds = 0, Waited = 0 }, report with { Seconds = 0 });
        }
        foreach ((Trainer one, Trainer other) in together.Zip(alone))
            Assert.All(one.Model.Parameters().Zip(other.Model.Parameters()), pair => Assert.Equal(pair.Second.Parameter.Value.ToArray<float>(), pair.First.Parameter.Value.ToArray<float>()));
        foreach (Trainer trainer in together.Concat(alone))
            trainer.Dispose();
    }
}
