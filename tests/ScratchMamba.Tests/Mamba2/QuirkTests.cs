using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Faults that other implementations of Mamba-2 have, or had, each with a test that this one does not share it.</summary>
public sealed class QuirkTests : IDisposable
{
    private readonly CpuBackend cpu = new();
    private readonly Scope scope = new();

    public void Dispose()
    {
        scope.Dispose();
        cpu.Dispose();
    }

    [Fact]
    public void Q1_TheStepClampsTheTimeStep() => StepAgrees(Samples.Plain with { TimeStepLow = 0.01, TimeStepHigh = 0.05 });

    [Fact]
    public void Q2_TheStepHasASkipPerChannel() => StepAgrees(Samples.Plain with { SkipPerChannel = true });

    [Theory, InlineData(1), InlineData(2), InlineData(8)]
    public void Q3_TheStepHasGroups(int groups) => StepAgrees(Samples.Plain with { HeadSize = 3, Groups = groups, NormPerGroup = true });

    [Fact]
    public void Q5_TheGatedNormKnowsGroupsAndTheDecayIsComputedInTheModelsPrecision()
    {
        Tensor x = cpu.Tensor<double>([1, 4], 1, 1, 100, 100), gate = cpu.Tensor<double>([1, 4], 50, 50, 50, 50), weight = cpu.Tensor<double>([4], 1, 1, 1, 1);
        Assert.Equal([1.0, 1, 1, 1], x.GatedRmsNorm(gate, weight, 1e-12, groups: 2).ToDoubles(), (a, b) => Math.Abs(a - b) < 1e-9);

        // exp(A_log) of 16 with 24 bits: a rounding to 8 bits, as bfloat16 has, would be off by up to 0.4 %.
        var model = new Mamba2Model(Samples.Plain, cpu, DType.F32);
        Tensor decayLog = model.Parameters().First(entry => entry.Path.EndsWith("A_log", StringComparison.Ordinal)).Parameter.Value;
        decayLog.Write<float>([2.771f, 2.772f, 2.773f, 2.774f]);
        Assert.Equal(4, decayLog.Exp().ToArray<float>().Distinct().Count());
    }

    [Fact]
    public void Q6_TheOutputProjectionIsScaledByTheRootOfTheNumberOfLayersOnce()
    {
        const int Layers = 9;
        var model = new Mamba2Model(new Mamba2Config { VocabularySize = 16, Width = 64, Layers = Layers, StateSize = 8, HeadSize = 32 }, cpu);
        double bound = 1 / Math.Sqrt(128) / Math.Sqrt(Layers);
        foreach ((string path, Parameter parameter) in model.Parameters().Where(entry => entry.Path.EndsWith("out_proj.weight", StringComparison.Ordinal)))
            Assert.InRange(parameter.Value.ToDoubles().Max(Math.Abs), 0.99 * bound, bound);
    }

    [Fact]
    public void Q7_PositionsBeyondSixtyOneThousandAreRight()
    {
        // 2^16 positions and more, with offsets into activations beyond 2^31 bytes being what others got wrong there; here the second half must not notice how far it is.
        var config = new Mamba2Config { VocabularySize = 8, Width = 8, Layers = 1, StateSize = 4, HeadSize = 8 };
        var model = new Mamba2Model(config, cpu, seed: 2);
        const int Length = 70_000, Tail = 300;
        int[] tokens = Samples.Tokens(Length).Select(token => token % 8).ToArray();
        using var pause = Differentiation.Pause();
        float[] whole = model.Forward(cpu.Tensor<int>([1, Length], tokens)).Logits.Slice(1, Length - Tail, Tail).ToArray<float>();
        (_, Mamba2State state) = model.Forward(cpu.Tensor<int>([1, Length - Tail], tokens[..^Tail]));
        for (int t = 0; t < Tail; t++)
        {
            (Tensor logits, state) = model.Step(cpu.Tensor<int>([1], tokens[Length - Tail + t]), state);
            Assert.InRange(RelativeError.Of(Array.ConvertAll(whole[(8 * t)..(8 * t + 8)], x => (double)x), logits.ToDoubles()), 0, 1e-5);
        }
    }

    [Fact]
    public void Q8_BothWaysToNormaliseGroupsAreThereAndDiffer()
    {
        int[] tokens = Samples.Tokens(10);
        Mamba2Config config = Samples.Plain with { Groups = 2 };
        double[] whole = Logits(config with { NormPerGroup = false }), grouped = Logits(config with { NormPerGroup = true });
        Assert.True(RelativeError.Of(whole, grouped) > 1e-3);

        double[] Logits(Mamba2Config config)
        {
            var model = new Mamba2Model(config, cpu, DType.F64, seed: 1);
            double[] logits = model.Forward(cpu.Tensor<int>([1, 10], tokens)).Logits.ToDoubles();
            // The same in evaluation as in training: there is one path.
            using (Differentiation.Pause())
                Assert.Equal(logits, model.Forward(cpu.Tensor<int>([1, 10], tokens)).Logits.ToDoubles());
            Assert.InRange(RelativeError.Of(logits, new SequentialReference(model).Forward(tokens, 1).Logits.ToDoubles()), 0, 1e-12);
            return logits;
        }
    }

    [Fact]
    public void Q9_DecodingClampsTheTimeStepAsPrefillDoes()
    {
        var model = new Mamba2Model(Samples.Plain with { TimeStepLow = 0.01, TimeStepHigh = 0.05 }, cpu, DType.F64);
        int[] tokens = Samples.Tokens(12);
        (_, Mamba2State prefix) = model.Prefill(cpu.Tensor<int>([1, 11], tokens[..11]));
        double[] stepped = model.Step(cpu.Tensor<int>([1], tokens[11]), prefix).Logits.ToDoubles();
        Assert.InRange(RelativeError.Of(stepped, model.Prefill(cpu.Tensor<int>([1, 12], tokens)).Logits.ToDoubles()), 0, 1e-12);
    }

    [Theory, InlineData("Infinity"), InlineData("\"Infinity\""), InlineData("{\"__float__\": \"Infinity\"}"), InlineData("1e999"), InlineData("null")]
    public void Q10_InfinityIsReadInEverySpelling(string spelling)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.File("config.json"), $$"""
            {"model_type": "mamba2", "hidden_size": 8, "expand": 2, "num_heads": 2, "head_dim": 8, "n_groups": 1, "num_hidden_layers": 1, "vocab_size": 5,
             "time_step_limit": [0.0, {{spelling}}]}
            """);
        Assert.Equal(double.PositiveInfinity, Checkpoint.LoadConfig(folder.Path).TimeStepHigh);
    }

    [Fact]
    public void Q11_ConsecutiveHeadsShareAGroup()
    {
        // Head h reads group ⌊h / (H/G)⌋: with 4 heads and 2 groups, heads 0 and 1 the first. Only group 0 has an input here.
        Tensor x = cpu.Tensor<double>([1, 1, 4, 1], 1, 1, 1, 1), step = cpu.Tensor<double>([1, 1, 4], 1, 1, 1, 1), decay = cpu.Tensor<double>([4], -1, -1, -1, -1);
        Tensor b = cpu.Tensor<double>([1, 1, 2, 1], 1, 0), c = cpu.Tensor<double>([1, 1, 2, 1], 1, 1);
        (Tensor y, _) = x.StateSpaceScan(step, decay, b, c, chunk: 8);
        Assert.Equal([1.0, 1, 0, 0], y.ToDoubles());
    }

    [Fact]
    public void Q12_PrefillContinuesWithTheConvolutionsInputsToo()
    {
        var model = new Mamba2Model(Samples.Plain, cpu, DType.F64, seed: 4);
        int[] tokens = Samples.Tokens(20);
        double[] whole = model.Prefill(cpu.Tensor<int>([1, 20], tokens)).Logits.ToDoubles();
        foreach (int cut in new[] { 1, 2, 3, 10, 19 })
        {
            (_, Mamba2State state) = model.Prefill(cpu.Tensor<int>([1, cut], tokens[..cut]));
            Assert.InRange(RelativeError.Of(model.Prefill(cpu.Tensor<int>([1, 20 - cut], tokens[cut..]), state).Logits.ToDoubles(), whole), 0, 1e-12);
        }
    }

    [Fact]
    public void Q13_SeveralTokensContinueACachedState() => Q12_PrefillContinuesWithTheConvolutionsInputsToo();

    [Fact]
    public void Q14_EveryInputOfTheLayerHasTheRightGradient()
    {
        // Central differences in float64, parameter by parameter: A_log, dt_bias and the initial state were wrong elsewhere.
        Mamba2Model model = Samples.Model("a learned initial state", cpu);
        Tensor tokens = cpu.Tensor<int>([2, 13], Samples.Tokens(26)), labels = cpu.Tensor<int>([2, 13], Samples.Tokens(26, seed: 9));
        double Loss()
        {
            using var inner = new Scope();
            using var pause = Differentiation.Pause();
            return model.Forward(tokens).Logits.CrossEntropyMean(labels).Item();
        }
        Gradients gradients = model.Forward(tokens).Logits.CrossEntropyMean(labels).Backward();
        var random = new Random(1);
        foreach ((string path, Parameter parameter) in model.Parameters())
        {
            double[] at = parameter.Value.ToDoubles(), direction = Array.ConvertAll(at, _ => random.NextDouble() - 0.5);
            double Moved(double step)
            {
                parameter.Value.Write<double>([.. at.Zip(direction, (x, v) => x + step * v)]);
                return Loss();
            }
            const double Step = 1e-5;
            double numeric = (Moved(Step) - Moved(-Step)) / (2 * Step);
            parameter.Value.Write<double>(at);
            double analytic = gradients[parameter.Value].ToDoubles().Zip(direction, (g, v) => g * v).Sum();
            Assert.True(Math.Abs(numeric - analytic) < 1e-8 * Math.Max(1, Math.Abs(numeric)), $"{path}: {numeric} against {analytic}");
        }
    }

    [Fact]
    public void Q15_SoftplusKeepsSmallValues()
    {
        float[] values = cpu.Tensor<float>([3], -17, -30, -80).Softplus().ToArray<float>();
        Assert.Equal(Math.Exp(-17), values[0], 1e-6 * Math.Exp(-17));
        Assert.Equal(Math.Exp(-30), values[1], 1e-6 * Math.Exp(-30));
        Assert.Equal(Math.Exp(-80), values[2], 1e-5 * Math.Exp(-80));
    }

    [Fact]
    public void Q17_ThePathsAgreeToTheLastDigitsOfFloat64()
    {
        // Not to a tenth, which hid an error elsewhere.
        foreach (string name in Samples.All.Keys)
        {
            Mamba2Model model = Samples.Model(name, cpu);
            int[] tokens = Samples.Tokens(30);
            double[] reference = new SequentialReference(model).Forward(tokens, 1).Logits.ToDoubles();
            Assert.InRange(RelativeError.Of(model.Forward(cpu.Tensor<int>([1, 30], tokens)).Logits.ToDoubles(), reference), 0, 1e-12);
        }
    }

    [Fact]
    public void Q18_ASavedStateContinuesBitForBit()
    {
        var model = new Mamba2Model(Samples.Plain, cpu, seed: 6);
        int[] tokens = Samples.Tokens(12);
        (_, Mamba2State state) = model.Prefill(cpu.Tensor<int>([1, 7], tokens[..7]));
        float[][] saved = [.. state.Tensors.Select(tensor => tensor.ToArray<float>())];
        float[] uninterrupted = Continue(state);

        Mamba2State restored = Mamba2State.Zeros(model.Config, 1, cpu);
        foreach ((Tensor target, float[] values) in restored.Tensors.Zip(saved))
            target.Write<float>(values);
        Assert.Equal(uninterrupted, Continue(restored));

        float[] Continue(Mamba2State from)
        {
            var all = new List<float>();
            for (int t = 7; t < 12; t++)
            {
                (Tensor logits, from) = model.Step(cpu.Tensor<int>([1], tokens[t]), from);
                all.AddRange(logits.ToArray<float>());
            }
            return [.. all];
        }
    }

    private void StepAgrees(Mamba2Config config)
    {
        var model = new Mamba2Model(config, cpu, DType.F64, seed: 3);
        int[] tokens = Samples.Tokens(15);
        double[] expected = model.Forward(cpu.Tensor<int>([1, 15], tokens)).Logits.ToDoubles();
        Mamba2State? state = null;
        var actual = new List<double>();
        foreach (int token in tokens)
        {
            (Tensor logits, state) = model.Step(cpu.Tensor<int>([1], token), state);
            actual.AddRange(logits.ToDoubles());
        }
        Assert.InRange(RelativeError.Of([.. actual], expected), 0, 1e-12);
    }
}
