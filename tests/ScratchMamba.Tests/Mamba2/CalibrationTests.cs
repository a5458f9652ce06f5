using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>What cures measure on text before they are applied.</summary>
public sealed class CalibrationTests : IDisposable
{
    private const int Rows = 3, Length = 30;

    private readonly CpuBackend cpu = new();
    private readonly Scope scope = new();

    public void Dispose()
    {
        scope.Dispose();
        cpu.Dispose();
    }

    [Fact]
    public void NormsAreThoseOfTheLastStates()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        Tensor tokens = cpu.Tensor<int>([Rows, Length], Samples.Tokens(Rows * Length));
        (_, Mamba2State last) = model.Forward(tokens);
        model.Cure = new Cure { Retention = 0.5 };
        Cure cure = Cure.Parse("norm=2x@8").Calibrated(model, tokens);
        Assert.Equal(0.5, model.Cure.Retention[0]);
        for (int layer = 0; layer < 2; layer++)
        {
            double[][] heads = [.. last.Layers[layer].Recurrent.ToDoubles().Chunk(30)];
            double[] caps = cure.Normalization!.CapsOf(layer, 4);
            for (int head = 0; head < 4; head++)
                Assert.Equal(2 * Enumerable.Range(0, Rows).Average(row => Math.Sqrt(heads[row * 4 + head].Sum(x => x * x))), caps[head], 1e-12);
        }
        model.Cure = cure;
        Assert.False(cure.NeedsCalibration);
        Assert.Equal("norm=2x@8", cure.ToString());
    }

    [Fact]
    public void AFilteredTextDecaysAsMuchAsOneOfTheTrainingLength()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        Tensor tokens = cpu.Tensor<int>([1, Length], Samples.Tokens(Length));
        Cure cure = Cure.Parse("filter=120:0.0001").Calibrated(model, tokens);
        Observation[] seen = new Observation[2];
        model.Observer = new Watch((layer, observation) => seen[layer] = observation);
        model.Forward(tokens);
        int filtering = 0;
        for (int layer = 0; layer < 2; layer++)
        {
            double[] steps = seen[layer].TimeStep.ToDoubles(), rates = seen[layer].A.ToDoubles();
            for (int head = 0; head < 4; head++)
            {
                double[] own = [.. steps.Where((_, i) => i % 4 == head).OrderDescending()];
                double threshold = cure.Filter!.Thresholds![layer][head];
                if (Math.Exp(own.Sum() * rates[head]) <= 0.0001)
                {
                    Assert.Equal(0, threshold);
                    continue;
                }
                filtering++;
                // Four times as many tokens of the same steps, of which those above the threshold sum to what all do at the training length; the largest tenth counts as its least.
                double[] clamped = [.. own.Select(step => Math.Min(step, own[2]))];
                Assert.InRange(4 * clamped.Where(step => step > threshold).Sum() / clamped.Sum(), 0.8, 1.2);
            }
        }
        Assert.True(filtering > 0);
        Assert.All(Calibration.FilterThresholds(model, tokens, new TokenFilter(Length, 0)).SelectMany(heads => heads), threshold => Assert.Equal(0, threshold));
        Assert.All(Calibration.FilterThresholds(model, tokens, new TokenFilter(4 * Length, 0.999)).SelectMany(heads => heads), threshold => Assert.Equal(0, threshold));
    }

    [Fact]
    public void TheSearchFindsAMinimum()
    {
        double[] target = [0.3, 1.7, 1];
        var settings = new SpsaSettings { Steps = 400, LearningRate = 0.2, Seed = 3 };
        (double[] point, double value) = Spsa.Minimize(s => s.Zip(target, (x, y) => (x - y) * (x - y)).Sum(), [1, 1, 1], settings);
        Assert.InRange(value, 0, 1e-3);
        Assert.Equal(target, point, (x, y) => Math.Abs(x - y) < 0.03);
        Assert.Equal(point, Spsa.Minimize(s => s.Zip(target, (x, y) => (x - y) * (x - y)).Sum(), [1, 1, 1], settings).Point);

        (double[] least, _) = Spsa.Minimize(s => s.Sum(), [0.5, 0.5], new SpsaSettings { Steps = 30, LearningRate = 1 });
        Assert.All(least, x => Assert.Equal(0.01, x));
    }

    [Fact]
    public void FactorsForEveryLayerNeverLoseToNone()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        Tensor tokens = cpu.Tensor<int>([Rows, Length], Samples.Tokens(Rows * Length)), labels = cpu.Tensor<int>([Rows, Length], Samples.Tokens(Rows * Length, seed: 8));
        double Loss(Mamba2Model measured)
        {
            using var inner = new Scope();
            return measured.Losses(tokens, labels).ToDoubles().Average();
        }
        double without = Loss(model);
        (Cure cure, double loss) = Calibration.Factors(model, factors => new Cure { TimeStep = factors }, Loss, new SpsaSettings { Steps = 10, LearningRate = 0.5 });
        Assert.True(loss < without);
        Assert.Equal(2, cure.TimeStep.Count);
        Assert.Same(cure, model.Cure);
        Assert.Equal(loss, Loss(model));
    }

    private sealed class Watch(Action<int, Observation> observe) : IObserver
    {
        public void Observe(int layer, Observation observation) => observe(layer, observation);
    }
}
