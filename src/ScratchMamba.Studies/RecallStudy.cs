using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>Passkey recall: by length and depth, by absolute distance (E3), and with changed time steps (E15).</summary>
public sealed class RecallStudy : Study
{
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
        Interval At(int length) => PasskeyFigures.Accuracy(all, table => table.Count(length));
        var findings = new List<Finding>
        {
            Finding.Above("E3", "Inside the training length the passkey is recalled.", $"accuracy at {inside} tokens, all depths", At(inside), PasskeyFigures.Recalled, PasskeyFigures.Each(all, table => table.Count(inside))),
            Finding.Below("E3", "Far beyond it, it is lost.", $"accuracy at {far} tokens, all depths", At(far), 0.5, PasskeyFigures.Each(all, table => table.Count(far))),
        };
        int nearest = distances[Math.Min(1, distances.Length - 1)];
        findings.Add(Finding.Below(
            "E3", "Even a passkey that was told just before is lost.", $"accuracy at distance {nearest} in prompts of {far} tokens, less that in prompts of {inside}",
            Interval.Mean(close.Select(table => PasskeyFigures.Share(NearCount(table, far, nearest)) - PasskeyFigures.Share(NearCount(table, inside, nearest)))), 0,
            [.. close.Select(table => Interval.Difference(NearCount(table, far, nearest), NearCount(table, inside, nearest)))]));
        List<Figure> figures = [PasskeyFigures.Map("recall-map", "Passkey recall by length and depth", all, lengths, trained, origin), ByDistance(close, origin), Scaled(store, command, findings)];
        return new StudyResult(Name, "Recall of a passkey", "One thing is told once among filling that repeats itself, and asked for at the end. The models have never seen such prompts in training.", findings, figures);
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
                Interval share = PasskeyFigures.Accuracy(tables, found => NearCount(found, length, distance));
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
                Interval share = PasskeyFigures.Accuracy(tables[i], found => found.Count(length));
                points.Add(Point(factors[i], share));
                table.Add(length, factors[i], share.Estimate, share.Low, share.High, share.Count);
            }
            series.Add(new Series($"{Axis.Length(length)} tokens", points));
        }
        int far = some.Last();
        int bestFactor = Enumerable.Range(0, factors.Length).MaxBy(i => PasskeyFigures.Accuracy(tables[i], found => found.Count(far)).Estimate);
        Interval best = PasskeyFigures.Accuracy(tables[bestFactor], found => found.Count(far));
        findings.Add(Finding.Below("E15", "No scaling of the time step brings the passkey back.", $"best accuracy at {far} tokens over Δ × {string.Join(", ", factors)}", best, 0.5, PasskeyFigures.Each(tables[bestFactor], table => table.Count(far))));
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
}
