using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Generation;

public class SamplerTests
{
    // Probabilities 0.5, 0.25, 0.125, 0.125 at temperature 1.
    private static readonly double[] Logits = [Math.Log(2), Math.Log(4), Math.Log(1), Math.Log(1)];

    private static double[] Frequencies(Sampler sampler, int draws = 20_000)
    {
        var counts = new double[Logits.Length];
        for (int i = 0; i < draws; i++)
            counts[sampler.Next(Logits, i)] += 1.0 / draws;
        return counts;
    }

    private static void AssertNear(double[] expected, double[] actual) => Assert.Equal(expected, actual, (a, b) => Math.Abs(a - b) < 0.015);

    [Fact]
    public void DrawsFollowTheProbabilities() => AssertNear([0.25, 0.5, 0.125, 0.125], Frequencies(new Sampler()));

    [Fact]
    public void TheTemperatureDividesTheLogits() => AssertNear([4 / 22.0, 16 / 22.0, 1 / 22.0, 1 / 22.0], Frequencies(new Sampler { Temperature = 0.5 }));

    [Fact]
    public void TopKKeepsTheMostProbable() => AssertNear([1 / 3.0, 2 / 3.0, 0, 0], Frequencies(new Sampler { TopK = 2 }));

    [Fact]
    public void TopPKeepsTheFewestThatReachIt()
    {
        AssertNear([0, 1, 0, 0], Frequencies(new Sampler { TopP = 0.5 }));
        AssertNear([1 / 3.0, 2 / 3.0, 0, 0], Frequencies(new Sampler { TopP = 0.51 }));
        AssertNear([1 / 3.0, 2 / 3.0, 0, 0], Frequencies(new Sampler { TopP = 0.75 }));
    }

    [Fact]
    public void TemperatureZeroIsGreedy()
    {
        Assert.Equal(1, Sampler.Greedy.Next(Logits, 0));
        Assert.Equal(0, Sampler.Greedy.Next([3, 3], 0));
    }

    [Fact]
    public void ASeedGivesTheSameDraws()
    {
        int[] Draws(ulong seed) => [.. Enumerable.Range(0, 50).Select(i => new Sampler { Seed = seed }.Next(Logits, i))];
        Assert.Equal(Draws(1), Draws(1));
        Assert.NotEqual(Draws(1), Draws(2));
    }

    [Fact]
    public void ExtremeLogitsAreSampled()
    {
        Assert.Equal(0, new Sampler().Next([1e30, -1e30, double.NegativeInfinity], 0));
        Assert.Throws<NumericalException>(() => new Sampler().Next([0, double.NaN], 0));
    }

    [Theory, InlineData(-1, 0, 1), InlineData(double.NaN, 0, 1), InlineData(1, -1, 1), InlineData(1, 0, 0), InlineData(1, 0, 1.5)]
    public void SettingsThatMakeNoSenseAreRefused(double temperature, int topK, double topP) =>
        Assert.Throws<ArgumentException>(() => new Sampler { Temperature = temperature, TopK = topK, TopP = topP }.Validated());
}

public class GeneratorTests
{
    private static readonly Mamba2Config Config = new() { VocabularySize = 20, Width = 16, Layers = 2, StateSize = 4, HeadSize = 8 };

    [Fact]
    public void GreedyTextIsTheArgumentOfTheMaximumAtEachPosition()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        var model = new Mamba2Model(Config, cpu, seed: 3);
        int[] prompt = [4, 7, 1];
        int[] text = [.. prompt, .. new Generator(model, Sampler.Greedy).Continue(prompt, 12)];
        Assert.Equal(15, text.Length);
        float[] logits = model.Forward(cpu.Tensor<int>([1, 15], text)).Logits.ToArray<float>();
        for (int t = 2; t < 14; t++)
        {
            float[] row = logits[(t * 20)..(t * 20 + 20)];
            Assert.Equal(row.IndexOf(row.Max()), text[t + 1]);
        }
    }

    [Theory, InlineData(1), InlineData(16), InlineData(17), InlineData(33), InlineData(40)]
    public void BurstsOnTheDeviceGiveTheSameTokens(int count)
    {
        using var cpu = new CpuBackend();
        using var queued = new QueuedBackend();
        int[] expected = [.. new Generator(new Mamba2Model(Config, cpu, seed: 3), Sampler.Greedy).Continue([4, 7, 1], count)];
        var model = new Mamba2Model(Config, queued, seed: 3);
        long before = queued.LiveBytes;
        Assert.Equal(expected, new Generator(model, Sampler.Greedy).Continue([4, 7, 1], count));
        Assert.Equal(before, queued.LiveBytes);
    }

    private sealed class QueuedBackend() : DecoratedBackend(new CpuBackend())
    {
        public override bool IsQueued => true;
    }

    [Fact]
    public void MemoryDoesNotGrowWithTheText()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 3);
        long before = cpu.LiveBytes, during = 0;
        int count = 0;
        foreach (int token in new Generator(model, Sampler.Greedy).Continue([1, 2], 200))
        {
            if (++count == 10)
                during = cpu.LiveBytes;
            else if (count > 10)
                Assert.Equal(during, cpu.LiveBytes);
        }
        Assert.Equal(before, cpu.LiveBytes);
    }

    [Fact]
    public void ALongPromptIsReadInPieces()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 3);
        int[] prompt = [.. Enumerable.Range(0, 2500).Select(i => i * i % 20)];
        int next = new Generator(model, Sampler.Greedy).Continue(prompt, 1).Single();
        using var scope = new Scope();
        float[] logits = model.Prefill(cpu.Tensor<int>([1, 2500], prompt)).Logits.ToArray<float>();
        Assert.Equal(logits.IndexOf(logits.Max()), next);
    }

    [Fact]
    public void BadPromptsAreRefusedAtOnce()
    {
        using var cpu = new CpuBackend();
        var generator = new Generator(new Mamba2Model(Config, cpu), Sampler.Greedy);
        Assert.Throws<ArgumentException>(() => generator.Continue([], 3));
        Assert.Contains("token 20", Assert.Throws<ArgumentException>(() => generator.Continue([20], 3)).Message);
    }

    [Fact]
    public void ATextCanBeStopped()
    {
        using var cpu = new CpuBackend();
        var generator = new Generator(new Mamba2Model(Config, cpu), Sampler.Greedy);
        using var stop = new CancellationTokenSource();
        int count = 0;
        foreach (int token in generator.Continue([1], 100, stop.Token))
        {
            if (++count == 5)
                stop.Cancel();
        }
        Assert.Equal(5, count);
    }
}
