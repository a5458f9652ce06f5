using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>What goes on inside: how much heads retain (E4), their states' variance (E5), its distribution (E6), and what feeds it (E7).</summary>
public sealed class RetentionStudy : Study
{
    private const ulong Seed = 3_000_017;
    private const int MostHeads = 8, Bins = 40;

    private readonly MeasurementJob<StateTrace>[] traces, repeated;

    /// <summary>The study of these models.</summary>
    public RetentionStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        traces = [.. subject.Models.Select(model => Trace(model, subject.Data))];
        repeated = [.. subject.Models.Select(model => Trace(model, subject.Repeated))];
    }

    /// <inheritdoc/>
    public override string Name => "retention";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => [.. traces, .. repeated];

    private int Stride => Math.Max(1, Subject.TrainingLength / 8);

    private int Length => Subject.TrainingLength * Math.Min(16, Options.LengthFactor);

    private MeasurementJob<StateTrace> Trace(ModelSource model, StudyData data)
    {
        int prompts = Math.Min(8, Options.Prompts), trained = Subject.TrainingLength;
        return new MeasurementJob<StateTrace>(
            model, $"states: {data.Name}, T {trained}, {prompts} prompts of {Length}, every {Stride}, seed {Seed}", "states of every head", 0.6 * prompts * Length, Results.Default.StateTrace,
            (loaded, context) => StateTrace.Measure(loaded, data, trained, Length, Stride, prompts, Seed, context));
    }

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        StateTrace[] found = [.. traces.Select(job => job.Result(store))], still = [.. repeated.Select(job => job.Result(store))];
        StateTrace first = found[0];
        int trained = Subject.TrainingLength, at = IndexOf(first, trained), late = IndexOf(first, (long)(StateTrace.LateFactor * trained)), last = first.Positions.Length - 1;
        double seconds = traces.Concat(repeated).Sum(job => job.Seconds(store));
        Origin origin = OriginOf(command, store, seconds), origin1 = origin with { Seeds = Subject.Models.Count > 1 ? $"seed {Options.FirstSeed}" : origin.Seeds };

        // The head whose state grows most, as a multiple of what it was at the end of training.
        static HeadTrace Growing(StateTrace trace, int from, int to) => trace.Heads.MaxBy(head => head.Variance[to] / Math.Max(1e-30, head.Variance[from]))!;
        double Growth(StateTrace trace) => Growing(trace, at, last).Variance is var variance ? variance[last] / variance[at] : double.NaN;
        HeadTrace worst = Growing(first, at, last);
        Interval kept = Interval.Mean(found.Select(trace => trace.Heads.Max(head => Math.Exp(head.LogRetention[at]))));
        Interval growth = Interval.GeometricMean(found.Select(Growth));
        Interval growthStill = Interval.GeometricMean(still.Select(Growth));
        Interval typical = Interval.GeometricMean(found.Select(trace => Median(trace.Heads.Select(head => head.Variance[last] / Math.Max(1e-30, head.Variance[at])))));
        var findings = new List<Finding>
        {
            Finding.Above("E4", "Some heads retain nearly all of the first token over the training length.", $"largest α₁:ₜ of all heads at t = {trained}", kept, 0.5),
            Finding.Above("E5", "A few heads' states grow far beyond the training length …", $"growth of the variance of the head that grows most, from {trained} to {first.Positions[last]} tokens", growth, 2),
            Finding.Above("E5", "… on a prompt that repeats itself too …", "the same on the repeated prompt", growthStill, 2),
            Finding.Below("E5", "… while the others stay as they are.", "growth of the variance, median over heads", typical, 2),
        };
        double[] early = Entries(first.EarlyStates, first, worst), grown = Entries(first.LateStates, first, worst);
        if (grown.Length > 0)
        {
            Interval share = Interval.Mean(found.Select(trace => TopShare(Entries(trace.LateStates, trace, Growing(trace, at, last)))));
            findings.Add(Finding.Above("E6", "A few entries carry the variance.", "share of Σh² in the largest 10 % of the entries of the head that grows most", share, 0.5));
        }
        findings.Add(Finding.Above(
            "E7", "The keys B drift more than the time steps Δ.", $"drift of B less that of Δ, at {first.Positions[last]} tokens, repeated prompt, head that grows most",
            Interval.Mean(still.Select(trace => Growing(trace, at, last)).Select(head => head.KeyDrift[^1] - head.StepDrift[^1])), 0));
        List<Figure> figures =
        [
            Heads("retention-kept", "How much of the first token is left", $"At the end of the training length the head that retains most keeps {kept} of what it was told first.",
                first, head => Array.ConvertAll(head.LogRetention, Math.Exp), new Axis("retention α₁:ₜ", Scale.Log10, Min: 1e-4, Max: 1), head => -Math.Exp(head.LogRetention[at]), origin1),
            Heads("retention-variance", "The states of the heads", $"Beyond the training length the variance of the head that grows most becomes {growth} times what it was; the median head's {typical} times.",
                first, head => head.Variance, new Axis("variance of the state's entries", Scale.Log10), head => -head.Variance[last] / Math.Max(1e-30, head.Variance[at]), origin1),
            Heads("retention-repeated", "The states on a prompt that repeats itself", $"Nothing new comes, and the variance of the head that grows most becomes {growthStill} times what it was.",
                still[0], head => head.Variance, new Axis("variance of the state's entries", Scale.Log10), head => -head.Variance[last] / Math.Max(1e-30, head.Variance[at]), origin1 with { Data = Subject.Repeated.Name }),
        ];
        if (grown.Length > 0)
            figures.Add(HistogramFigure(worst, early, grown, first.Positions[at], first.Positions[late], origin1));
        figures.Add(DriftFigure(still[0], Growing(still[0], at, last), origin1 with { Data = Subject.Repeated.Name }));
        return new StudyResult(Name, "What the states do", "Every head's retention, state and inputs while prompts beyond the training length are read.", findings, figures);
    }

    private Figure Heads(string name, string title, string sentence, StateTrace trace, Func<HeadTrace, double[]> values, Axis axis, Func<HeadTrace, double> order, Origin origin)
    {
        // Of a large model only those that stand out are drawn; the table has all.
        HeadTrace[] shown = [.. trace.Heads.OrderBy(order).Take(MostHeads).OrderBy(head => head.Layer).ThenBy(head => head.Head)];
        var table = new Table(name, "layer", "head", "position", "value");
        foreach (HeadTrace head in trace.Heads)
        {
            double[] all = values(head);
            for (int i = 0; i < all.Length; i++)
                table.Add(head.Layer, head.Head, trace.Positions[i], all[i]);
        }
        return new Figure(
            title, sentence,
            new XyChart
            {
                Description = title, X = new Axis("position, tokens", Scale.Log2), Y = axis,
                Series = [.. shown.Select(head => new Series($"layer {head.Layer}, head {head.Head}", [.. values(head).Select((value, i) => new Datum(trace.Positions[i], value))]))],
                VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
            },
            table, origin);
    }

    private static Figure HistogramFigure(HeadTrace head, double[] early, double[] late, long earlyAt, long lateAt, Origin origin)
    {
        double low = Math.Min(early.Min(), late.Min()), high = Math.Max(early.Max(), late.Max());
        Histogram before = Histogram.Of(early, low, high, Bins), after = Histogram.Of(late, low, high, Bins);
        var table = new Table("retention-histogram", "from", "to", $"entries_at_{earlyAt}", $"entries_at_{lateAt}");
        for (int i = 0; i < Bins; i++)
            table.Add(Edge(i), Edge(i + 1), before.Counts[i], after.Counts[i]);
        return new Figure(
            $"The entries of one state (layer {head.Layer}, head {head.Head})",
            $"At {lateAt} tokens the largest 10 % of the entries hold {100 * TopShare(late):0} % of the sum of squares; at {earlyAt} tokens they held {100 * TopShare(early):0} %.",
            new XyChart
            {
                Description = "Histogram of a state's entries", X = new Axis("entry of the state"), Y = new Axis("entries", Scale.Log10),
                Series = [Bars($"after {earlyAt} tokens", before), Bars($"after {lateAt} tokens", after)],
            },
            table, origin);

        double Edge(int i) => low + (high - low) * i / Bins;

        Series Bars(string name, Histogram histogram) => new(name, [.. histogram.Counts.Select((count, i) => new Datum(Edge(i), count)), new Datum(high, 0)], Mark.Bars);
    }

    private Figure DriftFigure(StateTrace trace, HeadTrace head, Origin origin)
    {
        var table = new Table("retention-drift", "position", "step", "x", "B");
        for (int i = 0; i < trace.Positions.Length; i++)
            table.Add(trace.Positions[i], head.StepDrift[i], head.InputDrift[i], head.KeyDrift[i]);
        Series Of(string name, double[] values) => new(name, [.. values.Select((value, i) => new Datum(trace.Positions[i], value))]);
        return new Figure(
            $"What is inserted (layer {head.Layer}, head {head.Head})",
            $"On the repeated prompt, Δ, x and B have moved {head.StepDrift[^1]:0.00}, {head.InputDrift[^1]:0.00} and {head.KeyDrift[^1]:0.00} times their first lengths by the end.",
            new XyChart
            {
                Description = "Drift of the time step, the input and the key", X = new Axis("position, tokens", Scale.Log2), Y = new Axis("distance from the first sample, relative", Min: 0),
                Series = [Of("Δ", head.StepDrift), Of("x", head.InputDrift), Of("B", head.KeyDrift)], VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
            },
            table, origin);
    }

    private static int IndexOf(StateTrace trace, long position)
    {
        int index = Array.FindLastIndex(trace.Positions, sampled => sampled <= position);
        return Math.Max(0, index);
    }

    private static double[] Entries(float[][] states, StateTrace trace, HeadTrace head) => Array.ConvertAll(states[Array.IndexOf(trace.Heads, head)], value => (double)value);

    private static double TopShare(double[] entries)
    {
        double[] squares = [.. entries.Select(value => value * value).OrderDescending()];
        return squares.Length == 0 ? double.NaN : squares.Take(Math.Max(1, squares.Length / 10)).Sum() / squares.Sum();
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
