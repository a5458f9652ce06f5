using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Studies.Measures;

/// <summary>One head over time, averaged over prompts.</summary>
/// <param name="Layer">The layer, from 0.</param>
/// <param name="Head">The head, from 0.</param>
/// <param name="LogRetention">log α₁:ₜ at each position.</param>
/// <param name="Mean">The mean of the state's entries.</param>
/// <param name="Variance">The variance of the state's entries.</param>
/// <param name="StepDrift">How far Δ is from its first sample, divided by that.</param>
/// <param name="InputDrift">How far the vector of x is from its first sample, divided by that one's length.</param>
/// <param name="KeyDrift">How far the vector of B is from its first sample, divided by that one's length.</param>
public sealed record HeadTrace(int Layer, int Head, double[] LogRetention, double[] Mean, double[] Variance, double[] StepDrift, double[] InputDrift, double[] KeyDrift);

/// <summary>What goes on in every head while prompts are read.</summary>
/// <param name="Positions">After how many tokens.</param>
/// <param name="Heads">Every head of every layer.</param>
/// <param name="EarlyStates">The states of the first prompt at the end of the training length: [head of <paramref name="Heads"/>][entry].</param>
/// <param name="LateStates">The same after <see cref="LateFactor"/> times as many tokens.</param>
public sealed record StateTrace(long[] Positions, HeadTrace[] Heads, float[][] EarlyStates, float[][] LateStates)
{
    /// <summary>How much later the late states are.</summary>
    public const double LateFactor = 2.5;

    /// <summary>Reads prompts and looks into every head every so many tokens.</summary>
    public static StateTrace Measure(Mamba2Model model, StudyData data, int trainingLength, int length, int stride, int prompts, ulong seed, JobContext context)
    {
        const int Piece = 1024;
        using var pause = Differentiation.Pause();
        using var scope = new Scope();
        int late = (int)(LateFactor * trainingLength) / stride * stride, early = Math.Max(stride, trainingLength / stride * stride);
        var probe = new StateProbe(stride, channels: true) { KeepsStates = position => position == early || position == late };
        model.Observer = probe;
        int[] tokens = data.Batch(seed, 0, prompts, length).Inputs;
        Mamba2State state = model.EmptyState(prompts);
        for (int start = 0; start < length; start += Piece)
        {
            context.Cancellation.ThrowIfCancellationRequested();
            using var pieces = new Scope();
            int width = Math.Min(Piece, length - start);
            int[] part = [.. Enumerable.Range(0, prompts).SelectMany(row => tokens.AsSpan(row * length + start, width).ToArray())];
            state.CopyFrom(model.Prefill(model.Backend.Tensor<int>([prompts, width], part), state).State);
            context.Report((start + width) / (double)length, $"{start + width:#,0} of {length:#,0} tokens");
        }
        model.Observer = null;
        var heads = new List<HeadTrace>();
        List<float[]> earlyStates = [], lateStates = [];
        for (int layer = 0; layer < model.Config.Layers; layer++)
        {
            IReadOnlyList<LayerSample> samples = probe[layer];
            for (int head = 0; head < model.Config.Heads; head++)
            {
                heads.Add(Trace(model.Config, samples, layer, head));
                earlyStates.Add(StateAt(samples, early, head));
                lateStates.Add(StateAt(samples, late, head));
            }
        }
        return new StateTrace([.. probe[0].Select(sample => sample.Position)], [.. heads], [.. earlyStates], [.. lateStates]);
    }

    private static HeadTrace Trace(Mamba2Config config, IReadOnlyList<LayerSample> samples, int layer, int head)
    {
        int group = head / (config.Heads / config.Groups);
        double[] Over(Func<HeadSample, double> value) => [.. samples.Select(sample => sample.Heads.Average(row => value(row[head])))];
        // Of the mean vector of all prompts: what differs between prompts is not a drift.
        double[][] Vectors(Func<LayerSample, double[][]> channels, int start, int count) =>
            [.. samples.Select(sample => Enumerable.Range(start, count).Select(channel => channels(sample).Average(row => row[channel])).ToArray())];
        double[] steps = Over(sample => sample.TimeStep);
        return new HeadTrace(
            layer, head, Over(sample => sample.LogRetention), Over(sample => sample.State.Mean), Over(sample => sample.State.Variance),
            Drift([.. steps.Select(step => new[] { step })]),
            Drift(Vectors(sample => sample.X, head * config.HeadSize, config.HeadSize)), Drift(Vectors(sample => sample.B, group * config.StateSize, config.StateSize)));
    }

    private static double[] Drift(double[][] vectors)
    {
        static double Norm(IEnumerable<double> values) => Math.Sqrt(values.Sum(value => value * value));
        double scale = vectors.Length > 0 ? Math.Max(1e-12, Norm(vectors[0])) : 1;
        return [.. vectors.Select(vector => Norm(vector.Zip(vectors[0], (now, first) => now - first)) / scale)];
    }

    private static float[] StateAt(IReadOnlyList<LayerSample> samples, long position, int head) =>
        samples.FirstOrDefault(sample => sample.Position == position) is { States.Length: > 0 } sample ? [.. sample.States[0][head].Select(value => (float)value)] : [];
}
