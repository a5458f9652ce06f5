using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Statistics;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Studies.Measures;

/// <summary>Predictions that were scored, summed.</summary>
/// <param name="Loss">The sum of their losses, in nats.</param>
/// <param name="Right">How many of them were right: the most probable token was the one that came.</param>
/// <param name="Count">How many there were.</param>
public readonly record struct Tally(double Loss, long Right, long Count)
{
    /// <summary>The mean loss; not a number where nothing was scored.</summary>
    public double MeanLoss => Count > 0 ? Loss / Count : double.NaN;

    /// <summary>The share that was right; not a number where nothing was scored.</summary>
    public double Accuracy => Count > 0 ? Right / (double)Count : double.NaN;

    /// <summary>Both together.</summary>
    public static Tally operator +(Tally a, Tally b) => new(a.Loss + b.Loss, a.Right + b.Right, a.Count + b.Count);
}

/// <summary>Loss and accuracy of a model against the position, in buckets, for each of several prompts.</summary>
/// <param name="TrainingLength">The length that the model was trained on.</param>
/// <param name="Ends">The last position of each bucket; a bucket begins after the one before. Position 1 is the prediction of the second token.</param>
/// <param name="All">What was scored, [prompt][bucket].</param>
/// <param name="Recent">That part of it whose information was near, [prompt][bucket]: see <see cref="ProfileSettings.Recent"/>.</param>
/// <param name="PeakBytes">The most memory that tensors took.</param>
/// <param name="Bytes">The most that they took while each bucket was read; null in measurements of before this was kept.</param>
public sealed record LengthProfile(int TrainingLength, long[] Ends, Tally[][] All, Tally[][] Recent, long PeakBytes, long[]? Bytes = null)
{
    /// <summary>A bucket's tally over prompts, some of which may be named several times.</summary>
    public static Tally Pool(Tally[][] tallies, int bucket, IEnumerable<int> prompts) => prompts.Aggregate(default(Tally), (sum, prompt) => sum + tallies[prompt][bucket]);

    /// <summary>A bucket's tally over all prompts.</summary>
    public static Tally Pool(Tally[][] tallies, int bucket) => Pool(tallies, bucket, Enumerable.Range(0, tallies.Length));

    /// <summary>The buckets inside the training length.</summary>
    public IEnumerable<int> Inside => Enumerable.Range(0, Ends.Length).Where(bucket => Ends[bucket] <= TrainingLength);

    /// <summary>The buckets outside the training length.</summary>
    public IEnumerable<int> Outside => Enumerable.Range(0, Ends.Length).Where(bucket => Ends[bucket] > TrainingLength);

    /// <summary>The tally of all that was scored inside the training length.</summary>
    public Tally WholeInside(Tally[][] tallies) => Inside.Aggregate(default(Tally), (sum, bucket) => sum + Pool(tallies, bucket));

    /// <summary>Ends at a quarter, a half and the whole of the training length, and then at each double up to a length; what lies behind half of it may be cut into equal stretches.</summary>
    public static long[] EndsFor(int trainingLength, long length, int stretches = 1)
    {
        var ends = new List<long>();
        for (long end = Math.Max(1, trainingLength / 4); end < length; end *= 2)
            ends.Add(end);
        long begin = ends.Count > 0 ? ends[^1] : 0;
        return [.. ends, .. Enumerable.Range(1, stretches).Select(i => begin + (length - begin) * i / stretches)];
    }

    /// <summary>Reads the data as streams: memory does not depend on their length.</summary>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static LengthProfile Measure(Mamba2Model model, ProfileSettings settings, JobContext context)
    {
        using var pause = Differentiation.Pause();
        using var scope = new Scope();
        model.Cure = settings.CalibratedFor(model);
        Backend backend = model.Backend;
        int prompts = settings.Prompts, piece = (int)Math.Min(settings.Length, Math.Max(64, (settings.TokensAtOnce ?? context.TokensAtOnce(model)) / prompts));
        long[] ends = EndsFor(settings.TrainingLength, settings.Length, settings.Stretches);
        Tally[][] all = [.. Enumerable.Range(0, prompts).Select(_ => new Tally[ends.Length])], recent = [.. Enumerable.Range(0, prompts).Select(_ => new Tally[ends.Length])];
        var reader = new StreamReader(settings, prompts);
        Mamba2State state = model.EmptyState(prompts);
        var bytes = new long[ends.Length];
        int bucket = 0;
        // The next piece is made while the device reads this one.
        Task<Piece> made = Task.Run(() => reader.Take(PieceAt(0)));
        for (long start = 0; start < settings.Length; start += piece)
        {
            context.Cancellation.ThrowIfCancellationRequested();
            context.Report(start / (double)settings.Length, $"{start:#,0} of {settings.Length:#,0} tokens");
            (int[] inputs, int[] labels, int[] distances) = made.GetAwaiter().GetResult();
            int length = PieceAt(start), following = PieceAt(start + piece);
            if (following > 0)
                made = Task.Run(() => reader.Take(following));
            using var pieces = new Scope();
            Shape shape = [prompts, length];
            (Tensor logits, Mamba2State after) = model.Forward(backend.Tensor<int>(shape, inputs), state);
            float[] losses = logits.CrossEntropy(backend.Tensor<int>(shape, labels)).ToArray<float>();
            int[] chosen = logits.ArgMax().ToArray<int>();
            state.CopyFrom(after);
            for (long live = backend.LiveBytes, t = 0; t < length; t++)
            {
                while (ends[bucket] < start + t + 1)
                    bucket++;
                bytes[bucket] = Math.Max(bytes[bucket], live);
            }
            StreamReader.ForEach(prompts, length, prompt =>
            {
                int inside = 0;
                for (int i = prompt * length, t = 0; t < length; i++, t++)
                {
                    if (distances[i] < 0)
                        continue;
                    while (ends[inside] < start + t + 1)
                        inside++;
                    var tally = new Tally(losses[i], chosen[i] == labels[i] ? 1 : 0, 1);
                    all[prompt][inside] += tally;
                    if (distances[i] <= settings.Recent)
                        recent[prompt][inside] += tally;
                }
            });
        }
        return new LengthProfile(settings.TrainingLength, ends, all, recent, bytes.Max(), bytes);

        int PieceAt(long start) => (int)Math.Clamp(settings.Length - start, 0, piece);
    }

    private readonly record struct Piece(int[] Inputs, int[] Labels, int[] Distances);

    /// <summary>Takes piece after piece from all prompts of a measurement.</summary>
    private sealed class StreamReader(ProfileSettings settings, int prompts)
    {
        // From here on a graphics card would wait for one thread.
        private const int Many = 1 << 16;

        private readonly IEnumerator<MarkedToken>[] streams = [.. Enumerable.Range(0, prompts).Select(prompt => settings.Data.Document(settings.Seed, (ulong)prompt).GetEnumerator())];
        private MarkedToken[]? next;

        /// <summary>The next tokens of each prompt, what follows them, and how far back stands what determines that.</summary>
        public Piece Take(int length)
        {
            next ??= [.. streams.Select(Take)];
            var piece = new Piece(new int[prompts * length], new int[prompts * length], new int[prompts * length]);
            ForEach(prompts, length, prompt =>
            {
                for (int i = prompt * length, end = i + length; i < end; i++)
                {
                    piece.Inputs[i] = next[prompt].Id;
                    next[prompt] = Take(streams[prompt]);
                    (piece.Labels[i], piece.Distances[i]) = (next[prompt].Id, next[prompt].Distance);
                }
            });
            return piece;
        }

        public static void ForEach(int prompts, int length, Action<int> prompt)
        {
            if ((long)prompts * length >= Many)
            {
                Parallel.For(0, prompts, prompt);
                return;
            }
            for (int i = 0; i < prompts; i++)
                prompt(i);
        }

        private static MarkedToken Take(IEnumerator<MarkedToken> stream) =>
            stream.MoveNext() ? stream.Current : throw new ArgumentException("The documents end before the length that is to be measured.");
    }
}

/// <summary>A measurement with factors of a cure that were found for the model.</summary>
/// <param name="Factors">The factors of the layers.</param>
/// <param name="Loss">The loss that they were found by.</param>
/// <param name="Profile">The measurement.</param>
public sealed record CalibratedProfile(double[] Factors, double Loss, LengthProfile Profile);

/// <summary>What a <see cref="LengthProfile"/> is measured on.</summary>
public sealed record ProfileSettings
{
    /// <summary>What is read.</summary>
    public required StudyData Data { get; init; }

    /// <summary>The length that the model was trained on.</summary>
    public required int TrainingLength { get; init; }

    /// <summary>How many tokens of each prompt are predicted.</summary>
    public required long Length { get; init; }

    /// <summary>How many prompts are read.</summary>
    public required int Prompts { get; init; }

    /// <summary>The prompts' seed: not one that models were trained with.</summary>
    public ulong Seed { get; init; } = 1_000_003;

    /// <summary>Up to which distance information counts as near, in tokens.</summary>
    public int Recent { get; init; } = 16;

    /// <summary>What is done to the model.</summary>
    public Cure Cure { get; init; } = Cure.None;

    /// <summary>Into how many buckets what follows the last double is cut.</summary>
    public int Stretches { get; init; } = 1;

    /// <summary>How many tokens are read at once, all prompts together; as many as suit the device by default.</summary>
    public int? TokensAtOnce { get; init; }

    /// <summary>The settings in a line.</summary>
    public string Settings => $"loss against position: {Data.Name}, T {TrainingLength}, {Prompts} prompts of {Length}, seed {Seed}, near {Recent}{(Stretches > 1 ? $", the last in {Stretches}" : "")}, cure {Cure}";

    /// <summary>The work, in tokens trained on.</summary>
    public double Cost => Prompts * Length * (Cure.Normalization is null ? 0.3 : 3);

    /// <summary>The cure with norms and thresholds from documents of the training length that no measurement reads.</summary>
    public Cure CalibratedFor(Mamba2Model model)
    {
        const int Rows = 16;
        if (!Cure.NeedsCalibration)
            return Cure;
        int[] tokens = Data.Batch(Seed + 1, 0, Rows, TrainingLength).Inputs;
        return Cure.Calibrated(model, model.Backend.Tensor<int>([Rows, TrainingLength], tokens));
    }
}

/// <summary>The operational test of forgetting (the paper's section 4.2): nowhere outside the training length may the loss exceed twice the largest inside it.</summary>
/// <param name="LossRatio">The largest mean loss of a bucket outside, divided by the largest inside.</param>
/// <param name="PerplexityRatio">The same of e to the loss.</param>
public readonly record struct LengthRule(Interval LossRatio, Interval PerplexityRatio)
{
    /// <summary>The bound of both ratios.</summary>
    public const double Bound = 2;

    /// <summary>Whether the loss stays below the bound.</summary>
    public Reports.Verdict Verdict => LossRatio.High <= Bound ? Reports.Verdict.Holds : LossRatio.Low > Bound ? Reports.Verdict.Fails : Reports.Verdict.Open;

    /// <summary>Applies the test to one model, with intervals by resampling its prompts.</summary>
    public static LengthRule Of(LengthProfile profile, bool recent = false)
    {
        Tally[][] tallies = recent ? profile.Recent : profile.All;
        return new LengthRule(
            Interval.Bootstrap(tallies.Length, prompts => Largest(profile.Outside, prompts) / Largest(profile.Inside, prompts)),
            Interval.Bootstrap(tallies.Length, prompts => Math.Exp(Largest(profile.Outside, prompts) - Largest(profile.Inside, prompts))));

        double Largest(IEnumerable<int> buckets, IReadOnlyList<int> prompts) =>
            buckets.Select(bucket => LengthProfile.Pool(tallies, bucket, prompts).MeanLoss).Where(loss => !double.IsNaN(loss)).DefaultIfEmpty(double.NaN).Max();
    }
}
