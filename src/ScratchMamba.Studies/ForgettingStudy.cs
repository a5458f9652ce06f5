using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>What a short training after the main one helps (E14): state passing, truncated backpropagation through time, fitted noise, a penalty; and more of the same, for comparison.</summary>
public sealed class ForgettingStudy : Study
{
    private readonly (string Name, MeasurementJob<LengthProfile>[] Profiles)[] rows;
    private readonly TrainingPlan[] plans;

    /// <summary>The study of models that are trained.</summary>
    public ForgettingStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        if (subject.Models.Any(model => model.Job is null))
            throw new ArgumentException("The study forgetting trains models further; it cannot do that with a model that is given.");
        (string, TrainingMethod)[] methods =
        [
            ("more of the same", TrainingMethod.Plain), ("state passing", TrainingMethod.StatePassing), ("carried states (TBPTT)", TrainingMethod.Truncated), ("fitted noise", TrainingMethod.FittedNoise),
            ("penalty on retention", TrainingMethod.Penalty),
        ];
        var further = methods.Select(method => (method.Item1, Plans: subject.Models.Select(model => StudyOptions.After(model.Job!.Plan, method.Item2)).ToArray())).ToArray();
        plans = [.. further.SelectMany(method => method.Plans)];
        rows =
        [
            ("before", [.. subject.Models.Select(model => Profile(model, subject.Data, Cure.None))]),
            .. further.Select(method => (method.Item1, method.Plans.Select(plan => Profile(new ModelSource(new TrainingJob(plan)), subject.Data, Cure.None, method.Item1)).ToArray())),
        ];
    }

    /// <inheritdoc/>
    public override string Name => "forgetting";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => rows.SelectMany(row => row.Profiles);

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        LengthProfile[][] found = [.. rows.Select(row => row.Profiles.Select(job => job.Result(store)).ToArray())];
        int last = found[0][0].Ends.Length - 1;
        bool hasNear = Subject.Data is Data.StreamingRecall;
        string far = $"{Axis.Length(found[0][0].Ends[last])} tokens", scored = hasNear ? "reads of what was mentioned at most 16 tokens before" : "tokens";
        double FarOf(LengthProfile profile, IEnumerable<int> prompts) => LengthProfile.Pool(hasNear ? profile.Recent : profile.All, last, prompts).MeanLoss;
        double Far(LengthProfile profile) => FarOf(profile, Enumerable.Range(0, profile.All.Length));
        var findings = new List<Finding>();
        var table = new Table("forgetting", "training", "position", "loss", "low", "high", "n");
        var near = new Table("forgetting-near", "training", "position", "loss", "low", "high", "n");
        var compared = new Table("forgetting-compared", "training", "loss_inside", "loss_far", "near_loss_far", "near_ratio", "ratio");
        var dots = new List<(string, IReadOnlyList<Interval>)>();
        for (int i = 0; i < rows.Length; i++)
        {
            Tabulate(table, rows[i].Name, found[i], tally => tally.MeanLoss);
            Tabulate(near, rows[i].Name, found[i], tally => tally.MeanLoss, recent: hasNear);
            Interval inside = Inside(found[i], tally => tally.MeanLoss), end = At(found[i], last, tally => tally.MeanLoss), nearEnd = At(found[i], last, tally => tally.MeanLoss, recent: hasNear);
            Interval[] ratios = EachRuleRatio(found[i], recent: hasNear);
            Interval ratio = RuleRatio(ratios);
            compared.Add(rows[i].Name, inside.Estimate, end.Estimate, nearEnd.Estimate, ratio.Estimate, RuleRatio(found[i]).Estimate);
            dots.Add((rows[i].Name, [inside, nearEnd]));
            if (i < 2)
                continue;
            // Against the same training without the method, of the same models on the same prompts.
            LengthProfile[] with = found[i];
            findings.Add(Finding.Below("E14", $"A short training with {rows[i].Name} mends what lies beyond the training length.", $"change of the loss on {scored}, at {far}, against more of the same",
                Interval.Mean(found[1].Zip(found[i], (without, after) => Far(after) - Far(without))), 0, Each(with, (model, prompts) => FarOf(with[model], prompts) - FarOf(found[1][model], prompts))));
            if (hasNear)
            {
                double AllOf(LengthProfile profile, IEnumerable<int> prompts) => LengthProfile.Pool(profile.All, last, prompts).MeanLoss;
                findings.Add(Finding.Below("E14", "… and on all reads, near and far.", $"change of the loss on all reads, at {far}, against more of the same",
                    Interval.Mean(found[1].Zip(found[i], (without, after) => At([after], last, tally => tally.MeanLoss).Estimate - At([without], last, tally => tally.MeanLoss).Estimate)), 0,
                    Each(with, (model, prompts) => AllOf(with[model], prompts) - AllOf(found[1][model], prompts))));
            }
            if (i == 2)
                findings.Add(Finding.Below("E14", $"After {rows[i].Name} the loss stays within twice its largest value inside.", $"largest loss on {scored} outside over largest inside", ratio, LengthRule.Bound, ratios));
        }
        double seconds = rows.Sum(row => row.Profiles.Sum(job => job.Seconds(store))) + plans.Sum(store.Seconds);
        Origin origin = OriginOf(command, store, seconds);
        Series[] Lines(bool recent) => [.. rows.Select((row, i) => new Series(row.Name, Curve(found[i], tally => tally.MeanLoss, recent)))];
        Chart Chart(bool recent, string label) => new XyChart
        {
            Description = label, X = Positions, Y = new Axis(label, Min: 0), Series = Lines(recent), VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
            HorizontalGuides = hasNear && !recent ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
        };
        var figures = new List<Figure>
        {
            new("Trained a little further", $"A twentieth of the training more, in five ways; bands are 95 % intervals over models.", Chart(false, LossLabel), table, origin),
            new("Before and after", $"Loss inside the training length, and at {far} on {scored}: the first should stay, the second fall.",
                new DotPlot { Description = "Losses by training", Axis = new Axis(LossLabel, Min: 0), Quantities = ["inside the training length", $"at {far}, {(hasNear ? "near reads" : "all")}"], Rows = dots }, compared, origin),
        };
        if (hasNear)
            figures.Insert(1, new Figure("Trained a little further: what was said just before", $"The loss on {scored}.", Chart(true, "loss on near reads, nats"), near, origin));
        return new StudyResult(Name, "Learning to forget", "Trained models are trained a twentieth longer, at a third of the learning rate, in ways that show them the states of longer texts."
            + (hasNear ? " Carried states differ from the others in what they ask for: reads of what stood up to 12 training lengths before. What a state cannot hold they teach to guess." : ""), findings, figures);
    }
}
