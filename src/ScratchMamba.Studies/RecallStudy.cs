using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>Passkey recall: by length and depth, by absolute distance (E3), and with changed time steps (E15).</summary>
public sealed class RecallStudy : Study
{
    private const int DepthBins = 10;
    private const double Recalled = 0.95;

    private readonly int[] lengths, distances;
    private readonly double[] factors = [0.2, 0.5, 0.8, 1, 1.25, 2];
    private readonly MeasurementJob<PasskeyTable>[] even, near;
    private readonly MeasurementJob<PasskeyTable>[][] scaled;

    /// <summary>The study of these models.</summary>
    public RecallStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        // A prompt of text needs room for the question, however short the training was.
        int least = subject.Passkey is Data.RecallPasskey ? 16 : 400, unit = Math.Max(subject.TrainingLength, least);
        lengths = [.. new[] { unit / 2, unit, unit * 2, unit * 4, unit * 8, unit * 16, unit * 32 }.Where(length => length >= least)];
        distances = [.. new[] { unit / 8, unit / 4, unit / 2, unit }.Where(distance => distance >= least / 4)];
        (int, double)[] all = [.. lengths.SelectMany(length => PasskeyTable.Even(length, options.PasskeySamples))];
        (int, double)[] close = [.. lengths.SelectMany(length => distances.Where(distance => distance <= length).SelectMany(distance => Enumerable.Repeat((length, 1 - (double)distance / length), options.PasskeySamples)))];
        (int, double)[] some = [.. lengths.Where((_, i) => i % 2 == 1).SelectMany(length => PasskeyTable.Even(length, options.PasskeySamples))];
        even = [.. subject.Models.Select(model => Ask(model, all, Cure.None, "passkey at all depths"))];
        near = [.. subject.Models.Select(model => Ask(model, close, Cure.None, $"passkey at distances {string.Join(' ', distances)}"))];
        scaled = [.. factors.Select(factor => subject.Models.Select(model => Ask(model, some, new Cure { TimeStep = factor }, "passkey at some lengths")).ToArray())];
    }

    /// <inheritdoc/>
    public override string Name => "recall";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => [.. even, .. near, .. scaled.SelectMany(jobs => jobs)];

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        PasskeyTable[] all = [.. even.Select(job => job.Result(store))], close = [.. near.Select(job => job.Result(store))];
        Origin origin = OriginOf(command, store, even.Concat(near).Sum(job => job.Seconds(store)), Subject.Passkey.Name);
        int trained = Subject.TrainingLength, inside = lengths.Last(length => length <= Math.Max(trained, lengths[0])), far = lengths[^1];
        Interval At(int length) => Accuracy(all, table => table.Count(length));
        var findings = new List<Finding>
        {
            Finding.Above("E3", "Inside the training length the passkey is recalled.", $"accuracy at {inside} tokens, all depths", At(inside), Recalled, Each(all, table => table.Count(inside))),
            Finding.Below("E3", "Far beyond it, it is lost.", $"accuracy at {far} tokens, all depths", At(far), 0.5, Each(all, table => table.Count(far))),
        };
        int nearest = distances[Math.Min(1, distances.Length - 1)];
        findings.Add(Finding.Below(
            "E3", "Even a passkey that was told just before is lost.", $"accuracy at distance {nearest} in prompts of {far} tokens, less that in prompts of {inside}",
            Interval.Mean(close.Select(table => Share(NearCount(table, far, nearest)) - Share(NearCount(table, inside, nearest)))), 0,
            [.. close.Select(table => Interval.Difference(NearCount(table, far, nearest), NearCount(table, inside, nearest)))]));
        List<Figure> figures = [Map(all, origin), ByDistance(close, origin), Scaled(store, command, findings)];
        return new StudyResult(Name, "Recall of a passkey", "One thing is told once among filling that repeats itself, and asked for at the end. The models have never seen such prompts in training.", findings, figures);
    }

    private Figure Map(PasskeyTable[] tables, Origin origin)
    {
        var table = new Table("recall-map", "length", "depth_from", "depth_to", "right", "count", "accuracy", "low", "high");
        var shares = new double[DepthBins, lengths.Length];
        for (int column = 0; column < lengths.Length; column++)
        {
            for (int row = 0; row < DepthBins; row++)
            {
                double low = row / (double)DepthBins, high = (row + 1) / (double)DepthBins;
                (int Right, int Count)[] counts = [.. tables.Select(found => found.Count(lengths[column], low, high))];
                Interval share = Interval.Share(counts.Sum(count => count.Right), counts.Sum(count => count.Count));
                shares[row, column] = share.Estimate;
                table.Add(lengths[column], low, high, counts.Sum(count => count.Right), counts.Sum(count => count.Count), share.Estimate, share.Low, share.High);
            }
        }
        Interval inside = Accuracy(tables, found => found.Count(lengths.Last(length => length <= Math.Max(Subject.TrainingLength, lengths[0])))), far = Accuracy(tables, found => found.Count(lengths[^1]));
        return new Figure(
            "Passkey recall by length and depth", $"Over all depths {inside} of the passkeys are recalled at the training length and {far} at {lengths[^1]:#,0} tokens.",
            new HeatMap
            {
                Description = "Passkey accuracy by length and depth", Rows = [.. Enumerable.Range(0, DepthBins).Select(row => $"{10 * row}–{10 * row + 10} %")], RowLabel = "depth",
                Columns = [.. lengths.Select(length => Axis.Length(length))], ColumnLabel = "length of the prompt, tokens", Shares = shares,
                LineAfter = lengths.Count(length => length <= Subject.TrainingLength), LineLabel = "training length",
            },
            table, origin);
    }

    private Figure ByDistance(PasskeyTable[] tables, Origin origin)
    {
        var table = new Table("recall-distance", "distance", "length", "accuracy", "low", "high", "n");
        var series = new List<Series>();
        foreach (int distance in distances)
        {
            var points = new List<Datum>();
            foreach (int length in lengths.Where(length => length >= distance))
            {
                Interval share = Accuracy(tables, found => NearCount(found, length, distance));
                points.Add(Point(length, share));
                table.Add(distance, length, share.Estimate, share.Low, share.High, share.Count);
            }
            series.Add(new Series($"{distance} tokens back", points));
        }
        return new Figure(
            "Passkey recall by absolute distance", "The passkey stands equally far from the question in all prompts of a line; only what came before it grows.",
            new XyChart
            {
                Description = "Passkey accuracy by absolute distance", X = new Axis("length of the prompt, tokens", Scale.Log2), Y = new Axis("accuracy", Min: 0, Max: 1), Series = series, IsOrdered = true,
                VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
            },
            table, origin);
    }

    private Figure Scaled(Store store, string command, List<Finding> findings)
    {
        var table = new Table("recall-step", "length", "factor", "accuracy", "low", "high", "n");
        PasskeyTable[][] tables = [.. scaled.Select(jobs => jobs.Select(job => job.Result(store)).ToArray())];
        int[] some = [.. lengths.Where((_, i) => i % 2 == 1)];
        var series = new List<Series>();
        foreach (int length in some)
        {
            var points = new List<Datum>();
            for (int i = 0; i < factors.Length; i++)
            {
                Interval share = Accuracy(tables[i], found => found.Count(length));
                points.Add(Point(factors[i], share));
                table.Add(length, factors[i], share.Estimate, share.Low, share.High, share.Count);
            }
            series.Add(new Series($"{Axis.Length(length)} tokens", points));
        }
        int far = some.Last();
        int bestFactor = Enumerable.Range(0, factors.Length).MaxBy(i => Accuracy(tables[i], found => found.Count(far)).Estimate);
        Interval best = Accuracy(tables[bestFactor], found => found.Count(far));
        findings.Add(Finding.Below("E15", "No scaling of the time step brings the passkey back.", $"best accuracy at {far} tokens over Δ × {string.Join(", ", factors)}", best, 0.5, Each(tables[bestFactor], table => table.Count(far))));
        return new Figure(
            "Passkey recall with scaled time steps", $"The best factor recalls {best} of the passkeys at {far:#,0} tokens.",
            new XyChart { Description = "Passkey accuracy by scaling of the time step", X = new Axis("factor of Δ", Scale.Log2), Y = new Axis("accuracy", Min: 0, Max: 1), Series = series, IsOrdered = true },
            table, OriginOf(command, store, scaled.Sum(jobs => jobs.Sum(job => job.Seconds(store))), Subject.Passkey.Name));
    }

    /// <summary>Answers of prompts with the passkey at about this distance: whole pieces of filling do not allow every one.</summary>
    private static (int Right, int Count) NearCount(PasskeyTable table, int length, int distance)
    {
        PasskeyAnswer[] chosen = [.. table.Answers.Where(answer => answer.Length == length && Math.Abs(answer.Depth - (1 - (double)distance / length)) < 1e-9)];
        return (chosen.Count(answer => answer.Right), chosen.Length);
    }

    /// <summary>The share of each of several models with Wilson's interval over prompts.</summary>
    private static Interval[] Each(PasskeyTable[] tables, Func<PasskeyTable, (int Right, int Count)> count) =>
        tables.Length > 1 ? [.. tables.Select(table => Interval.Share(count(table).Right, count(table).Count))] : [];

    /// <summary>The mean over several models, or of one with Wilson's interval over prompts.</summary>
    private static Interval Accuracy(PasskeyTable[] tables, Func<PasskeyTable, (int Right, int Count)> count) => tables.Length > 1
        ? Interval.Mean(tables.Select(table => Share(count(table)))).Within(0, 1)
        : Interval.Share(count(tables[0]).Right, count(tables[0]).Count);

    private static double Share((int Right, int Count) count) => count.Count == 0 ? double.NaN : count.Right / (double)count.Count;
}
