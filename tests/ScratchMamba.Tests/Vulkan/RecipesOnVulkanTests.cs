using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Recipes on a device do what they do on the CPU.</summary>
[Collection(nameof(VulkanCollection))]
public sealed class RecipesOnVulkanTests(VulkanFixture fixture)
{
    private const int Length = 24;

    private static readonly Mamba2Config Config = new() { VocabularySize = 32, Width = 32, Layers = 2, StateSize = 8, HeadSize = 16 };

    private static readonly TokenBatches Batches = new([.. Enumerable.Range(0, 1000).Select(i => (i * i + i / 7) % 32)], 2, Length, seed: 3);

    [Theory, InlineData(false), InlineData(true)]
    public void AStepWithGroupsAdaptersAveragesAndMeasurementsAgreesWithTheCpu(bool adapts)
    {
        using var scope = new Scope();
        using var cpu = new CpuBackend();
        var results = new List<(StepReport Report, double Update, double Noise, Dictionary<string, double[]> Means, Dictionary<string, double[]> Weights)>();
        foreach (Backend backend in new[] { cpu, (Backend)fixture.Backend })
        {
            var model = new Mamba2Model(Config, backend, seed: 1);
            if (adapts)
                model.Adapt(new LowRankAdaptation(3, 6, LowRankAdaptation.AllTargets, ""), seed: 2);
            else
                ParameterGroup.Freeze(model, "*.conv1d.*");
            var settings = new AdamWSettings { Groups = adapts ? [] : [new ParameterGroup("*.A_log", 0.5, 0.1)] };
            using var trainer = new Trainer(model, step => Batches[step], Length, new LearningRateSchedule(1e-3, 10, 0, LearningRateDecay.Linear), settings, accumulation: 2);
            trainer.Optimizer.MeasureEvery = 1;
            var average = new WeightAverage(model, 0.5);
            StepReport report = trainer.Step();
            average.Add();
            Dictionary<string, double[]> Values() => model.Parameters().ToDictionary(entry => entry.Path, entry => entry.Parameter.Value.ToDoubles());
            Dictionary<string, double[]> weights = Values(), means;
            using (average.Exchange())
                means = Values();
            Assert.Equal(weights, Values());
            results.Add((report, trainer.Optimizer.UpdateNorm!.Value, report.NoiseScale ?? 0, means, weights));
        }
        Assert.Equal(results[0].Report.Loss, results[1].Report.Loss, 1e-5);
        Assert.Equal(results[0].Report.GradientNorm, results[1].Report.GradientNorm, 1e-5);
        Assert.InRange(results[1].Update / results[0].Update, 0.999, 1.001);
        Assert.InRange(results[1].Noise, 0.99 * results[0].Noise - 1e-6, 1.01 * results[0].Noise + 1e-6);
        foreach (string path in results[0].Weights.Keys)
        {
            // Adam's first step is the learning rate times the sign of the gradient, and the sign of what is nearly 0 is a matter of rounding.
            Assert.True(RelativeError.Of(results[1].Weights[path], results[0].Weights[path]) < 2e-3, path);
            Assert.True(RelativeError.Of(results[1].Means[path], results[0].Means[path]) < 2e-3, path);
        }
    }
}
