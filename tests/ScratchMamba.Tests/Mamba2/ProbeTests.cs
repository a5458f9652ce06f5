using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Probes see what the recurrence does, and disturb nothing.</summary>
public sealed class ProbeTests : IDisposable
{
    private const int Batch = 2, Length = 24;

    private readonly CpuBackend cpu = new();
    private readonly Scope scope = new();

    public void Dispose()
    {
        scope.Dispose();
        cpu.Dispose();
    }

    [Theory]
    [InlineData("none", "plain")]
    [InlineData("none", "two groups, norm per group")]
    [InlineData("none", "a learned initial state")]
    [InlineData("retention=0.9,window=5", "plain")]
    [InlineData("norm=0.02@4,reset=9", "plain")]
    public void SamplesAreThoseOfTheRecurrence(string text, string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        Cure cure = model.Cure = Cure.Parse(text);
        int[] tokens = Samples.Tokens(Batch * Length);
        const int Stride = 5;
        var probes = new List<StateProbe>();
        // At once, in pieces that do not fit the stride, and token by token: the convolution's state is carried, too.
        foreach (int[] lengths in new int[][] { [Length], [3, 1, 11, 9], [.. Enumerable.Repeat(1, Length)] })
        {
            var probe = new StateProbe(Stride, ranks: true, channels: true) { KeepsStates = position => position == 10 };
            model.Observer = probe;
            Mamba2State? state = null;
            int start = 0;
            foreach (int count in lengths)
            {
                int[] part = [.. Enumerable.Range(0, Batch).SelectMany(row => tokens[(row * Length + start)..(row * Length + start + count)])];
                state = count == 1 ? model.Step(cpu.Tensor<int>([Batch], part), state).State : model.Forward(cpu.Tensor<int>([Batch, count], part), state).State;
                start += count;
            }
            probes.Add(probe);
        }
        model.Observer = null;

        var reference = new SequentialReference(model, cure);
        Mamba2State? at = null;
        int heads = model.Config.Heads, size = model.Config.HeadSize * model.Config.StateSize;
        for (int sample = 0; sample < Length / Stride; sample++)
        {
            int[] part = [.. Enumerable.Range(0, Batch).SelectMany(row => tokens[(row * Length + sample * Stride)..(row * Length + (sample + 1) * Stride)])];
            (_, at) = reference.Forward(part, Batch, at);
            for (int layer = 0; layer < model.Config.Layers; layer++)
            {
                double[] states = at.Layers[layer].Recurrent.ToDoubles();
                double[][] decays = [.. reference.History(layer).Select(token => token.Decay.ToDoubles())];
                foreach (StateProbe probe in probes)
                {
                    LayerSample seen = probe[layer][sample];
                    Assert.Equal((sample + 1) * Stride, seen.Position);
                    Assert.Equal(seen.Position == 10, seen.States.Length > 0);
                    for (int i = 0; i < Batch * heads; i++)
                    {
                        (int row, int head) = (i / heads, i % heads);
                        double[] own = states[(i * size)..((i + 1) * size)];
                        HeadSample found = seen.Heads[row][head];
                        double mean = own.Average(), norm = Math.Sqrt(own.Sum(x => x * x));
                        Near(mean, found.State.Mean);
                        Near(own.Sum(x => (x - mean) * (x - mean)) / (size - 1), found.State.Variance);
                        Near(norm, found.State.Norm);
                        Near(norm / Math.Sqrt(size), found.State.RootMeanSquare);
                        double[] order = [.. own.Order()];
                        Near((order[(size - 1) / 2] + order[size / 2]) / 2, found.State.Median);
                        Assert.InRange(found.State.EffectiveRank, 1 - 1e-9, Math.Min(model.Config.HeadSize, model.Config.StateSize) + 1e-9);
                        Near(decays.Sum(token => Math.Log(token[i])), found.LogRetention);
                        Near(decays[^Stride..].Average(token => token[i]), found.Decay);
                        if (seen.States.Length > 0)
                            Assert.InRange(RelativeError.Of(seen.States[row][head], own), 0, 1e-10);
                    }
                }
            }
        }
        // What the layer's inputs are does not depend on how the text was cut.
        foreach (StateProbe probe in probes[1..])
        {
            foreach ((LayerSample whole, LayerSample part) in probes[0][1].Zip(probe[1]))
            {
                for (int row = 0; row < Batch; row++)
                {
                    Assert.InRange(RelativeError.Of(part.X[row], whole.X[row]), 0, 1e-10);
                    Assert.InRange(RelativeError.Of(part.B[row], whole.B[row]), 0, 1e-10);
                    Assert.InRange(RelativeError.Of(part.C[row], whole.C[row]), 0, 1e-10);
                    for (int head = 0; head < heads; head++)
                    {
                        Near(whole.Heads[row][head].TimeStep, part.Heads[row][head].TimeStep);
                        Near(whole.Heads[row][head].XMean, part.Heads[row][head].XMean);
                        Near(whole.Heads[row][head].XVariance, part.Heads[row][head].XVariance);
                    }
                }
            }
        }

        static void Near(double expected, double actual) => Assert.InRange(Math.Abs(actual - expected) / Math.Max(1, Math.Abs(expected)), 0, 1e-10);
    }

    [Fact]
    public void WhatIsInsertedIsWhatTheProbeSees()
    {
        // One layer without cures: h_L from the probe's Δ, x and B by the recurrence's own words.
        var model = new Mamba2Model(Samples.Plain with { Layers = 1, Groups = 2 }, cpu, DType.F64, seed: 4);
        Observation? seen = null;
        model.Observer = new Watch((_, observation) => seen = observation);
        (_, Mamba2State state) = model.Forward(cpu.Tensor<int>([1, Length], Samples.Tokens(Length)));
        double[] x = seen!.X.ToDoubles(), step = seen.TimeStep.ToDoubles(), a = seen.A.ToDoubles(), b = seen.B.ToDoubles(), logDecay = seen.LogDecay.ToDoubles();
        (int heads, int width, int states) = (4, 6, 5);
        var h = new double[heads * width * states];
        for (int t = 0; t < Length; t++)
        {
            for (int i = 0; i < h.Length; i++)
            {
                (int head, int p, int n) = (i / states / width, i / states % width, i % states);
                double delta = step[t * heads + head];
                Assert.Equal(delta * a[head], logDecay[t * heads + head], 1e-15);
                h[i] = Math.Exp(delta * a[head]) * h[i] + delta * x[(t * heads + head) * width + p] * b[(t * 2 + head / 2) * states + n];
            }
        }
        Assert.InRange(RelativeError.Of(state.Layers[0].Recurrent.ToDoubles(), h), 0, 1e-12);
        Assert.Same(state.Layers[0].Recurrent, seen.After.Recurrent);
    }

    [Theory, InlineData(false), InlineData(true)]
    public void AProbeChangesNoBitOfTraining(bool recomputes)
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        model.RecomputedLayers = recomputes ? int.MaxValue : 0;
        Tensor tokens = cpu.Tensor<int>([Batch, Length], Samples.Tokens(Batch * Length)), labels = cpu.Tensor<int>([Batch, Length], Samples.Tokens(Batch * Length, seed: 6));
        Dictionary<string, float[]> before = Train(), after;
        var probe = new StateProbe(4);
        model.Observer = probe;
        after = Train();
        // Once each, although blocks that recompute pass twice.
        Assert.Equal(Length / 4, probe[0].Count);
        Assert.Equal(Length / 4, probe[1].Count);
        foreach ((string path, float[] gradient) in before)
            Assert.Equal(gradient, after[path]);

        Dictionary<string, float[]> Train()
        {
            Gradients gradients = model.Losses(tokens, labels).MeanOverLabels(labels).Backward();
            return model.Parameters().ToDictionary(entry => entry.Path, entry => gradients[entry.Parameter.Value].ToArray<float>());
        }
    }

    [Fact]
    public void EffectiveRanksAreKnown()
    {
        double[] identity = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0], outer = [1, 2, 3, 2, 4, 6], turned = [3, 4, -4, 3];
        Assert.Equal(3, EffectiveRank.Of(identity, 4), 1e-12);
        Assert.Equal(1, EffectiveRank.Of(outer, 3), 1e-12);
        Assert.Equal([5.0, 5], EffectiveRank.SingularValues(turned, 2), (x, y) => Math.Abs(x - y) < 1e-12);
        Assert.True(double.IsNaN(EffectiveRank.Of(new double[6], 3)));

        // σ of a triangular matrix, by its trace and determinant: σ₁² + σ₂² = Σ h², σ₁ σ₂ = |det|.
        double[] values = EffectiveRank.SingularValues([1, 2, 0, 3], 2);
        Assert.Equal(14, values.Sum(value => value * value), 1e-12);
        Assert.Equal(3, values[0] * values[1], 1e-12);

        // Both ways round, and far apart in size.
        var random = new Random(2);
        double[] wide = [.. Enumerable.Range(0, 5 * 9).Select(i => (random.NextDouble() - 0.5) * Math.Pow(10, -2 * (i / 9)))];
        double[] tall = [.. Enumerable.Range(0, 45).Select(i => wide[i % 5 * 9 + i / 5])];
        Assert.Equal(EffectiveRank.SingularValues(wide, 9).Order(), EffectiveRank.SingularValues(tall, 5).Order(), (x, y) => Math.Abs(x - y) < 1e-14);
    }

    [Fact]
    public void HistogramsCountAndOutliersStandOut()
    {
        var histogram = Histogram.Of([0, 0.1, 0.5, 0.99, 1, 7, -1], 0, 1, bins: 4);
        Assert.Equal([2L, 0, 1, 2], histogram.Counts);
        Assert.Equal([3L], Histogram.Of([2, 2, 2], 2, 2, bins: 1).Counts);

        var state = new double[6 * 4];
        Array.Fill(state, 0.1);
        for (int p = 0; p < 6; p++)
            state[p * 4 + 2] = -5;
        (bool isRow, int index, double ratio) = Assert.Single(Histogram.Outliers(state, 4));
        Assert.False(isRow);
        Assert.Equal(2, index);
        Assert.Equal(2500, ratio, 1e-6);
    }

    [Fact]
    public void RemembranceIsTheDistanceOfPredictions()
    {
        Mamba2Model model = Samples.Model("plain", cpu);
        int[] tokens = Samples.Tokens(Length);
        double[] found = EffectiveRemembrance.Measure(model, tokens, 0, 9, Length - 1);
        Assert.Equal(0, found[0]);
        double[] with = Softmax(tokens), without = Softmax(tokens[9..]);
        Assert.Equal(with.Zip(without, (p, q) => Math.Abs(p - q)).Sum() / 2, found[1], 1e-12);
        Assert.InRange(found[2], 1e-4, 1);

        // A window of 4 and 3 inputs of the convolution in each of 2 layers: nothing before the last 13 tokens is remembered.
        model.Cure = new Cure { Window = 4 };
        double[] windowed = EffectiveRemembrance.Measure(model, tokens, Length - 13, Length - 5);
        Assert.InRange(windowed[0], 0, 1e-12);
        Assert.True(windowed[1] > 1e-6);

        double[] Softmax(int[] text) => model.Prefill(cpu.Tensor<int>([1, text.Length], text)).Logits.Softmax(1).ToDoubles();
    }

    private sealed class Watch(Action<int, Observation> observe) : IObserver
    {
        public void Observe(int layer, Observation observation) => observe(layer, observation);
    }
}
