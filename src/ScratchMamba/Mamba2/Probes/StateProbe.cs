
namespace ScratchMamba.Mamba2.Probes;

/// <summary>One head over the tokens since the sample before, and its state after them.</summary>
/// <param name="State">The state after the last of them.</param>
/// <param name="LogRetention">log α₁:ₜ, what is left of the first token: Σ log αₛ over all tokens so far.</param>
/// <param name="TimeStep">The mean of Δ.</param>
/// <param name="Decay">The mean of α.</param>
/// <param name="XMean">The mean of x over tokens and channels.</param>
/// <param name="XVariance">The unbiased variance of x over tokens and channels.</param>
public readonly record struct HeadSample(StateStatistics State, double LogRetention, double TimeStep, double Decay, double XMean, double XVariance);

/// <summary>One layer after so many tokens. All lists begin with the row of the batch.</summary>
/// <param name="Position">How many tokens have been read.</param>
/// <param name="Heads">[row][head].</param>
/// <param name="X">The mean of every channel of x since the sample before: [row][head · P + p]. Empty unless channels are asked for.</param>
/// <param name="B">The mean of every channel of B: [row][group · N + n]. Empty unless channels are asked for.</param>
/// <param name="C">The mean of every channel of C: [row][group · N + n]. Empty unless channels are asked for.</param>
/// <param name="States">The states themselves, [row][head] of P · N numbers; empty unless asked for.</param>
public sealed record LayerSample(long Position, HeadSample[][] Heads, double[][] X, double[][] B, double[][] C, double[][][] States);

/// <summary>
/// Records every layer of a model every so many tokens while it reads, over as many calls as the text takes, in training and inference: <c>model.Observer = new StateProbe(128)</c>.
/// </summary>
/// <param name="stride">How many tokens lie between two samples.</param>
/// <param name="ranks">Whether to compute effective ranks.</param>
/// <param name="channels">Whether to record the means of single channels.</param>
public sealed class StateProbe(int stride, bool ranks = false, bool channels = false) : IObserver
{
    private readonly Dictionary<int, Series> layers = [];

    /// <summary>After how many tokens whole states are recorded; by default never.</summary>
    public Func<long, bool> KeepsStates { get; init; } = _ => false;

    /// <summary>The samples of a layer so far.</summary>
    public IReadOnlyList<LayerSample> this[int layer] => layers.TryGetValue(layer, out Series? series) ? series.Samples : [];

    /// <summary>Forgets everything, for another text.</summary>
    public void Clear() => layers.Clear();

    /// <inheritdoc/>
    public void Observe(int layer, Observation observation)
    {
        if (!layers.TryGetValue(layer, out Series? series))
            layers.Add(layer, series = new Series(this, observation));
        series.Observe(observation);
    }

    /// <summary>Sums since the last sample of one layer.</summary>
    private sealed class Series(StateProbe probe, Observation shape)
    {
        private readonly int rows = shape.X.Shape[0], heads = shape.X.Shape[2], width = shape.X.Shape[3], inner = shape.X.Shape[2] * shape.X.Shape[3];
        private readonly int grouped = shape.B.Shape[2] * shape.B.Shape[3], states = shape.B.Shape[3];
        private readonly double[] logRetention = new double[shape.X.Shape[0] * shape.X.Shape[2]];
        private double[] steps = [], decays = [], squares = [], x = [], b = [], c = [];
        private int count;
        private long position;

        public List<LayerSample> Samples { get; } = [];

        public void Observe(Observation seen)
        {
            if (seen.X.Shape[0] != rows)
                throw new ArgumentException($"A probe of {rows} rows was shown {seen.X.Shape[0]}. Clear it for another batch.");
            double[] allSteps = seen.TimeStep.ToDoubles(), allLogs = seen.LogDecay.ToDoubles(), allX = seen.X.ToDoubles();
            double[] allB = probe.Channels ? seen.B.ToDoubles() : [], allC = probe.Channels ? seen.C.ToDoubles() : [];
            int done = 0;
            seen.VisitStates(probe.Stride - count, probe.Stride, (next, state) =>
            {
                AddUpTo(next);
                Samples.Add(Sample(state.ToDoubles()));
            });
            AddUpTo(seen.Length);

            void AddUpTo(int next)
            {
                for (; done < next; done++)
                    Add(done, seen.Length, allSteps, allLogs, allX, allB, allC);
            }
        }

        private void Add(int t, int length, double[] allSteps, double[] allLogs, double[] allX, double[] allB, double[] allC)
        {
            if (count == 0)
            {
                (steps, decays, squares, x) = (new double[rows * heads], new double[rows * heads], new double[rows * heads], new double[rows * inner]);
                (b, c) = probe.Channels ? (new double[rows * grouped], new double[rows * grouped]) : ([], []);
            }
            for (int row = 0; row < rows; row++)
            {
                int at = row * length + t;
                for (int head = 0; head < heads; head++)
                {
                    double log = allLogs[at * heads + head];
                    logRetention[row * heads + head] += log;
                    decays[row * heads + head] += Math.Exp(log);
                    steps[row * heads + head] += allSteps[at * heads + head];
                }
                for (int i = 0; i < inner; i++)
                {
                    double value = allX[at * inner + i];
                    x[row * inner + i] += value;
                    squares[row * heads + i / width] += value * value;
                }
                for (int i = 0; i < grouped && probe.Channels; i++)
                {
                    b[row * grouped + i] += allB[at * grouped + i];
                    c[row * grouped + i] += allC[at * grouped + i];
                }
            }
            count++;
            position++;
        }

        private LayerSample Sample(double[] state)
        {
            int size = width * states;
            double[][] Means(double[] sums) => !probe.Channels ? [] : [.. sums.Chunk(sums.Length / rows).Select(row => Array.ConvertAll(row, sum => sum / count))];
            var sample = new LayerSample(
                position, [.. Enumerable.Range(0, rows).Select(row => Enumerable.Range(row * heads, heads).Select(Head).ToArray())], Means(x), Means(b), Means(c),
                probe.KeepsStates(position) ? [.. state.Chunk(size).Chunk(heads)] : []);
            count = 0;
            return sample;

            HeadSample Head(int index)
            {
                long numbers = (long)count * width;
                double mean = x.AsSpan(index * width, width).ToArray().Sum() / numbers;
                double variance = Math.Max(0, squares[index] - numbers * mean * mean) / (numbers - 1);
                return new HeadSample(
                    StateStatistics.Of(state.AsSpan(index * size, size), states, probe.Ranks), logRetention[index], steps[index] / count, decays[index] / count, mean, variance);
            }
        }
    }

    private int Stride { get; } = stride > 0 ? stride : throw new ArgumentOutOfRangeException(nameof(stride), stride, "A probe samples every so many tokens.");

    private bool Ranks => ranks;

    private bool Channels => channels;
}
