using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

/// <summary>What recipes are made of, against its definitions.</summary>
public class RecipeTests
{
    private const int Length = 30;

    private static readonly Mamba2Config Config = new() { VocabularySize = 32, Width = 32, Layers = 2, StateSize = 8, HeadSize = 16 };

    private static readonly int[] Tokens = [.. Enumerable.Range(0, 2000).Select(i => (i * i + i / 7) % 32)];

    private static readonly TokenBatches Batches = new(Tokens, 2, Length, seed: 3);

    private static Trainer Start(Mamba2Model model, AdamWSettings? settings = null, int accumulation = 1, double rate = 5e-3) =>
        new(model, step => Batches[step], Length, new LearningRateSchedule(rate, 100, 0, LearningRateDecay.Constant), settings, accumulation);

    private static Dictionary<string, float[]> Values(Mamba2Model model) => model.Parameters().ToDictionary(entry => entry.Path, entry => entry.Parameter.Value.ToArray<float>());

    private static double Distance(Dictionary<string, float[]> a, Dictionary<string, float[]> b) =>
        Math.Sqrt(a.Sum(entry => entry.Value.Zip(b[entry.Key], (x, y) => ((double)x - y) * ((double)x - y)).Sum()));

    [Fact]
    public void FourAccumulatedBatchesAreOneOfFourTimesTheRows()
    {
        using var cpu = new CpuBackend();
        int[] Joined(Func<TokenBatch, int[]> part) => [.. Enumerable.Range(0, 4).SelectMany(step => part(Batches[step]))];
        var joined = new TokenBatch(Joined(batch => batch.Inputs), Joined(batch => batch.Labels));
        Mamba2Model a = new(Config, cpu, DType.F64, seed: 1), b = new(Config, cpu, DType.F64, seed: 1);
        var schedule = new LearningRateSchedule(1e-3, 10, 0, LearningRateDecay.Constant);
        StepReport large = new Trainer(a, _ => joined, Length, schedule).Step(), accumulated = new Trainer(b, step => Batches[step], Length, schedule, accumulation: 4).Step();
        Assert.Equal(large.Loss, accumulated.Loss, 1e-13);
        Assert.Equal(large.GradientNorm, accumulated.GradientNorm, 1e-12);
        foreach (((string path, Parameter x), (_, Parameter y)) in a.Parameters().Zip(b.Parameters()))
            Assert.True(RelativeError.Of(y.Value.ToDoubles(), x.Value.ToDoubles()) < 1e-9, path);
    }

    [Fact]
    public void FrozenParametersKeepTheirBitsAndHaveNoMoments()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 1);
        ParameterGroup.Freeze(model, "*.in_proj.weight");
        ParameterGroup.Freeze(model, "backbone.embeddings.*");
        Dictionary<string, float[]> before = Values(model);
        long live = cpu.LiveBytes;
        Trainer trainer = Start(model, new AdamWSettings(DecaysEverything: true));
        long trained = model.Parameters().Where(entry => !entry.Parameter.IsFrozen).Sum(entry => entry.Parameter.Count);
        Assert.Equal(2 * 4 * trained, cpu.LiveBytes - live);
        for (int i = 0; i < 3; i++)
            trainer.Step();
        foreach ((string path, float[] values) in Values(model))
        {
            bool isFrozen = path.EndsWith("in_proj.weight", StringComparison.Ordinal) || path.StartsWith("backbone.embeddings", StringComparison.Ordinal);
            Assert.Equal(isFrozen, values.AsSpan().SequenceEqual(before[path]));
        }
        Assert.Contains("in_prjo", Assert.Throws<ArgumentException>(() => ParameterGroup.Freeze(model, "*.in_prjo.*")).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ParameterGroup.Freeze(model, "*"));
    }

    [Fact]
    public void FreezingChangesNoGradientOfTheOthers()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        Mamba2Model free = new(Config, cpu, seed: 1), frozen = new(Config, cpu, seed: 1);
        ParameterGroup.Freeze(frozen, "backbone.layers.0.*");
        Gradients expected = Trainer.Loss(free, Batches[0], Length).Backward(), actual = Trainer.Loss(frozen, Batches[0], Length).Backward();
        foreach (((string path, Parameter x), (_, Parameter y)) in free.Parameters().Zip(frozen.Parameters()))
        {
            Assert.Equal(!path.StartsWith("backbone.layers.0.", StringComparison.Ordinal), actual.TryGet(y.Value, out Tensor? gradient));
            if (gradient is not null)
                Assert.Equal(expected[x.Value].ToArray<float>(), gradient.ToArray<float>());
        }
    }

    [Fact]
    public void AGroupHasItsOwnRateAndDecay()
    {
        using var cpu = new CpuBackend();
        Mamba2Model plain = new(Config, cpu, seed: 1), grouped = new(Config, cpu, seed: 1);
        Dictionary<string, float[]> before = Values(plain);
        AdamWSettings settings = new(WeightDecay: 0.1, ClipNorm: double.PositiveInfinity);
        Start(plain, settings).Step();
        Start(grouped, settings with { Groups = [new("*mixer*", 9, 9), new("*.A_log", 0.5), new("*.in_proj.weight", 1, 0.7)] }).Step();
        Dictionary<string, float[]> a = Values(plain), b = Values(grouped);
        const string Decay = "backbone.layers.0.mixer.A_log", Projection = "backbone.layers.1.mixer.in_proj.weight", Norm = "backbone.layers.0.norm.weight";
        Assert.Equal(a[Norm], b[Norm]);
        for (int i = 0; i < before[Decay].Length; i++)
            Assert.Equal((a[Decay][i] - before[Decay][i]) / 2, b[Decay][i] - before[Decay][i], 1e-6);
        // θ(1 − ηλ) − Δ: another λ moves what it is by η(λ − λ')θ.
        for (int i = 0; i < before[Projection].Length; i++)
            Assert.Equal(a[Projection][i] + 5e-3 * (0.1 - 0.7) * before[Projection][i], b[Projection][i], 1e-6);
        Assert.Throws<ArgumentException>(() => new AdamWOptimizer(plain, new AdamWSettings { Groups = [new("nothing*")] }));
    }

    [Fact]
    public void ThePublishedNoDecayParametersDoNotDecay()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config with { ProjectionBias = true, LearnsInitialState = true, TiedEmbeddings = false }, cpu);
        OptimizerGroup[] groups = [.. new AdamWOptimizer(model, new AdamWSettings()).Groups];
        string[] Kinds(OptimizerGroup group) => [.. group.Paths.Select(path => path[(path.LastIndexOf("mixer.", StringComparison.Ordinal) + 1)..]).Select(path => path.Split("ixer.")[^1]).Distinct().Order(StringComparer.Ordinal)];
        Assert.Equal([0.1, 0], groups.Select(group => group.WeightDecay));
        Assert.Equal(["conv1d.weight", "in_proj.weight", "lm_head.weight", "out_proj.weight"], Kinds(groups[0]));
        foreach (string kept in (string[])["A_log", "D", "dt_bias", "init_states", "in_proj.bias", "norm.weight"])
            Assert.Contains(kept, Kinds(groups[1]));
    }

    [Fact]
    public void TheNormOfAnUpdateIsHowFarTheWeightsMoved()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 1);
        Trainer trainer = Start(model);
        trainer.Optimizer.MeasureEvery = 2;
        trainer.Step();
        Assert.Null(trainer.Optimizer.UpdateNorm);
        Dictionary<string, float[]> before = Values(model);
        trainer.Step();
        Assert.Equal(Distance(Values(model), before), trainer.Optimizer.UpdateNorm!.Value, 1e-5);
        Assert.Equal(Math.Sqrt(before.Values.Sum(values => values.Sum(x => (double)x * x))), trainer.Optimizer.ParameterNorm!.Value, 1e-3);
        trainer.Step();
        Assert.Null(trainer.Optimizer.UpdateNorm);
    }

    [Fact]
    public void TheAverageIsThatOfItsFormula()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 1);
        Trainer trainer = Start(model);
        var average = new WeightAverage(model, 0.25);
        Dictionary<string, double[]> expected = Values(model).ToDictionary(entry => entry.Key, entry => Array.ConvertAll(entry.Value, x => (double)x));
        for (int t = 1; t <= 4; t++)
        {
            trainer.Step();
            average.Add();
            // 2/11, 3/12 and then 0.25: the last two are cut.
            double d = t == 1 ? 2.0 / 11 : 0.25;
            foreach ((string path, float[] values) in Values(model))
            {
                for (int i = 0; i < values.Length; i++)
                    expected[path][i] = d * expected[path][i] + (1 - d) * values[i];
            }
        }
        Dictionary<string, float[]> weights = Values(model);
        using (average.Exchange())
        {
            foreach ((string path, float[] values) in Values(model))
                Assert.True(RelativeError.Of(Array.ConvertAll(values, x => (double)x), expected[path]) < 1e-6, path);
        }
        Assert.Equal(weights, Values(model));
        Assert.Throws<ArgumentOutOfRangeException>(() => new WeightAverage(model, 1));
    }

    [Fact]
    public void ExchangingKeepsTheSignOfZero()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 1);
        Parameter norm = model.Parameters().Single(entry => entry.Path == "backbone.norm_f.weight").Parameter;
        norm.Value.Write<float>(Enumerable.Repeat(-0.0f, 32).ToArray());
        var average = new WeightAverage(model, 0.9);
        average.Exchange().Dispose();
        Assert.All(norm.Value.ToArray<float>(), value => Assert.True(float.IsNegative(value)));
    }

    [Fact]
    public void NoiseIsFoundWhereItWasMade()
    {
        // Gradients of d = 50 numbers with mean G and independent noise of variance σ² a row.
        const int Dimensions = 50, Parts = 4, Rows = 8;
        const double Mean = 0.1, Deviation = 2;
        var random = new Philox(7, 0);
        var noise = new GradientNoise();
        for (int update = 0; update < 2000; update++)
        {
            double[][] parts = [.. Enumerable.Range(0, Parts).Select(_ => Enumerable.Range(0, Dimensions).Select(_ => Mean + Deviation / Math.Sqrt(Rows) * random.NextNormal()).ToArray())];
            double[] mean = [.. Enumerable.Range(0, Dimensions).Select(i => parts.Average(part => part[i]))];
            noise.Add(Rows, parts.Average(part => part.Sum(x => x * x)), Parts * Rows, mean.Sum(x => x * x));
        }
        // tr(Σ) / |G|² = d σ² / (d G²) = 400.
        Assert.InRange(noise.Scale!.Value, 200, 800);
    }

    [Theory]
    [InlineData(LearningRateDecay.Linear, 10, 2.0), InlineData(LearningRateDecay.Linear, 60, 1.0), InlineData(LearningRateDecay.Linear, 110, 0.0), InlineData(LearningRateDecay.Linear, 200, 0.0)]
    [InlineData(LearningRateDecay.Linear, 4, 1.0), InlineData(LearningRateDecay.Range, 109, 2.0), InlineData(LearningRateDecay.Range, 10, 2e-7)]
    public void RatesOfNamedSteps(LearningRateDecay decay, long step, double rate) =>
        Assert.Equal(rate, new LearningRateSchedule(2, 110, 10, decay)[step], 1e-12);

    [Fact]
    public void TheRateOfARangeRisesByOneFactor()
    {
        var schedule = new LearningRateSchedule(1, 50, 0, LearningRateDecay.Range);
        double factor = schedule[1] / schedule[0];
        Assert.All(Enumerable.Range(0, 49), step => Assert.Equal(factor, schedule[step + 1] / schedule[step], 1e-9));
    }

    [Fact]
    public void TheFinderSuggestsATenthOfWhereTheLossWasLeastAndStopsWhenItRises()
    {
        var finder = new LearningRateFinder();
        int steps = 0;
        // A loss that falls from 5 to 1 at a rate of 0.1, and rises steeply from there.
        double Loss(double rate) => rate < 0.1 ? 1 + 4 * Math.Log10(0.1 / rate) / 6 : 1 + 30 * Math.Log10(rate / 0.1);
        for (double rate = 1e-7; rate < 10 && finder.Add(rate, Loss(rate)); rate *= 1.05)
            steps++;
        Assert.InRange(finder.Suggestion!.Value, 0.005, 0.03);
        Assert.InRange(finder.Points[^1].Rate, 0.1, 9);
        var hopeless = new LearningRateFinder();
        Assert.True(hopeless.Add(1e-6, 1));
        Assert.True(hopeless.Add(1e-5, 1.1));
        Assert.False(hopeless.Add(1e-4, double.NaN));
        Assert.Null(hopeless.Suggestion);
    }
}
