using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Fresh parameters follow the published rules: distributions, bounds and which of them decay.</summary>
public class InitializationTests
{
    private static readonly Mamba2Config Config = new() { VocabularySize = 256, Width = 128, Layers = 4, StateSize = 64, HeadSize = 2, TiedEmbeddings = false };

    private static double[] Values(string name, ulong seed = 0, Mamba2Config? config = null)
    {
        using var cpu = new CpuBackend();
        return new Mamba2Model(config ?? Config, cpu, seed: seed).Parameters().Single(entry => entry.Path.EndsWith(name, StringComparison.Ordinal)).Parameter.Value.ToDoubles();
    }

    [Fact]
    public void TimeStepsAreLogUniform()
    {
        double[] steps = Array.ConvertAll(Values("layers.0.mixer.dt_bias"), bias => Math.Log(1 + Math.Exp(bias)));
        Assert.All(steps, step => Assert.InRange(step, 0.001 * (1 - 1e-4), 0.1 * (1 + 1e-4)));
        double[] logs = Array.ConvertAll(steps, Math.Log);
        // 128 draws of a uniform variable on [ln 0.001, ln 0.1]: mean ±4 standard errors.
        double width = Math.Log(100);
        Assert.InRange(logs.Average(), Math.Log(0.01) - 4 * width / Math.Sqrt(12 * 128), Math.Log(0.01) + 4 * width / Math.Sqrt(12 * 128));
    }

    [Fact]
    public void DecaysAreUniform()
    {
        double[] decays = Array.ConvertAll(Values("layers.1.mixer.A_log"), Math.Exp);
        Assert.All(decays, decay => Assert.InRange(decay, 1 - 1e-5, 16 + 1e-4));
        Assert.InRange(decays.Average(), 8.5 - 4 * 15 / Math.Sqrt(12 * 128), 8.5 + 4 * 15 / Math.Sqrt(12 * 128));
    }

    [Fact]
    public void DecaysAreLogUniformWhereTheyAreToBe()
    {
        double[] logs = Values("layers.1.mixer.A_log", config: Config with { DecayRange = (0.05, 1), DrawsDecayInLog = true });
        double width = Math.Log(20);
        Assert.All(logs, log => Assert.InRange(log, -width - 1e-5, 1e-5));
        Assert.InRange(logs.Average(), -width / 2 - 4 * width / Math.Sqrt(12 * 128), -width / 2 + 4 * width / Math.Sqrt(12 * 128));
    }

    [Fact]
    public void MatricesAreUniformWithinTheirBounds()
    {
        Uniform(Values("layers.0.mixer.in_proj.weight"), 1 / Math.Sqrt(128));
        Uniform(Values("layers.0.mixer.conv1d.weight"), 0.5);
        Uniform(Values("layers.0.mixer.conv1d.bias"), 0.5);
        Uniform(Values("layers.3.mixer.out_proj.weight"), 1 / Math.Sqrt(256) / 2);
        Uniform(Values("lm_head.weight"), 1 / Math.Sqrt(128));

        static void Uniform(double[] values, double bound)
        {
            Assert.InRange(values.Max(Math.Abs), 0.95 * bound, bound * (1 + 1e-6));
            double deviation = Math.Sqrt(values.Average(value => value * value));
            Assert.InRange(deviation, 0.9 * bound / Math.Sqrt(3), 1.1 * bound / Math.Sqrt(3));
        }
    }

    [Fact]
    public void TheEmbeddingIsNormal()
    {
        double[] values = Values("embeddings.weight");
        Assert.InRange(Math.Sqrt(values.Average(value => value * value)), 0.0195, 0.0205);
        Assert.InRange(values.Count(value => Math.Abs(value) > 0.04) / (double)values.Length, 0.04, 0.051);
    }

    [Fact]
    public void TheRestIsConstant()
    {
        Assert.All(Values("layers.0.mixer.D"), value => Assert.Equal(1, value));
        Assert.All(Values("layers.0.norm.weight"), value => Assert.Equal(1, value));
        Assert.All(Values("layers.0.mixer.norm.weight"), value => Assert.Equal(1, value));
        Assert.All(Values("norm_f.weight"), value => Assert.Equal(1, value));
    }

    [Fact]
    public void ASeedIsAModel()
    {
        Assert.Equal(Values("layers.2.mixer.in_proj.weight", seed: 3), Values("layers.2.mixer.in_proj.weight", seed: 3));
        Assert.NotEqual(Values("layers.2.mixer.in_proj.weight", seed: 3), Values("layers.2.mixer.in_proj.weight", seed: 4));
        Assert.NotEqual(Values("layers.2.mixer.in_proj.weight"), Values("layers.1.mixer.in_proj.weight"));
    }

    [Fact]
    public void MatricesDecayAndNothingElseDoes()
    {
        using var backend = new NullBackend();
        IEnumerable<string> decaying = new Mamba2Model(Config with { Layers = 1, ProjectionBias = true }, backend, seed: null).Parameters()
            .Where(entry => entry.Parameter.Decays).Select(entry => entry.Path);
        Assert.Equal(
            ["backbone.layers.0.mixer.in_proj.weight", "backbone.layers.0.mixer.conv1d.weight", "backbone.layers.0.mixer.out_proj.weight", "lm_head.weight"], decaying);
    }

    [Theory]
    [InlineData(24, 768, 128_989_632)]
    [InlineData(48, 1024, 368_346_624)]
    [InlineData(48, 1536, 780_161_280)]
    [InlineData(48, 2048, 1_343_757_312)]
    [InlineData(64, 2560, 2_702_599_680)]
    public void TheReleasedSizesHaveTheirNumberOfParameters(int layers, int width, long count)
    {
        using var backend = new NullBackend();
        var model = new Mamba2Model(new Mamba2Config { VocabularySize = 50288, Width = width, Layers = layers }, backend, seed: null);
        Assert.Equal(count, model.ParameterCount);
        Assert.Equal(count, model.Config.ParameterCount);
        Assert.Equal(4 * count, backend.LiveBytes);
    }

    [Theory]
    [InlineData("multiple of the head size", 0, 128, 2, 48)]
    [InlineData("width is 0", 0, 0, 2, 32)]
    [InlineData("number of layers is -1", 0, 128, -1, 32)]
    [InlineData("cannot be divided into 3 groups", 3, 128, 2, 32)]
    public void SizesThatContradictEachOtherAreRefused(string words, int groups, int width, int layers, int head)
    {
        var config = new Mamba2Config { VocabularySize = 256, Width = width, Layers = layers, HeadSize = head, Groups = groups == 0 ? 1 : groups };
        Assert.Contains(words, Assert.Throws<ArgumentException>(() => config.Validated()).Message);
    }

    [Theory, MemberData(nameof(Names))]
    public void TheCountInTheConfigurationIsRight(string name)
    {
        using var backend = new NullBackend();
        Mamba2Config config = Samples.All[name];
        Assert.Equal(new Mamba2Model(config, backend, seed: null).ParameterCount, config.ParameterCount);
        using var cpu = new CpuBackend();
        Assert.Equal(Mamba2State.Zeros(config, 1, cpu).Tensors.Sum(tensor => tensor.Count), config.StateCount);
    }

    public static TheoryData<string> Names => Samples.Names;
}
