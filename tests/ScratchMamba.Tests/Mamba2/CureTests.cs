using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Every cure is what its definition says, in float64: whole sequences ≡ token by token ≡ any split ≡ the sum over what the definition leaves of the inserts; with gradients.</summary>
public sealed class CureTests : IDisposable
{
    private const int Batch = 2, Length = 21;

    private readonly CpuBackend cpu = new();
    private readonly Scope scope = new();

    public static TheoryData<string, string> Cases =>
    [
        .. from cure in (string[])
           [
               "retention=0.9", "insertion=0.5", "retention=0.95/0.9,insertion=0.5/0.75", "step=0.5", "step=2/1", "decay=1.7,insertion=0.6,step=0.8,retention=0.97", "window=1", "window=2",
               "window=5", "window=8", "window=20", "window=21", "window=40", "retention=0.9,insertion=0.5,window=6", "reset=1", "reset=6", "reset=8", "reset=100", "stagger=2", "stagger=10",
               "stagger=100", "norm=0.02", "norm=0.03@4", "norm=0.02@3,reset=7", "retention=0.95,norm=0.02@21", "filter=50", "filter=50,window=7,retention=0.9", "filter=50,step=0.5,norm=0.02@5",
           ]
           select new TheoryDataRow<string, string>(cure, "plain"),
        .. from model in Samples.Names
           from cure in (string[])["retention=0.9,insertion=0.75,window=6", "norm=0.02@5"]
           where model.Data is not ("plain" or "a learned initial state")
           select new TheoryDataRow<string, string>(cure, model.Data),
        new("norm=0.02@5", "a learned initial state"),
        new("stagger=8", "two groups, norm per group"),
    ];

    public void Dispose()
    {
        scope.Dispose();
        cpu.Dispose();
    }

    [Theory, MemberData(nameof(Cases))]
    public void ACureIsItsDefinition(string text, string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        Cure cure = model.Cure = Given(text, model);
        int[] tokens = Samples.Tokens(Batch * Length);
        Outcome expected = Of(model, new SequentialReference(model, cure).Forward(tokens, Batch));

        Outcome.AssertClose(expected, Of(model, model.Forward(cpu.Tensor<int>([Batch, Length], tokens))));
        Outcome.AssertClose(expected, Of(model, InParts(model, tokens, [.. Enumerable.Repeat(1, Length)], steps: true)));
        Outcome.AssertClose(expected, Of(model, InParts(model, tokens, [1, 2, 9, 8, 1], steps: false)));
        Outcome.AssertClose(expected, Of(model, InParts(model, tokens, [7, 1, 1, 1, 11], steps: true)));
        model.RecomputedLayers = int.MaxValue;
        Outcome.AssertClose(expected, Of(model, InParts(model, tokens, [8, 13], steps: false)));
    }

    [Theory, InlineData("retention=0.9"), InlineData("insertion=0.5"), InlineData("step=0.5"), InlineData("decay=2"), InlineData("window=5"), InlineData("reset=8"), InlineData("stagger=4")]
    [InlineData("norm=0.02"), InlineData("norm=0.02@5"), InlineData("norm=0.03@4"), InlineData("norm=0.02@21"), InlineData("filter=50")]
    public void ACureChangesSomething(string text)
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        Tensor tokens = cpu.Tensor<int>([1, Length], Samples.Tokens(Length));
        double[] before = model.Forward(tokens).Logits.ToDoubles();
        model.Cure = Given(text, model);
        Assert.True(RelativeError.Of(model.Forward(tokens).Logits.ToDoubles(), before) > 1e-4);
    }

    [Theory, InlineData("none"), InlineData("retention=1,insertion=1,step=1,decay=1"), InlineData("retention=1/1")]
    public void ANeutralCureChangesNoBit(string text)
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        Tensor tokens = cpu.Tensor<int>([1, Length], Samples.Tokens(Length)), token = cpu.Tensor<int>([1], 4);
        (Tensor whole, Mamba2State state) = model.Forward(tokens);
        (Tensor step, _) = model.Step(token, state);
        Gradients gradients = whole.Sum().Backward(retain: true);
        model.Cure = Cure.Parse(text);
        Assert.True(model.Cure.IsNeutral);
        (Tensor cured, Mamba2State curedState) = model.Forward(tokens);
        Assert.Equal(whole.ToArray<float>(), cured.ToArray<float>());
        Assert.Equal(step.ToArray<float>(), model.Step(token, curedState).Logits.ToArray<float>());
        Gradients curedGradients = cured.Sum().Backward();
        foreach ((_, Modules.Parameter parameter) in model.Parameters())
            Assert.Equal(gradients[parameter.Value].ToArray<float>(), curedGradients[parameter.Value].ToArray<float>());
    }

    [Theory, InlineData(1), InlineData(4), InlineData(9)]
    public void AWindowIsTheModelReadFromScratchOnItsTokens(int window)
    {
        var model = new Mamba2Model(Samples.Plain with { Layers = 1 }, cpu, DType.F64, seed: 3);
        int[] tokens = Samples.Tokens(Length);
        model.Cure = new Cure { Window = window };
        double[] cured = model.Prefill(cpu.Tensor<int>([1, Length], tokens)).Logits.ToDoubles();

        // The convolution sees the three tokens before the window; the recurrence does not.
        model.Cure = Cure.None;
        (_, Mamba2State before) = model.Forward(cpu.Tensor<int>([1, Length - window], tokens[..^window]));
        LayerState fresh = before.Layers[0] with { Recurrent = cpu.Zeros(before.Layers[0].Recurrent.Type) };
        double[] scratch = model.Prefill(cpu.Tensor<int>([1, window], tokens[^window..]), new Mamba2State([fresh])).Logits.ToDoubles();
        Assert.InRange(RelativeError.Of(cured, scratch), 0, 1e-12);
    }

    [Fact]
    public void AWindowAsLongAsTheTextIsTheModelAsItIs()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        Tensor tokens = cpu.Tensor<int>([1, Length], Samples.Tokens(Length));
        double[] expected = model.Forward(tokens).Logits.ToDoubles();
        model.Cure = new Cure { Window = Length };
        Assert.InRange(RelativeError.Of(model.Forward(tokens).Logits.ToDoubles(), expected), 0, 1e-12);
    }

    [Fact]
    public void AFilterLeavesTextsOfTheTrainingLengthAsTheyAre()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        int[] tokens = Samples.Tokens(Length);
        Tensor free = cpu.Tensor<int>([1, Length / 3], tokens[..(Length / 3)]), longer = cpu.Tensor<int>([1, Length], tokens);
        double[] expected = model.Forward(free).Logits.ToDoubles(), whole = model.Forward(longer).Logits.ToDoubles();
        model.Cure = Given("filter=50", model);
        Assert.InRange(RelativeError.Of(model.Forward(free).Logits.ToDoubles(), expected), 0, 1e-12);
        double[] filtered = model.Forward(longer).Logits.ToDoubles();
        Assert.InRange(RelativeError.Of(filtered[..expected.Length], expected), 0, 1e-12);
        Assert.True(RelativeError.Of(filtered, whole) > 1e-4);
        Assert.Throws<NotSupportedException>(() => model.Forward(longer, null, cpu.Tensor<int>([1, Length], new int[Length])));
    }

    [Fact]
    public void AWindowDoesNotDriftInSingles()
    {
        // Heads that forget next to nothing, so that errors would stay: what is subtracted is rounded unlike what was added.
        var config = new Mamba2Config { VocabularySize = 11, Width = 8, Layers = 1, StateSize = 4, HeadSize = 8, DecayRange = (1e-4, 1e-3) };
        const int Count = 2000;
        int[] tokens = Samples.Tokens(Count);
        var last = new List<double[]>();
        foreach (DType type in new[] { DType.F32, DType.F64 })
        {
            var model = new Mamba2Model(config, cpu, type, seed: 5) { Cure = new Cure { Window = 24 } };
            using var pause = Differentiation.Pause();
            Mamba2State state = model.EmptyState(1);
            foreach (int token in tokens[..^1])
            {
                using var step = new Scope();
                model.StepInPlace(cpu.Tensor<int>([1], token), state);
            }
            last.Add(model.Step(cpu.Tensor<int>([1], tokens[^1]), state).State.Layers[0].Recurrent.ToDoubles());
        }
        Assert.InRange(RelativeError.Of(last[0], last[1]), 0, 1e-6);
    }

    [Theory, InlineData(1), InlineData(5)]
    public void Q16_ClippingAStateMakesItSmaller(int period)
    {
        // The published code multiplies by ‖h‖ / cap where it should divide.
        Mamba2Model model = Samples.Model("plain", cpu);
        int[] tokens = Samples.Tokens(20);
        double[] free = Norms(model.Forward(cpu.Tensor<int>([1, 20], tokens)).State);
        double cap = free.Order().ElementAt(free.Length / 2);
        model.Cure = new Cure { Normalization = new StateNormalization(cap, Period: period) };
        double[] whole = Norms(model.Forward(cpu.Tensor<int>([1, 20], tokens)).State), stepped = Norms(InParts(model, tokens, [.. Enumerable.Repeat(1, 20)], steps: true, rows: 1).State);
        Assert.All(whole, norm => Assert.InRange(norm, 0, cap * (1 + 1e-14)));
        Assert.All(stepped, norm => Assert.InRange(norm, 0, cap * (1 + 1e-14)));
        Assert.Contains(whole, norm => Math.Abs(norm - cap) < 1e-12);

        Tensor state = model.Forward(cpu.Tensor<int>([1, 20], tokens)).State.Layers[0].Recurrent, caps = cpu.Tensor<double>([4], 1e3, 1e3, 1e3, 1e3);
        Assert.All(StateNormalization.Scale(state, caps).ToDoubles(), scale => Assert.Equal(1.0, scale));
        Assert.All(StateNormalization.Scale(cpu.Zeros(state.Type), caps).ToDoubles(), scale => Assert.Equal(1.0, scale));
    }

    [Fact]
    public void RetentionInStatesIsThatOfTheRecurrence()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        model.TracksRetention = true;
        foreach (string text in new[] { "none", "retention=0.9,decay=2", "window=4", "filter=50" })
        {
            Cure cure = model.Cure = Given(text, model);
            int[] tokens = Samples.Tokens(Batch * Length);
            var reference = new SequentialReference(model, cure);
            reference.Forward(tokens, Batch);
            (_, Mamba2State whole) = model.Forward(cpu.Tensor<int>([Batch, Length], tokens));
            (_, Mamba2State stepped) = InParts(model, tokens, [.. Enumerable.Repeat(1, Length)], steps: true);
            for (int layer = 0; layer < 2; layer++)
            {
                double[] expected = reference.History(layer).Aggregate(new double[Batch * 4], (sum, token) => [.. sum.Zip(token.Decay.ToDoubles(), (s, d) => s + Math.Log(d))]);
                Assert.InRange(RelativeError.Of(whole.Layers[layer].LogRetention!.ToDoubles(), expected), 0, 1e-12);
                Assert.InRange(RelativeError.Of(stepped.Layers[layer].LogRetention!.ToDoubles(), expected), 0, 1e-12);
            }
        }
    }

    [Theory, InlineData("retention=0.9"), InlineData("window=6"), InlineData("norm=0.02@3"), InlineData("stagger=4")]
    public void GenerationContinuesACuredState(string text)
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        model.Cure = Cure.Parse(text);
        int[] prompt = Samples.Tokens(9), generated = [.. new Generator(model, Sampler.Greedy).Continue(prompt, 8)];
        int[] all = [.. prompt, .. generated];
        for (int i = 0; i < generated.Length; i++)
        {
            double[] logits = model.Prefill(cpu.Tensor<int>([1, prompt.Length + i], all[..(prompt.Length + i)])).Logits.ToDoubles();
            Assert.Equal(logits.Index().MaxBy(entry => entry.Item).Index, generated[i]);
        }
    }

    [Fact]
    public void StatesOfAnotherCureAreRefused()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        Tensor tokens = cpu.Tensor<int>([1, 5], Samples.Tokens(5)), token = cpu.Tensor<int>([1], 1);
        Mamba2State plain = model.Forward(tokens).State, zeros = Mamba2State.Zeros(model.Config, 1, cpu, DType.F64);
        model.Cure = new Cure { Window = 4 };
        Mamba2State four = model.Forward(tokens).State;
        Assert.Contains("was not made with a window", Assert.Throws<ArgumentException>(() => model.Step(token, plain)).Message, StringComparison.Ordinal);
        Assert.Contains("was not made with a window", Assert.Throws<ArgumentException>(() => model.Forward(tokens, plain)).Message, StringComparison.Ordinal);
        model.Cure = new Cure { Window = 5 };
        Assert.Contains("another cure than window=5", Assert.Throws<ArgumentException>(() => model.Step(token, four)).Message, StringComparison.Ordinal);
        model.Cure = new Cure { Stagger = 4 };
        Assert.Contains("another cure", Assert.Throws<ArgumentException>(() => model.Forward(tokens, four)).Message, StringComparison.Ordinal);
        Assert.Contains("EmptyState", Assert.Throws<ArgumentException>(() => model.StepInPlace(token, zeros)).Message, StringComparison.Ordinal);
        Assert.Throws<NotSupportedException>(() => model.Forward(tokens, null, cpu.Tensor<int>([1, 5], 0, 0, 1, 1, 1)));
    }

    [Theory]
    [InlineData("retention=1.01", "retention must be above 0 and at most 1; it is 1.01")]
    [InlineData("retention=0", "above 0")]
    [InlineData("insertion=-1", "insertion must be 0 or a positive number")]
    [InlineData("step=0", "timestep must be a positive number")]
    [InlineData("retention=0.9/0.8/0.7", "3 factors; the model has 2 layers")]
    [InlineData("window=4,reset=4", "exclude each other")]
    [InlineData("window=4,norm=1", "norm goes with neither")]
    [InlineData("stagger=5", "must be even")]
    [InlineData("norm=0", "cap of a norm must be a positive number")]
    [InlineData("norm=1x", "have not been measured")]
    [InlineData("filter=100", "have not been measured")]
    public void WhatDoesNotFitIsRefused(string text, string words)
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        Assert.Contains(words, Assert.Throws<ArgumentException>(() => model.Cure = Cure.Parse(text)).Message, StringComparison.Ordinal);
        Assert.True(model.Cure.IsNeutral);
    }

    /// <summary>The cure; a filter lets half of the tokens pass all heads but the first.</summary>
    private Cure Given(string text, Mamba2Model model)
    {
        var cure = Cure.Parse(text);
        if (cure.Filter is null)
            return cure;
        var thresholds = new double[model.Config.Layers][];
        model.Observer = new Medians(thresholds);
        model.Forward(cpu.Tensor<int>([Batch, Length], Samples.Tokens(Batch * Length)));
        model.Observer = null;
        return cure with { Filter = cure.Filter with { Thresholds = thresholds, TrainingLength = Length / 3 } };
    }

    private sealed class Medians(double[][] thresholds) : IObserver
    {
        public void Observe(int layer, Observation observation)
        {
            int heads = observation.TimeStep.Shape[2];
            double[] steps = observation.TimeStep.ToDoubles();
            thresholds[layer] = [.. Enumerable.Range(0, heads).Select(head => head == 0 ? 0 : Middle(steps.Where((_, i) => i % heads == head)))];
        }

        /// <summary>Between two different steps, so that the last digit of neither matters.</summary>
        private static double Middle(IEnumerable<double> steps)
        {
            double[] values = [.. steps.Select(step => Math.Round(step, 9)).Distinct().Order()];
            return (values[values.Length / 2 - 1] + values[values.Length / 2]) / 2;
        }
    }

    /// <summary>Of staggered states only one is read, and which one is not the same in the definition: they are left out.</summary>
    private static Outcome Of(Mamba2Model model, (Tensor Logits, Mamba2State State) result)
    {
        Mamba2State state = model.Cure.Stagger == 0 ? result.State : new Mamba2State([.. result.State.Layers.Select(layer => layer with { Recurrent = layer.Convolution })]);
        return Outcome.Of(model, (result.Logits, state));
    }

    private (Tensor Logits, Mamba2State State) InParts(Mamba2Model model, int[] tokens, int[] lengths, bool steps, int rows = Batch)
    {
        int length = tokens.Length / rows, start = 0;
        Mamba2State? state = null;
        var logits = new List<Tensor>();
        foreach (int count in lengths)
        {
            int[] part = [.. Enumerable.Range(0, rows).SelectMany(row => tokens[(row * length + start)..(row * length + start + count)])];
            Tensor next;
            if (steps && count == 1)
            {
                (next, state) = model.Step(cpu.Tensor<int>([rows], part), state);
                next = next.Reshape([rows, 1, model.Config.VocabularySize]);
            }
            else
            {
                (next, state) = model.Forward(cpu.Tensor<int>([rows, count], part), state);
            }
            logits.Add(next);
            start += count;
        }
        return (TensorOperations.Concatenate(1, [.. logits]), state!);
    }

    private static double[] Norms(Mamba2State state) =>
        [.. state.Layers.SelectMany(layer => layer.Recurrent.ToDoubles().Chunk(layer.Recurrent.Shape[2] * layer.Recurrent.Shape[3])).Select(head => Math.Sqrt(head.Sum(x => x * x)))];
}
