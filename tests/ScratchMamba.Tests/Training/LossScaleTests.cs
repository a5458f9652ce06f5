using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

/// <summary>Training with activations of float16.</summary>
public class LossScaleTests
{
    private const int Length = 32;

    private static readonly Mamba2Config Config = new() { VocabularySize = 24, Width = 32, Layers = 2, StateSize = 16, HeadSize = 16, ChunkSize = 16 };

    /// <summary>A cycle of letters that is left at random now and then: not to be known by heart.</summary>
    private static readonly int[] Tokens = Walk(new Random(5));

    private static int[] Walk(Random random)
    {
        var tokens = new int[8000];
        for (int i = 1; i < tokens.Length; i++)
            tokens[i] = random.Next(5) == 0 ? random.Next(24) : (tokens[i - 1] * 7 + 3) % 24;
        return tokens;
    }

    private static Trainer Start(Backend backend, MatMulPrecision precision, int steps, LossScale? scale = null, int accumulation = 1)
    {
        var batches = new TokenBatches(Tokens[..7000], 8, Length, seed: 3);
        var model = new Mamba2Model(Config, backend, seed: 2) { Precision = precision };
        return new Trainer(model, number => batches[number], Length, new LearningRateSchedule(1e-2, steps, 5, LearningRateDecay.Cosine), accumulation: accumulation) { LossScale = scale ?? new LossScale() };
    }

    [Fact]
    public void ATrainingEndsWhereThatInFloat32Does()
    {
        using var cpu = new CpuBackend();
        double exact = HeldOut(MatMulPrecision.Full), half = HeldOut(MatMulPrecision.Float16);
        // Guessing is 3.18; the source itself has 1.13.
        Assert.InRange(exact, 1.0, 1.5);
        Assert.InRange(half / exact, 0.99, 1.01);

        double HeldOut(MatMulPrecision precision)
        {
            using Trainer trainer = Start(cpu, precision, steps: 80);
            for (int i = 0; i < 80; i++)
                trainer.Step();
            using var scope = new Scope();
            return Trainer.Loss(trainer.Model, new TokenBatch(Tokens[7000..7960], Tokens[7001..7961]), Length).Item();
        }
    }

    [Theory, InlineData(1), InlineData(2)]
    public void AnOverflowHalvesTheScaleAndChangesNothingElse(int accumulation)
    {
        using var cpu = new CpuBackend();
        var scale = new LossScale { Patience = 1 };
        using Trainer trainer = Start(cpu, MatMulPrecision.Float16, 100, scale, accumulation);
        float[] before = [];
        StepReport report = default;
        // Doubled after every step, it overflows before long.
        for (int i = 0; i < 20 && report.Skipped is null; i++)
        {
            before = Weights(trainer);
            Assert.Equal(scale.Value, (report = trainer.Step()).LossScale);
        }
        Assert.Contains("float16", report.Skipped, StringComparison.Ordinal);
        Assert.Equal(before, Weights(trainer));
        Assert.Equal(report.LossScale / 2, scale.Value);
        Assert.Equal((double.NaN, report.Step), (report.GradientNorm, trainer.StepsDone));
        Assert.Null(trainer.Step().Skipped);
        Assert.NotEqual(before, Weights(trainer));
    }

    [Fact]
    public void TheScaleGrowsWithPatienceAndStaysWithinItsBounds()
    {
        var scale = new LossScale { Patience = 3 };
        double first = scale.Value;
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(first, scale.Value);
            scale.Succeed();
        }
        Assert.Equal(2 * first, scale.Value);
        scale.Succeed();
        scale.Succeed();
        Assert.True(scale.Shrink());
        scale.Succeed();
        Assert.Equal(first, scale.Value);
        for (int i = 0; i < 300; i++)
            scale.Succeed();
        Assert.Equal(LossScale.Most, scale.Value);
        while (scale.Shrink())
        {
        }
        Assert.Equal(1, scale.Value);
    }

    /// <summary>What does not come from the scale is no matter of the scale.</summary>
    [Fact]
    public void AWeightThatIsNotFiniteStopsTheTraining()
    {
        using var cpu = new CpuBackend();
        using Trainer trainer = Start(cpu, MatMulPrecision.Float16, 10);
        Tensor weight = trainer.Model.Parameters().First(entry => entry.Path.EndsWith("out_proj.weight", StringComparison.Ordinal)).Parameter.Value;
        float[] values = weight.ToArray<float>();
        values[3] = float.NaN;
        weight.Write<float>(values);
        Assert.Contains("loss is NaN", Assert.Throws<NumericalException>(() => trainer.Step()).Message, StringComparison.Ordinal);
    }

    private static float[] Weights(Trainer trainer) => [.. trainer.Model.Parameters().SelectMany(entry => entry.Parameter.Value.ToArray<float>())];
}
