using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>A million tokens (E13): streams without a cure, with each of several, and of models that were trained a little further with state passing; judged by twice the largest loss inside.</summary>
public sealed class StreamStudy : Study
{
    // The states of long ago are forgotten over some thousand tokens: the last half of a long stream is shown in so many parts.
    private const int Stretches = 4;

    private readonly (string Name, bool IsTrained, MeasurementJob<LengthProfile>[] Jobs)[] rows;

    /// <summary>The study of these models.</summary>
    public StreamStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        int trained = subject.TrainingLength;
        // The paper's 0.9999 at T = 8192, for this training length.
        double retention = Math.Round(Math.Exp(-0.82 / trained), 4);
        IReadOnlyList<Cure> cures = options.Cures ??
        [
            new Cure { Window = trained }, new Cure { Retention = retention }, new Cure { Retention = retention, Insertion = 0.75 }, new Cure { Reset = trained }, new Cure { Stagger = 2 * trained },
        ];
        rows =
        [
            ("no cure", false, Streams(subject.Models, Cure.None)),
            .. cures.Select(cure => (cure.ToString(), false, Streams(subject.Models, cure))),
            // Carried states are left to the study forgetting: what lies far back, and no state holds, they teach to guess.
            .. subject.Models.All(model => model.Job is not null) ? [("trained on with state passing", true, Streams(Further(), Cure.None))] : ((string, bool, MeasurementJob<LengthProfile>[])[])[],
        ];

        IReadOnlyList<ModelSource> Further() => [.. subject.Models.Select(model => new ModelSource(new TrainingJob(StudyOptions.After(model.Job!.Plan, TrainingMethod.StatePassing))))];

        MeasurementJob<LengthProfile>[] Streams(IReadOnlyList<ModelSource> models, Cure cure) =>
            [.. models.Select(model => Profile(model, subject.Data, cure, $"stream, {cure}", options.StreamLength, options.StreamPrompts, stretches: Stretches))];
    }

    /// <inheritdoc/>
    public override string Name => "stream";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => rows.SelectMany(row => row.Jobs);

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        bool hasNear = Subject.Data is StreamingRecall;
        string scored = hasNear ? "reads of what was mentioned at most 16 tokens before" : "all tokens";
        var findings = new List<Finding>();
        var loss = new Table("stream", "treatment", "position", "loss", "low", "high", "n");
        var near = new Table("stream-near", "treatment", "position", "loss", "low", "high", "n");
        var compared = new Table("stream-rule", "treatment", "model", "ratio", "low", "high", "loss_inside", "near_loss_inside", "near_loss_end", "seconds", "peak_bytes");
        List<Series> all = [], recent = [];
        var first = new List<(string, LengthProfile)>();
        var dots = new List<(string, IReadOnlyList<Interval>)>();
        long length = 0, least = long.MaxValue, most = 0;
        foreach ((string name, bool isTrained, MeasurementJob<LengthProfile>[] jobs) in rows)
        {
            LengthProfile[] found = [.. jobs.Select(job => job.Result(store))];
            length = found[0].Ends[^1];
            first.Add((name, found[0]));
            (least, most) = (Math.Min(least, found.Min(profile => profile.PeakBytes)), Math.Max(most, found.Max(profile => profile.PeakBytes)));
            Tabulate(loss, name, found, tally => tally.MeanLoss);
            Tabulate(near, name, found, tally => tally.MeanLoss, recent: hasNear);
            all.Add(new Series(name, Curve(found, tally => tally.MeanLoss)));
            recent.Add(new Series(name, Curve(found, tally => tally.MeanLoss, recent: hasNear)));
            Interval[] each = EachRuleRatio(found, recent: hasNear);
            Interval ratio = RuleRatio(each);
            dots.Add((name, [ratio]));
            for (int model = 0; model < found.Length; model++)
            {
                compared.Add(
                    name, model, each[model].Estimate, each[model].Low, each[model].High, found[model].WholeInside(found[model].All).MeanLoss, found[model].WholeInside(found[model].Recent).MeanLoss,
                    LengthProfile.Pool(found[model].Recent, found[model].Ends.Length - 1).MeanLoss, jobs[model].Seconds(store), found[model].PeakBytes);
            }
            findings.Add(Finding.Below(
                "E13", $"{length:#,0} tokens are read without collapse{(name == "no cure" ? "" : isTrained ? $", {name}" : $" with {name}")}.", $"largest loss outside over largest inside, {scored}", ratio, LengthRule.Bound, each));
        }
        Origin origin = OriginOf(command, store, rows.Sum(row => row.Jobs.Sum(job => job.Seconds(store))));
        var figures = new List<Figure>
        {
            new($"The test of forgetting over {length:#,0} tokens",
                $"The largest mean loss of a stretch outside the training length over the largest inside, {scored}; at most {LengthRule.Bound} means that nothing has collapsed. Read in {least / 1e6:#,0} to {most / 1e6:#,0} MB of tensors, whatever the length.",
                new DotPlot { Description = "Ratios by treatment", Axis = new Axis("largest loss outside / largest inside", Scale.Log2), Quantities = [scored], Rows = dots, Guides = [new Guide(LengthRule.Bound, "twice")] }, compared, origin),
            Lines("Loss against position", LossLabel, all, loss),
        };
        if (hasNear)
            figures.Insert(1, Lines("Loss on what was said just before", "loss on near reads, nats", recent, near));
        if (Memory("stream-memory", "Memory over the stream", first, origin) is { } memory)
            figures.Add(memory);
        return new StudyResult(
            Name, "A million tokens", $"Models trained on {Subject.TrainingLength} tokens read {(Options.StreamPrompts == 1 ? "a stream" : $"{Options.StreamPrompts} streams")} of {length:#,0}. Nowhere may the mean loss exceed twice its largest inside the training length.",
            findings, figures);

        Figure Lines(string title, string label, List<Series> series, Table table) => new(
            title, "Means over models; bands are 95 % intervals.",
            new XyChart
            {
                Description = title, X = Positions, Y = new Axis(label, Min: 0), Series = series, VerticalGuides = [new Guide(Subject.TrainingLength, "training length")],
                HorizontalGuides = hasNear ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
            },
            table, origin);
    }
}
