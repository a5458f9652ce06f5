using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>What happens beyond the training length (E1, E2), and how it comes with training (E9).</summary>
public sealed class CollapseStudy : Study
{
    // Enough to see recall fail, not enough to call it failed by chance.
    private const double WellRead = 0.3;

    private readonly MeasurementJob<LengthProfile>[] profiles, repeated;
    private readonly List<(int Step, MeasurementJob<LengthProfile>[] Profiles)> checkpoints = [];

    /// <summary>The study of these models.</summary>
    public CollapseStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        profiles = [.. subject.Models.Select(model => Profile(model, subject.Data, Cure.None))];
        repeated = [.. subject.Models.Select(model => Profile(model, subject.Repeated, Cure.None, "repeated prompt"))];
        if (subject.Models[0].Job is { } training)
        {
            foreach (int step in training.Plan.Checkpoints.Append(training.Plan.Steps))
                checkpoints.Add((step, [.. subject.Models.Select(model => Profile(step == training.Plan.Steps ? model : model with { Step = step }, subject.Data, Cure.None, $"after step {step}"))]));
        }
    }

    /// <inheritdoc/>
    public override string Name => "collapse";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => [.. profiles, .. repeated, .. checkpoints.SelectMany(entry => entry.Profiles)];

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        LengthProfile[] found = Read(profiles, store);
        var findings = new List<Finding>();
        List<Figure> figures = [LossFigure(found, store, command), AccuracyFigure(found, store, command)];
        int trained = Subject.TrainingLength, last = found[0].Ends.Length - 1;
        string far = $"{Axis.Length(found[0].Ends[last])} tokens";
        if (Subject.Data is Data.StreamingRecall)
        {
            findings.Add(Finding.Below("E1", "Inside the training length the model recalls what it read.", $"loss on reads within {trained} tokens", Inside(found, tally => tally.MeanLoss), WellRead,
                Each(found, (model, prompts) => InsideOf(found[model], prompts).MeanLoss)));
            findings.Add(Finding.Above("E1", "Far beyond it, reading is worse than guessing.", $"loss on reads at {far}; guessing costs {Subject.Data.ChanceLoss:0.00}", At(found, last, tally => tally.MeanLoss), Subject.Data.ChanceLoss,
                Each(found, (model, prompts) => LengthProfile.Pool(found[model].All, last, prompts).MeanLoss)));
            findings.Add(Finding.Below(
                "E3", "Even what was said just before is lost beyond the training length.", $"difference in accuracy on reads up to {new ProfileSettings { Data = Subject.Data, TrainingLength = 1, Length = 1, Prompts = 1 }.Recent} tokens back, at {far} and inside",
                Difference(found, profile => LengthProfile.Pool(profile.Recent, last).Accuracy - profile.WholeInside(profile.Recent).Accuracy), 0,
                Each(found, (model, prompts) => LengthProfile.Pool(found[model].Recent, last, prompts).Accuracy - InsideOf(found[model], prompts, recent: true).Accuracy)));
        }
        Interval[] ratios = EachRuleRatio(found);
        findings.Add(Finding.Above("E1", "Beyond the training length the loss exceeds twice its largest value inside (the model has not learned to forget).", "largest loss outside over largest inside", RuleRatio(ratios), LengthRule.Bound, ratios));
        if (checkpoints.Count > 1)
            AddCheckpoints(store, command, findings, figures);
        AddRepeated(store, command, findings, figures);
        return new StudyResult(
            Name, "Collapse beyond the training length",
            $"Models trained on {trained} tokens read {found[0].Ends[last]:#,0}. The test of forgetting: nowhere beyond the training length may the mean loss of a bucket exceed twice the largest inside it.",
            findings, figures);
    }

    private Figure LossFigure(LengthProfile[] found, Store store, string command)
    {
        var table = new Table("collapse-loss", "scored", "position", "loss", "low", "high", "n");
        Tabulate(table, "all", found, tally => tally.MeanLoss);
        Interval inside = Inside(found, tally => tally.MeanLoss), end = At(found, found[0].Ends.Length - 1, tally => tally.MeanLoss);
        return new Figure(
            "Loss against position",
            $"The loss is {inside} within the {Subject.TrainingLength} tokens of training and {end} at {found[0].Ends[^1]:#,0} tokens; {(Subject.Data is Data.StreamingRecall ? $"guessing costs {Subject.Data.ChanceLoss:0.00}." : "bands are 95 % intervals.")}",
            new XyChart
            {
                Description = "Loss against position", X = Positions, Y = new Axis(LossLabel, Min: 0), Series = [.. Curves("all", found, tally => tally.MeanLoss, 0)],
                VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
                HorizontalGuides = Subject.Data is Data.StreamingRecall ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
            },
            table, OriginOf(command, store, profiles.Sum(job => job.Seconds(store))));
    }

    private Figure AccuracyFigure(LengthProfile[] found, Store store, string command)
    {
        var table = new Table("collapse-accuracy", "scored", "position", "accuracy", "low", "high", "n");
        Tabulate(table, "all", found, tally => tally.Accuracy);
        bool hasRecent = Subject.Data is Data.StreamingRecall;
        if (hasRecent)
            Tabulate(table, "recent", found, tally => tally.Accuracy, recent: true);
        IEnumerable<Series> all = Curves(hasRecent ? "all reads" : "all tokens", found, tally => tally.Accuracy, 0);
        return new Figure(
            "Accuracy against position",
            hasRecent ? "Reads of what was mentioned at most 16 tokens before, which the state still holds, fail beyond the training length too: it is not distance alone that makes recall fail." : "How often the most probable token was the one that came.",
            new XyChart
            {
                Description = "Accuracy against position", X = Positions, Y = new Axis("accuracy", Min: 0, Max: 1),
                Series = hasRecent ? [.. all, .. Curves("mentioned ≤ 16 tokens before", found, tally => tally.Accuracy, 1, recent: true)] : [.. all],
                VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
            },
            table, OriginOf(command, store, profiles.Sum(job => job.Seconds(store))));
    }

    private void AddCheckpoints(Store store, string command, List<Finding> findings, List<Figure> figures)
    {
        var table = new Table("collapse-training", "step", "position", "loss", "low", "high", "n");
        var series = new List<Series>();
        foreach ((int step, MeasurementJob<LengthProfile>[] jobs) in checkpoints)
        {
            LengthProfile[] found = Read(jobs, store);
            Tabulate(table, step.ToString(), found, tally => tally.MeanLoss);
            series.Add(new Series($"step {step}", Curve(found, tally => tally.MeanLoss)));
        }
        LengthProfile[] early = Read(checkpoints[0].Profiles, store), late = Read(checkpoints[^1].Profiles, store);
        double Worst(LengthProfile profile) => profile.Outside.Max(bucket => LengthProfile.Pool(profile.All, bucket).MeanLoss);
        double WorstOf(LengthProfile profile, IReadOnlyList<int> prompts) => profile.Outside.Max(bucket => LengthProfile.Pool(profile.All, bucket, prompts).MeanLoss);
        Interval inside = Interval.Mean(early.Zip(late, (a, b) => b.WholeInside(b.All).MeanLoss - a.WholeInside(a.All).MeanLoss));
        Interval outside = Interval.Mean(early.Zip(late, (a, b) => Worst(b) - Worst(a)));
        string steps = $"from step {checkpoints[0].Step} to {checkpoints[^1].Step}";
        findings.Add(Finding.Below("E9", "More training makes recall inside the training length better …", $"change of the loss inside, {steps}", inside, 0,
            Each(late, (model, prompts) => InsideOf(late[model], prompts).MeanLoss - InsideOf(early[model], prompts).MeanLoss)));
        findings.Add(Finding.Above("E9", "… and beyond it worse.", $"change of the largest loss outside, {steps}", outside, 0,
            Each(late, (model, prompts) => WorstOf(late[model], prompts) - WorstOf(early[model], prompts))));
        figures.Add(new Figure(
            "More training, less forgetting",
            $"{char.ToUpperInvariant(steps[0])}{steps[1..]} the loss inside changes by {inside} and the largest loss outside by {outside}.",
            new XyChart
            {
                Description = "Loss against position after several numbers of steps", X = Positions, Y = new Axis(LossLabel, Min: 0), Series = series, IsOrdered = true,
                VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
                HorizontalGuides = Subject.Data is Data.StreamingRecall ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
            },
            table, OriginOf(command, store, checkpoints.Sum(entry => entry.Profiles.Sum(job => job.Seconds(store))))));
    }

    private void AddRepeated(Store store, string command, List<Finding> findings, List<Figure> figures)
    {
        LengthProfile[] found = Read(repeated, store);
        var table = new Table("collapse-repeated", "scored", "position", "loss", "low", "high", "n");
        Tabulate(table, "all", found, tally => tally.MeanLoss);
        Interval[] ratios = EachRuleRatio(found);
        Interval ratio = RuleRatio(ratios);
        findings.Add(Finding.Above("E2", "On a prompt that only repeats itself the loss explodes beyond the training length.", "largest loss outside over largest inside", ratio, LengthRule.Bound, ratios));
        figures.Add(new Figure(
            "A prompt that repeats itself",
            $"Where nothing new comes, the largest loss outside the training length is {ratio} times the largest inside.",
            new XyChart
            {
                Description = "Loss on a repeated prompt against position", X = Positions, Y = new Axis("loss, nats", Min: 0), Series = [.. Curves(Subject.Repeated.Name, found, tally => tally.MeanLoss, 0)],
                VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
            },
            table, OriginOf(command, store, repeated.Sum(job => job.Seconds(store)), Subject.Repeated.Name)));
    }

    private static Interval Difference<T>(IEnumerable<T> models, Func<T, double> value) => Interval.Mean(models.Select(value));

    private static LengthProfile[] Read(MeasurementJob<LengthProfile>[] jobs, Store store) => [.. jobs.Select(job => job.Result(store))];
}
