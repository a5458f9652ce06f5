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
    private const int MostHeads = 8, Bins = 40;

    private readonly MeasurementJob<StateTrace>[] traces, repeated;

    /// <summary>The study of these models.</summary>
    public RetentionStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        traces = [.. subject.Models.Select(model => Trace(model, subject.Data, subject.TrainingLength))];
        repeated = [.. subject.Models.Select(model => Trace(model, subject.Repeated, subject.TrainingLength))];
    }

    /// <inheritdoc/>
    public override string Name => "retention";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => [.. traces, .. repeated];

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        StateTrace[] found = [.. traces.Select(job => job.Result(store))], still = [.. repeated.Select(job => job.Result(store))];
        StateTrace first = found[0];
        int trained = Subject.TrainingLength, at = IndexOf(first, trained), late = IndexOf(first, (long)(StateTrace.LateFactor * trained)), last = first.Positions.Length - 1;
        double seconds = traces.Concat(repeated).Sum(job => job.Seconds(store));
        Origin origin = OriginOf(command, store, seconds), origin1 = origin with { Seeds = Subject.Models.Count > 1 ? $"seed {Options.FirstSeed}" : origin.Seeds };

        // The head whose state grows most, as a multiple of what it was at the end of training.
        HeadTrace worst = Growing(first);
        static double Kept(StateTrace trace, IReadOnlyList<int> prompts) => trace.Heads.Max(head => Math.Exp(MeanOf(head.Prompts.LogRetention, prompts)));
        static double Growth(StateTrace trace, IReadOnlyList<int> prompts) => trace.Heads.Max(head => GrowthOf(head, prompts));
        static double Typical(StateTrace trace, IReadOnlyList<int> prompts) => StateStatistics.MedianOf(trace.Heads.Select(head => GrowthOf(head, prompts)));
        static double Carried(StateTrace trace, IReadOnlyList<int> prompts) => trace.Convolutions.Max(layer => MeanOf(layer.LastVariance, prompts) / Math.Max(1e-30, MeanOf(layer.EarlyVariance, prompts)));
        (Interval kept, Interval[] keptEach) = Over(found, Kept);
        (Interval growth, Interval[] growthEach) = Over(found, Growth, isRatio: true);
        (Interval growthStill, Interval[] growthStillEach) = Over(still, Growth, isRatio: true);
        (Interval typical, Interval[] typicalEach) = Over(found, Typical, isRatio: true);
        (Interval carried, Interval[] carriedEach) = Over(found, Carried, isRatio: true);
        string range = $"from {trained} to {first.Positions[last]} tokens";
        var findings = new List<Finding>
        {
            Finding.Above("E4", "Some heads retain nearly all of the first token over the training length.", $"largest α₁:ₜ of all heads at t = {trained}", kept, 0.5, keptEach),
            Finding.Above("E5", "A few heads' states grow far beyond the training length …", $"growth of the variance of the head that grows most, {range}", growth, 2, growthEach),
            Finding.Above("E5", "… on a prompt that repeats itself too …", "the same on the repeated prompt", growthStill, 2, growthStillEach),
            Finding.Below("E5", "… while the others stay as they are …", "growth of the variance, median over heads", typical, 2, typicalEach),
            Finding.Below("E5", "… and what the convolutions carry does, too.", $"growth of the variance of the inputs they carry, largest of all layers, {range}", carried, 2, carriedEach),
        };
        double[] early = Entries(first.EarlyStates, first, worst), grown = Entries(first.LateStates, first, worst);
        if (grown.Length > 0)
        {
            (Interval share, Interval[] shareEach) = Over(found, (trace, prompts) => MeanOf(trace.Heads.MaxBy(head => GrowthOf(head, prompts))!.Prompts.TopShare, prompts));
            findings.Add(Finding.Above("E6", "A few entries carry the variance.", "share of Σh² in the largest 10 % of the entries of the head that grows most", share, 0.5, shareEach));
        }
        (Interval drift, Interval[] driftEach) = Over(still, (trace, prompts) => trace.Heads.MaxBy(head => GrowthOf(head, prompts))!.Prompts is var own ? MeanOf(own.KeyDrift, prompts) - MeanOf(own.StepDrift, prompts) : double.NaN);
        findings.Add(Finding.Above(
            "E7", "The keys B drift more than the time steps Δ.", $"drift of B less that of Δ, at {first.Positions[last]} tokens, repeated prompt, head that grows most", drift, 0, driftEach));
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
        figures.Insert(3, ConvolutionFigure(found, carried, origin));
        figures.Insert(1, MeanRetentionFigure(found, origin));
        figures.Add(DriftFigure(still[0], Growing(still[0]), origin1 with { Data = Subject.Repeated.Name }));
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
            $"At {lateAt} tokens the largest 10 % of the entries hold {100 * StateTrace.TopShare(late):0} % of the sum of squares; at {earlyAt} tokens they held {100 * StateTrace.TopShare(early):0} %.",
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

    /// <summary>A quantity of each model with its interval over prompts, and its mean over the models.</summary>
    private static (Interval Value, Interval[] Each) Over(StateTrace[] traces, Func<StateTrace, IReadOnlyList<int>, double> statistic, bool isRatio = false)
    {
        Interval[] each = [.. traces.Select(trace => Interval.Bootstrap(trace.Heads[0].Prompts.LogRetention.Length, prompts => statistic(trace, prompts)))];
        if (each.Length == 1)
            return (each[0], []);
        IEnumerable<double> values = each.Select(interval => interval.Estimate);
        return (isRatio ? Interval.GeometricMean(values) : Interval.Mean(values), each);
    }

    private static double MeanOf(double[] values, IReadOnlyList<int> prompts) => prompts.Average(prompt => values[prompt]);

    private static double GrowthOf(HeadTrace head, IReadOnlyList<int> prompts) => MeanOf(head.Prompts.LastVariance, prompts) / Math.Max(1e-30, MeanOf(head.Prompts.EarlyVariance, prompts));

    private static HeadTrace Growing(StateTrace trace) => trace.Heads.MaxBy(head => GrowthOf(head, [.. Enumerable.Range(0, head.Prompts.LastVariance.Length)]))!;

    private Figure ConvolutionFigure(StateTrace[] traces, Interval growth, Origin origin)
    {
        var table = new Table("retention-convolution", "model", "layer", "position", "mean", "variance");
        var series = new List<Series>();
        for (int layer = 0; layer < traces[0].Convolutions.Length; layer++)
        {
            var points = new List<Datum>();
            for (int i = 0; i < traces[0].Positions.Length; i++)
            {
                long position = traces[0].Positions[i];
                points.Add(Point(position, Interval.Mean(traces.Select(trace => trace.Convolutions[layer].Variance[i]))));
                for (int model = 0; model < traces.Length; model++)
                    table.Add(model + 1, layer, position, traces[model].Convolutions[layer].Mean[i], traces[model].Convolutions[layer].Variance[i]);
            }
            series.Add(new Series($"layer {layer}", points));
        }
        return new Figure(
            "What the convolutions carry", $"The last inputs of the convolutions are no larger late than early: from the end of the training length on their variance becomes {growth} times what it was.",
            new XyChart
            {
                Description = "Variance of the convolution's state against position", X = new Axis("position, tokens", Scale.Log2), Y = new Axis("variance of the carried inputs", Min: 0), Series = series,
                VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
            },
            table, origin);
    }

    /// <summary>The published scatter: the mean of α over a prompt, of every head, by layer.</summary>
    private static Figure MeanRetentionFigure(StateTrace[] traces, Origin origin)
    {
        var table = new Table("retention-mean", "model", "layer", "head", "mean_decay");
        var series = new List<Series>();
        int heads = traces[0].Heads.Count(head => head.Layer == 0);
        for (int model = 0; model < traces.Length; model++)
        {
            foreach (HeadTrace head in traces[model].Heads)
                table.Add(model + 1, head.Layer, head.Head, head.MeanDecay);
            // Side by side within a layer, so that dots do not cover each other.
            series.Add(new Series(
                traces.Length > 1 ? $"model {model + 1}" : "", [.. traces[model].Heads.Select(head => new Datum(head.Layer + (head.Head + 0.5) / heads, 1 - head.MeanDecay))], Mark.Dots));
        }
        return new Figure(
            "Mean retention of every head", $"Between {traces.Min(trace => trace.Heads.Min(head => head.MeanDecay)):0.####} and {traces.Max(trace => trace.Heads.Max(head => head.MeanDecay)):0.####} of a state is left after a token; what is lost is drawn, so that heads close to 1 can be told apart.",
            new XyChart { Description = "Mean retention by layer and head", X = new Axis("layer (its heads side by side)", Min: 0, Max: traces[0].Convolutions.Length), Y = new Axis("1 − mean of αₜ", Scale.Log10), Series = series },
            table, origin);
    }
}
