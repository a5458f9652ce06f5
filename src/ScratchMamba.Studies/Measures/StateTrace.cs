using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Studies.Measures;

/// <summary>What intervals over prompts are made of: of one head, a number for every prompt.</summary>
/// <param name="LogRetention">log α₁:ₜ at the end of the training length.</param>
/// <param name="EarlyVariance">The variance of the state's entries there.</param>
/// <param name="LastVariance">The same at the end of the prompt.</param>
/// <param name="TopShare">The share of Σh² in the largest tenth of the entries of the late state.</param>
/// <param name="StepDrift">How far Δ is from its first sample at the end of the prompt, divided by that.</param>
/// <param name="KeyDrift">How far the vector of B is from its first sample there, divided by that one's length.</param>
public sealed record HeadPrompts(double[] LogRetention, double[] EarlyVariance, double[] LastVariance, double[] TopShare, double[] StepDrift, double[] KeyDrift);

/// <summary>One head over time, averaged over prompts.</summary>
/// <param name="Layer">The layer, from 0.</param>
/// <param name="Head">The head, from 0.</param>
/// <param name="LogRetention">log α₁:ₜ at each position.</param>
/// <param name="Mean">The mean of the state's entries.</param>
/// <param name="Variance">The variance of the state's entries.</param>
/// <param name="StepDrift">How far Δ is from its first sample, divided by that; each prompt from its own.</param>
/// <param name="InputDrift">How far the vector of x is from its first sample, divided by that one's length.</param>
/// <param name="KeyDrift">How far the vector of B is from its first sample, divided by that one's length.</param>
/// <param name="MeanDecay">The mean of α over the whole prompt.</param>
/// <param name="Prompts">Single prompts.</param>
public sealed record HeadTrace(
    int Layer, int Head, double[] LogRetention, double[] Mean, double[] Variance, double[] StepDrift, double[] InputDrift, double[] KeyDrift, double MeanDecay, HeadPrompts Prompts);

/// <summary>What a layer's convolution carries, over time.</summary>
/// <param name="Layer">The layer, from 0.</param>
/// <param name="Mean">The mean of its entries, averaged over prompts.</param>
/// <param name="Variance">The variance of its entries, averaged over prompts.</param>
/// <param name="EarlyVariance">The same around the end of the training length, of every prompt: three inputs alone say little, so it is the mean of the samples of the second half.</param>
/// <param name="LastVariance">The same over the last half as many tokens.</param>
public sealed record ConvolutionTrace(int Layer, double[] Mean, double[] Variance, double[] EarlyVariance, double[] LastVariance);

/// <summary>What goes on in every head while prompts are read.</summary>
/// <param name="Positions">After how many tokens.</param>
/// <param name="Heads">Every head of every layer.</param>
/// <param name="Convolutions">Every layer.</param>
/// <param name="EarlyStates">The states of the first prompt at the end of the training length: [head of <paramref name="Heads"/>][entry].</param>
/// <param name="LateStates">The same after <see cref="LateFactor"/> times as many tokens.</param>
public sealed record StateTrace(long[] Positions, HeadTrace[] Heads, ConvolutionTrace[] Convolutions, float[][] EarlyStates, float[][] LateStates)
{
    /// <summary>How much later the late states are.</summary>
    public const double LateFactor = 2.5;

    /// <summary>Reads prompts and looks into every head every so many tokens.</summary>
    public static StateTrace Measure(Mamba2Model model, StudyData data, int trainingLength, int length, int stride, int prompts, ulong seed, JobContext context)
    {
        using var pause = Differentiation.Pause();
        using var scope = new Scope();
        int late = (int)(LateFactor * trainingLength) / stride * stride, early = Math.Max(stride, trainingLength / stride * stride), layers = model.Config.Layers;
        var probe = new StateProbe(stride, channels: true) { KeepsStates = position => position == early || position == late };
        model.Observer = probe;
        int[] tokens = data.Batch(seed, 0, prompts, length).Inputs;
        Mamba2State state = model.EmptyState(prompts);
        // [layer][sample][prompt]
        var carried = Enumerable.Range(0, layers).Select(_ => new List<StateStatistics[]>()).ToArray();
        // A piece for every sample: what the convolution carries is seen at the end of a piece only.
        for (int start = 0; start < length; start += stride)
        {
            context.Cancellation.ThrowIfCancellationRequested();
            using var pieces = new Scope();
            int width = Math.Min(stride, length - start);
            int[] part = [.. Enumerable.Range(0, prompts).SelectMany(row => tokens.AsSpan(row * length + start, width).ToArray())];
            state.CopyFrom(model.Prefill(model.Backend.Tensor<int>([prompts, width], part), state).State);
            for (int layer = 0; layer < layers && width == stride; layer++)
            {
                double[] inputs = state.Layers[layer].Convolution.ToDoubles();
                carried[layer].Add([.. inputs.Chunk(inputs.Length / prompts).Select(row => StateStatistics.Of(row, model.Config.ConvolutionWidth, rank: false))]);
            }
            context.Report((start + width) / (double)length, $"{start + width:#,0} of {length:#,0} tokens");
        }
        model.Observer = null;
        var heads = new List<HeadTrace>();
        List<float[]> earlyStates = [], lateStates = [];
        for (int layer = 0; layer < layers; layer++)
        {
            IReadOnlyList<LayerSample> samples = probe[layer];
            for (int head = 0; head < model.Config.Heads; head++)
            {
                heads.Add(Trace(model.Config, samples, layer, head, early, late));
                earlyStates.Add(StateAt(samples, early, head));
                lateStates.Add(StateAt(samples, late, head));
            }
        }
        int half = Math.Max(1, early / stride / 2);
        double[] Over(List<StateStatistics[]> samples, int from) =>
            [.. Enumerable.Range(0, prompts).Select(row => samples.Skip(from).Take(half).Average(sample => sample[row].Variance))];
        ConvolutionTrace[] convolutions =
        [
            .. carried.Select((samples, layer) => new ConvolutionTrace(
                layer, [.. samples.Select(sample => sample.Average(row => row.Mean))], [.. samples.Select(sample => sample.Average(row => row.Variance))],
                Over(samples, early / stride - half), Over(samples, samples.Count - half))),
        ];
        return new StateTrace([.. probe[0].Select(sample => sample.Position)], [.. heads], convolutions, [.. earlyStates], [.. lateStates]);
    }

    private static HeadTrace Trace(Mamba2Config config, IReadOnlyList<LayerSample> samples, int layer, int head, long early, long late)
    {
        int group = head / (config.Heads / config.Groups), prompts = samples[0].Heads.Length;
        LayerSample atEarly = samples.First(sample => sample.Position == early), last = samples[^1];
        double[] Over(Func<HeadSample, double> value) => [.. samples.Select(sample => sample.Heads.Average(row => value(row[head])))];
        double[] Each(Func<int, double> value) => [.. Enumerable.Range(0, prompts).Select(value)];
        // [prompt][sample]
        double[][] Drifts(Func<LayerSample, int, double[]> vector) => [.. Enumerable.Range(0, prompts).Select(row => Drift([.. samples.Select(sample => vector(sample, row))]))];
        static double[] Averaged(double[][] drifts) => [.. Enumerable.Range(0, drifts[0].Length).Select(sample => drifts.Average(row => row[sample]))];
        double[][] steps = Drifts((sample, row) => [sample.Heads[row][head].TimeStep]);
        double[][] inputs = Drifts((sample, row) => sample.X[row][(head * config.HeadSize)..((head + 1) * config.HeadSize)]);
        double[][] keys = Drifts((sample, row) => sample.B[row][(group * config.StateSize)..((group + 1) * config.StateSize)]);
        LayerSample? atLate = samples.FirstOrDefault(sample => sample.Position == late);
        var own = new HeadPrompts(
            Each(row => atEarly.Heads[row][head].LogRetention), Each(row => atEarly.Heads[row][head].State.Variance), Each(row => last.Heads[row][head].State.Variance),
            atLate is null ? [] : Each(row => TopShare(atLate.States[row][head])), Each(row => steps[row][^1]), Each(row => keys[row][^1]));
        return new HeadTrace(
            layer, head, Over(sample => sample.LogRetention), Over(sample => sample.State.Mean), Over(sample => sample.State.Variance), Averaged(steps), Averaged(inputs), Averaged(keys),
            Over(sample => sample.Decay).Average(), own);
    }

    /// <summary>The share of Σh² in the largest tenth of the entries.</summary>
    public static double TopShare(ReadOnlySpan<double> entries)
    {
        double[] squares = entries.ToArray();
        for (int i = 0; i < squares.Length; i++)
            squares[i] *= squares[i];
        Array.Sort(squares, (x, y) => y.CompareTo(x));
        return squares.Length == 0 ? double.NaN : squares.Take(Math.Max(1, squares.Length / 10)).Sum() / squares.Sum();
    }

    private static double[] Drift(double[][] vectors)
    {
        static double Norm(IEnumerable<double> values) => Math.Sqrt(values.Sum(value => value * value));
        double scale = Math.Max(1e-12, Norm(vectors[0]));
        return [.. vectors.Select(vector => Norm(vector.Zip(vectors[0], (now, first) => now - first)) / scale)];
    }

    private static float[] StateAt(IReadOnlyList<LayerSample> samples, long position, int head) =>
        samples.FirstOrDefault(sample => sample.Position == position) is { States.Length: > 0 } sample ? [.. sample.States[0][head].Select(value => (float)value)] : [];
}
