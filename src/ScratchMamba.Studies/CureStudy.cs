using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>What helps without training (E8): every cure on the same models and prompts.</summary>
public sealed class CureStudy : Study
{
    private readonly Row[] rows;

    /// <summary>A cure of every model.</summary>
    /// <param name="Name">Its name.</param>
    /// <param name="Text">Its text form.</param>
    /// <param name="IsCustom">Whether the user asked for it.</param>
    /// <param name="ForgetsMore">Whether it makes models forget more, so that the paper says that it helps.</param>
    /// <param name="Jobs">The work.</param>
    /// <param name="Read">Its results.</param>
    private sealed record Row(string Name, string Text, bool IsCustom, bool ForgetsMore, IReadOnlyList<Job> Jobs, Func<Store, LengthProfile[]> Read)
    {
        public required Func<Store, double> Seconds { get; init; }
    }

    /// <summary>The study of these models.</summary>
    public CureStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        int trained = subject.TrainingLength;
        // The paper's 0.9999 at T = 8192, for this training length.
        double retention = Math.Round(Math.Exp(-0.82 / trained), 4);
        (string, Cure, bool)[] usual =
        [
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
            ("token filter (LongMamba 2025)", new Cure { Filter = new TokenFilter(options.LengthFactor * trained) }, true),
            ("time step × 2", new Cure { TimeStep = 2 }, true),
            ("time step × 0.5 (LongMamba 2023)", new Cure { TimeStep = 0.5 }, false),
        ];
        rows =
        [
            Of("none", Cure.None, forgetsMore: false),
            .. options.Cures is { } custom ? custom.Select(cure => Of(cure.ToString(), cure, forgetsMore: true)) : usual.Select(cure => Of(cure.Item1, cure.Item2, cure.Item3)),
            .. options.Cures is null
                ? [
                    Calibrated("decay per layer, calibrated (Mamba Modulation)", "decay", factors => new Cure { Decay = factors }),
                    Calibrated("time step per layer, calibrated (MambaExtend)", "step", factors => new Cure { TimeStep = factors }),
                ]
                : (Row[])[],
        ];

        Row Of(string name, Cure cure, bool forgetsMore)
        {
            MeasurementJob<LengthProfile>[] jobs = [.. subject.Models.Select(model => Profile(model, subject.Data, cure))];
            return new Row(name, cure.ToString(), options.Cures is not null, forgetsMore, jobs, store => [.. jobs.Select(job => job.Result(store))]) { Seconds = store => jobs.Sum(job => job.Seconds(store)) };
        }

        Row Calibrated(string name, string setting, Func<PerLayer, Cure> with)
        {
            MeasurementJob<CalibratedProfile>[] jobs = [.. subject.Models.Select(model => Calibration(model, setting, with))];
            return new Row(name, $"{setting} found by SPSA", false, true, jobs, store => [.. jobs.Select(job => job.Result(store).Profile)]) { Seconds = store => jobs.Sum(job => job.Seconds(store)) };
        }
    }

    /// <inheritdoc/>
    public override string Name => "cures";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => rows.SelectMany(row => row.Jobs);

    /// <summary>
    /// Factors for every layer, found on prompts that no measurement reads, a quarter as long as those. The published step (0.001) is meant for perplexities; losses of our models change by about 1
    /// where a factor changes by 1.
    /// </summary>
    private MeasurementJob<CalibratedProfile> Calibration(ModelSource model, string setting, Func<PerLayer, Cure> with)
    {
        const int Steps = 25, Prompts = 8;
        ProfileSettings settings = new() { Data = Subject.Data, TrainingLength = Subject.TrainingLength, Length = (long)Options.LengthFactor * Subject.TrainingLength, Prompts = Options.Prompts };
        ProfileSettings small = settings with { Prompts = Prompts, Length = Math.Max(2 * Subject.TrainingLength, settings.Length / 4), Seed = settings.Seed + 2 };
        var search = new SpsaSettings { Steps = Steps, Distance = 0.2, LearningRate = 0.3, Least = 0.1, Largest = 10 };
        return new MeasurementJob<CalibratedProfile>(
            model, $"{setting} per layer by SPSA, {Steps} steps from 1, {search.LearningRate}, {search.Distance}, on [{small.Settings}]; {settings.Settings}", $"{setting} per layer, calibrated",
            settings.Cost + (2 * Steps + 2) * small.Cost, Results.Default.CalibratedProfile,
            (loaded, context) =>
            {
                int measured = 0;
                (Cure cure, double loss) = Mamba2.Cures.Calibration.Factors(
                    loaded, with,
                    candidate =>
                    {
                        context.Report(measured++ / (2.0 * Steps + 4), $"measurement {measured}");
                        LengthProfile profile = LengthProfile.Measure(candidate, small with { Cure = candidate.Cure }, context with { Report = (_, _) => { } });
                        return LengthProfile.Pool(profile.All, profile.Ends.Length - 1).MeanLoss;
                    },
                    search);
                PerLayer factors = setting == "decay" ? cure.Decay : cure.TimeStep;
                var values = new List<double>();
                foreach (double factor in factors)
                    values.Add(factor);
                return new CalibratedProfile([.. values], loss, LengthProfile.Measure(loaded, settings with { Cure = cure }, context));
            });
    }

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        LengthProfile[][] found = [.. rows.Select(row => row.Read(store))];
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
            Tabulate(table, rows[i].Text, found[i], tally => tally.MeanLoss);
            Interval inside = Inside(found[i], tally => tally.MeanLoss), end = At(found[i], last, tally => tally.MeanLoss), change = i == 0 ? default : Change(found[i], LossAt);
            compared.Add((rows[i].Name, [inside, end]));
            recent.Add(
                rows[i].Text, inside.Estimate, end.Estimate, change.Estimate, change.Low, change.High,
                hasRecent ? At(found[i], last, tally => tally.Accuracy, recent: true).Estimate : double.NaN, RuleRatio(found[i]).Estimate);
            if (i == 0)
                continue;
            string quantity = $"{rows[i].Name}: change of the loss at {far}";
            LengthProfile[] with = found[i];
            Interval[] each = Each(with, (model, prompts) => LengthProfile.Pool(with[model].All, last, prompts).MeanLoss - LengthProfile.Pool(found[0][model].All, last, prompts).MeanLoss);
            findings.Add(rows[i].ForgetsMore
                ? Finding.Below("E8", rows[i].IsCustom ? "The cure helps." : "What forgets more helps.", quantity, change, 0, each)
                : Finding.Above("E8", "What forgets less makes it worse.", quantity, change, 0, each));
        }
        double seconds = rows.Sum(row => row.Seconds(store));
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
                    Series = [.. rows.Select((row, i) => new Series(row.Text, [.. Curve(found[i], tally => tally.MeanLoss).Select(point => point with { Low = double.NaN, High = double.NaN })]))],
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
            table.Add(rows[i].Text, accuracy.Estimate, accuracy.Low, accuracy.High, accuracy.Count);
            compared.Add((rows[i].Name, [accuracy]));
        }
        Interval inside = Interval.Mean(found[0].Select(profile => profile.WholeInside(profile.Recent).Accuracy));
        return new Figure(
            "What was said just before", $"Accuracy on reads of what was mentioned at most 16 tokens before, at {far}; inside the training length it is {inside}.",
            new DotPlot { Description = "Accuracy on recent reads by cure", Axis = new Axis("accuracy", Min: 0, Max: 1), Quantities = [$"at {far}"], Rows = compared, Guides = [new Guide(inside.Estimate, "inside the training length")] },
            table, origin);
    }

}
