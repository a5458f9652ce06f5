using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>What helps without training (E8): every cure on the same models and prompts.</summary>
public sealed class CureStudy : Study
{
    private readonly (string Name, Cure Cure, bool ForgetsMore, MeasurementJob<LengthProfile>[] Profiles)[] rows;

    /// <summary>The study of these models, with the usual cures.</summary>
    public CureStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        int trained = subject.TrainingLength;
        // The paper's 0.9999 at T = 8192, for this training length.
        double retention = Math.Round(Math.Exp(-0.82 / trained), 4);
        (string, Cure, bool)[] cures =
        [
            ("none", Cure.None, false),
            ($"retention × {retention}", new Cure { Retention = retention }, true),
            ($"retention × {Math.Round(1 - 2 * (1 - retention), 4)}", new Cure { Retention = Math.Round(1 - 2 * (1 - retention), 4) }, true),
            ($"RRI: retention × {retention}, insertion × 0.75", new Cure { Retention = retention, Insertion = 0.75 }, true),
            ($"sliding window, {trained / 2}", new Cure { Window = trained / 2 }, true),
            ($"sliding window, {trained}", new Cure { Window = trained }, true),
            ($"sliding window, {2 * trained}", new Cure { Window = 2 * trained }, true),
            ("state norm at most as in training", new Cure { Normalization = new StateNormalization(1, IsRelative: true) }, true),
            ($"reset every {trained}", new Cure { Reset = trained }, true),
            ($"two states, reset every {2 * trained}", new Cure { Stagger = 2 * trained }, true),
            ("decay × 2 (Mamba Modulation)", new Cure { Decay = 2 }, true),
            ($"token filter (LongMamba 2025)", new Cure { Filter = new TokenFilter(options.LengthFactor * trained) }, true),
            ("time step × 2", new Cure { TimeStep = 2 }, true),
            ("time step × 0.5 (LongMamba 2023)", new Cure { TimeStep = 0.5 }, false),
        ];
        rows = [.. cures.Select(cure => (cure.Item1, cure.Item2, cure.Item3, subject.Models.Select(model => Profile(model, subject.Data, cure.Item2)).ToArray()))];
    }

    /// <inheritdoc/>
    public override string Name => "cures";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => rows.SelectMany(row => row.Profiles);

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        LengthProfile[][] found = [.. rows.Select(row => row.Profiles.Select(job => job.Result(store)).ToArray())];
        int trained = Subject.TrainingLength, last = found[0][0].Ends.Length - 1;
        bool hasRecent = Subject.Data is Data.StreamingRecall;
        double LossAt(LengthProfile profile) => LengthProfile.Pool(profile.All, last).MeanLoss;
        // Paired: the same models read the same prompts with and without the cure.
        Interval Change(LengthProfile[] with, Func<LengthProfile, double> value) => found[0].Length > 1
            ? Interval.Mean(found[0].Zip(with, (before, after) => value(after) - value(before)))
            : Interval.Mean(Enumerable.Range(0, with[0].All.Length).Select(prompt => with[0].All[prompt][last].MeanLoss - found[0][0].All[prompt][last].MeanLoss));
        var findings = new List<Finding>();
        string far = $"{Axis.Length(found[0][0].Ends[last])} tokens";
        var table = new Table("cures", "cure", "position", "loss", "low", "high", "n");
        var recent = new Table("cures-compared", "cure", "loss_inside", "loss_far", "change_far", "change_low", "change_high", "accuracy_near_far", "rule_ratio");
        var compared = new List<(string, IReadOnlyList<Interval>)>();
        for (int i = 0; i < rows.Length; i++)
        {
            Tabulate(table, rows[i].Cure.ToString(), found[i], tally => tally.MeanLoss);
            Interval inside = Inside(found[i], tally => tally.MeanLoss), end = At(found[i], last, tally => tally.MeanLoss), change = i == 0 ? default : Change(found[i], LossAt);
            compared.Add((rows[i].Name, [inside, end]));
            recent.Add(
                rows[i].Cure.ToString(), inside.Estimate, end.Estimate, change.Estimate, change.Low, change.High,
                hasRecent ? At(found[i], last, tally => tally.Accuracy, recent: true).Estimate : double.NaN, RuleRatio(found[i]).Estimate);
            if (i == 0)
                continue;
            string quantity = $"{rows[i].Name}: change of the loss at {far}";
            LengthProfile[] with = found[i];
            Interval[] each = Each(with, (model, prompts) => LengthProfile.Pool(with[model].All, last, prompts).MeanLoss - LengthProfile.Pool(found[0][model].All, last, prompts).MeanLoss);
            findings.Add(rows[i].ForgetsMore
                ? Finding.Below("E8", "What forgets more helps.", quantity, change, 0, each)
                : Finding.Above("E8", "What forgets less makes it worse.", quantity, change, 0, each));
        }
        double seconds = rows.Sum(row => row.Profiles.Sum(job => job.Seconds(store)));
        Origin origin = OriginOf(command, store, seconds);
        int best = Enumerable.Range(1, rows.Length - 1).MinBy(i => compared[i].Item2[1].Estimate);
        var figures = new List<Figure>
        {
            new(
                "Cures compared", $"At {far} the loss is {compared[0].Item2[1]} without a cure and {compared[best].Item2[1]} with the best, {rows[best].Name}; what a cure costs inside the training length is the distance of its left dot from the first.",
                new DotPlot
                {
                    Description = "Loss inside the training length and far beyond it, by cure", Axis = new Axis(LossLabel, Min: 0), Quantities = ["inside the training length", $"at {far}"], Rows = compared,
                    Guides = hasRecent ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
                },
                recent, origin),
            new(
                "Loss against position with cures", "Each line is the mean of the same models on the same prompts.",
                new XyChart
                {
                    Description = "Loss against position with cures", X = Positions, Y = new Axis(LossLabel, Min: 0),
                    Series = [.. rows.Select((row, i) => new Series(row.Cure.ToString(), [.. Curve(found[i], tally => tally.MeanLoss).Select(point => point with { Low = double.NaN, High = double.NaN })]))],
                    VerticalGuides = [new Guide(trained, "training length")], HorizontalGuides = hasRecent ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
                },
                table, origin),
        };
        if (hasRecent)
            figures.Add(Recent(found, last, far, origin));
        return new StudyResult(Name, "Cures without training", "The recurrence of trained models is changed while they read; nothing is learned anew.", findings, figures);
    }

    private Figure Recent(LengthProfile[][] found, int last, string far, Origin origin)
    {
        var table = new Table("cures-recent", "cure", "accuracy", "low", "high", "n");
        var compared = new List<(string, IReadOnlyList<Interval>)>();
        for (int i = 0; i < rows.Length; i++)
        {
            Interval accuracy = At(found[i], last, tally => tally.Accuracy, recent: true);
            table.Add(rows[i].Cure.ToString(), accuracy.Estimate, accuracy.Low, accuracy.High, accuracy.Count);
            compared.Add((rows[i].Name, [accuracy]));
        }
        Interval inside = Interval.Mean(found[0].Select(profile => profile.WholeInside(profile.Recent).Accuracy));
        return new Figure(
            "What was said just before", $"Accuracy on reads of what was mentioned at most 16 tokens before, at {far}; inside the training length it is {inside}.",
            new DotPlot { Description = "Accuracy on recent reads by cure", Axis = new Axis("accuracy", Min: 0, Max: 1), Quantities = [$"at {far}"], Rows = compared, Guides = [new Guide(inside.Estimate, "inside the training length")] },
            table, origin);
    }

}
