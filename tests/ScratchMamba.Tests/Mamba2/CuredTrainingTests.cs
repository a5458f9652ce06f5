using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Cures in training: carried states, noise, and penalties.</summary>
public sealed class CuredTrainingTests : IDisposable
{
    private const int Rows = 2, Length = 12;

    private readonly CpuBackend cpu = new();
    private readonly Scope scope = new();

    public void Dispose()
    {
        scope.Dispose();
        cpu.Dispose();
    }

    [Fact]
    public void CarriedStatesAreThoseOfTheWholeText()
    {
        // With a learning rate of 0 the segments' losses are those of one long text.
        Mamba2Model model = Samples.Model("plain", cpu);
        int[] tokens = Samples.Tokens(Rows * 5 * Length + 1);
        TokenBatch Segment(long step)
        {
            int[] At(int offset) => [.. Enumerable.Range(0, Rows).SelectMany(row => tokens.Skip(row * 5 * Length + (int)step * Length + offset).Take(Length))];
            return new TokenBatch(At(0), At(1));
        }
        Tensor all = cpu.Tensor<int>([Rows, 5 * Length], tokens[..^1]), labels = cpu.Tensor<int>([Rows, 5 * Length], tokens[1..]);
        double[] expected = model.Losses(all, labels).ToDoubles();
        using var carried = new CarriedStates(model);
        long before = cpu.LiveBytes;
        Trainer trainer = Trainer(model, Segment, rate: 0, carried);
        for (int step = 0; step < 5; step++)
        {
            double mean = Enumerable.Range(0, Rows * Length).Average(i => expected[i / Length * 5 * Length + step * Length + i % Length]);
            Assert.Equal(mean, trainer.Step().Loss, 1e-12);
        }
        // One state and the optimizer's moments remain.
        long state = 8 * Rows * model.Config.StateCount, moments = 2 * 8 * model.ParameterCount;
        Assert.Equal(before + state + moments, cpu.LiveBytes);
    }

    [Fact]
    public void NoGradientPassesFromOneSegmentToTheNext()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        TokenBatch batch = Batch();
        Tensor inputs = cpu.Tensor<int>([Rows, Length], batch.Inputs), labels = cpu.Tensor<int>([Rows, Length], batch.Labels);
        Mamba2State state = model.Forward(inputs).State.Detach();
        Gradients expected = model.Losses(inputs, labels, state).MeanOverLabels(labels).Backward();
        double norm = Math.Sqrt(model.Parameters().Sum(entry => expected[entry.Parameter.Value].ToDoubles().Sum(x => x * x)));
        using var carried = new CarriedStates(model);
        Trainer trainer = Trainer(model, _ => batch, rate: 0, carried);
        trainer.Step();
        Assert.Equal(norm, trainer.Step().GradientNorm, 1e-10);
    }

    [Fact]
    public void RowsAreEmptiedWithTheirProbability()
    {
        Mamba2Model model = Samples.Model("a learned initial state", cpu);
        const int Many = 400;
        using var carried = new CarriedStates(model, emptyProbability: 0.3, seed: 5);
        Assert.Null(carried.Before(0, Many));
        (_, Mamba2State last) = model.Forward(cpu.Tensor<int>([Many, 3], Samples.Tokens(3 * Many)));
        carried.After(last.Detach());
        Mamba2State begun = carried.Before(1, Many)!, empty = model.EmptyState(Many);
        int emptied = 0;
        for (int row = 0; row < Many; row++)
        {
            bool isEmpty = Row(begun, row).SequenceEqual(Row(empty, row));
            Assert.True(isEmpty || Row(begun, row).SequenceEqual(Row(last, row)));
            emptied += isEmpty ? 1 : 0;
        }
        Assert.InRange(emptied / (double)Many, 0.3 - 4 * 0.023, 0.3 + 4 * 0.023);
        Assert.Equal(Row(begun, 3), Row(carried.Before(1, Many)!, 3));
        Assert.Null(carried.Before(1, Many - 1));

        static double[] Row(Mamba2State state, int row) => [.. state.Tensors.SelectMany(tensor => tensor.Slice(0, row, 1).ToDoubles())];
    }

    [Fact]
    public void NoiseIsFittedToTheLastStates()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        const int Many = 200;
        var fitted = new FittedNoise(model, seed: 3);
        Assert.Null(fitted.Before(0, Many));
        (_, Mamba2State last) = model.Forward(cpu.Tensor<int>([Many, 9], Samples.Tokens(9 * Many)));
        fitted.After(last);
        Mamba2State noise = fitted.Before(1, Many)!;
        Assert.All(noise.Layers, layer => Assert.All(layer.Convolution.ToDoubles(), x => Assert.Equal(0, x)));
        for (int layer = 0; layer < 2; layer++)
        {
            for (int head = 0; head < 4; head++)
            {
                double[] seen = Head(last, layer, head), drawn = Head(noise, layer, head);
                double mean = seen.Average(), deviation = Math.Sqrt(seen.Average(x => (x - mean) * (x - mean))), error = deviation / Math.Sqrt(drawn.Length);
                Assert.Equal(mean, fitted.MomentsOf(layer, head)!.Value.Mean, 1e-12);
                Assert.Equal(deviation, fitted.MomentsOf(layer, head)!.Value.Deviation, 1e-12);
                Assert.InRange(drawn.Average(), mean - 5 * error, mean + 5 * error);
                Assert.InRange(Math.Sqrt(drawn.Average(x => (x - mean) * (x - mean))) / deviation, 0.95, 1.05);
            }
        }
        Assert.NotEqual(Head(noise, 0, 0), Head(fitted.Before(2, Many)!, 0, 0));
        Assert.InRange(Math.Sqrt(Head(new RandomNoise(model, 0.5).Before(0, Many)!, 1, 2).Average(x => x * x)), 0.48, 0.52);

        static double[] Head(Mamba2State state, int layer, int head) => state.Layers[layer].Recurrent.Slice(1, head, 1).ToDoubles();
    }

    [Theory, InlineData(false), InlineData(true)]
    public void PenaltiesAreTheirDefinition(bool recomputes)
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        model.RecomputedLayers = recomputes ? int.MaxValue : 0;
        TokenBatch batch = Batch();
        var reference = new SequentialReference(model);
        (_, Mamba2State middle) = reference.Forward(Half(0), Rows);
        (_, Mamba2State last) = reference.Forward(Half(1), Rows, middle);
        double expected = 0;
        for (int layer = 0; layer < 2; layer++)
        {
            double[] logs = reference.History(layer).Aggregate(new double[Rows * 4], (sum, token) => [.. sum.Zip(token.Decay.ToDoubles(), (s, d) => s + Math.Log(d))]);
            double[][] before = [.. middle.Layers[layer].Recurrent.ToDoubles().Chunk(30)], after = [.. last.Layers[layer].Recurrent.ToDoubles().Chunk(30)];
            for (int i = 0; i < logs.Length; i++)
            {
                double retention = Math.Max(0, logs[i] - Math.Log(0.3)), growth = Math.Max(0, Math.Log(Norm(after[i]) / Norm(before[i])));
                expected += (2 * retention * retention + 0.7 * growth * growth) / Rows;
            }
        }
        Trainer trainer = Trainer(model, _ => batch, rate: 0, null, new ForgettingPenalty(2, 0.7, 0.3));
        StepReport report = trainer.Step();
        Assert.True(expected > 0.1);
        // A little is added to norms before the logarithm.
        Assert.Equal(expected, report.Penalty, 1e-7 * expected);
        Assert.False(model.TracksRetention);
        Assert.Equal(model.Losses(cpu.Tensor<int>([Rows, Length], batch.Inputs), cpu.Tensor<int>([Rows, Length], batch.Labels)).ToDoubles().Average(), report.Loss, 1e-12);

        int[] Half(int which) => [.. Enumerable.Range(0, Rows).SelectMany(row => batch.Inputs.Skip(row * Length + which * Length / 2).Take(Length / 2))];

        static double Norm(double[] state) => Math.Sqrt(state.Sum(x => x * x));
    }

    [Fact]
    public void APenaltyTeachesToForget()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        Trainer trainer = Trainer(model, _ => Batch(), rate: 0.02, null, new ForgettingPenalty(1, 0.1));
        double first = trainer.Step().Penalty, last = 0;
        for (int step = 0; step < 40; step++)
            last = trainer.Step().Penalty;
        Assert.True(last < 0.3 * first, $"{first} to {last}");
    }

    private static TokenBatch Batch() => new(Samples.Tokens(Rows * Length), Samples.Tokens(Rows * Length, seed: 4));

    private static Trainer Trainer(Mamba2Model model, Func<long, TokenBatch> batches, double rate, InitialStates? states, ForgettingPenalty? penalty = null) =>
        new(model, batches, Length, new LearningRateSchedule(rate, 100, 0, LearningRateDecay.Constant)) { InitialStates = states, Penalty = penalty };
}
