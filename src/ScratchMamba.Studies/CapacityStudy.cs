using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>
/// How the training length from which a model forgets (T_forget, E10 and E11), and the length over which it recalls (T_recall, E12), grow with the size of its state:
/// models of every state size and training length, with equal tokens of training; and all of it again after a short training with state passing.
/// </summary>
public sealed class CapacityStudy : Study
{
    /// <summary>A model of the grid, and what is measured of it.</summary>
    private sealed record Cell(TrainingPlan Plan, int Seed, bool Passes, MeasurementJob<LengthProfile> Profile, MeasurementJob<PasskeyTable> Passkeys)
    {
        public int State => Plan.Config.StateSize;

        public int Length => Plan.Length;
    }

    /// <summary>What was found of it. Only a model that has learned something can have learned to forget.</summary>
    private sealed record Found(Cell Cell, LengthProfile Profile, Interval Ratio, bool HasLearned, double Recall);

    private readonly Cell[] cells;
    private readonly MeasurementJob<StateTrace>[] traces;
    private readonly int[] passkeyLengths;
    private readonly int shown;

    /// <summary>The study. It always trains models of its own.</summary>
    public CapacityStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        // The prompts are equally long for all models: as many times the shortest training length as is usual, and four times the longest at least.
        int shortest = options.CapacityLengths.Min(), longest = options.CapacityLengths.Max();
        long length = Math.Max((long)shortest * options.LengthFactor, 4L * longest);
        int least = subject.Passkey is Data.RecallPasskey ? 8 : 512;
        passkeyLengths = [.. Enumerable.Range(0, 20).SelectMany(i => new[] { least << i, 3 * (least << i) / 2 }).Where(tokens => tokens <= 2 * longest)];
        (int, double)[] places = [.. passkeyLengths.SelectMany(tokens => PasskeyTable.Even(tokens, options.PasskeySamples))];
        cells =
        [
            .. from state in options.CapacityStates
               from trained in options.CapacityLengths
               from seed in Enumerable.Range(0, options.CapacitySeeds)
               let fresh = options.CapacityPlan(state, trained, options.FirstSeed + (ulong)seed)
               from passes in Enumerable.Range(0, 2).Select(i => i == 1)
               let plan = passes ? StudyOptions.After(fresh, TrainingMethod.StatePassing) : fresh
               let model = new ModelSource(new TrainingJob(plan))
               select new Cell(
                   plan, seed, passes, Profile(model, subject.Data, Cure.None, $"N = {state}, T = {trained}", length, trainingLength: trained), Ask(model, places, Cure.None, "passkey at all depths")),
        ];
        shown = options.CapacityStates.Contains(options.StateSize) ? options.StateSize : options.CapacityStates[^1];
        traces = [.. cells.Where(IsShown).Select(cell => Trace(new ModelSource(new TrainingJob(cell.Plan)), subject.Data, cell.Length))];
    }

    /// <inheritdoc/>
    public override string Name => "capacity";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => [.. cells.Select(cell => cell.Profile), .. cells.Select(cell => cell.Passkeys), .. traces];

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        Origin origin = new(
            command, $"Mamba-2, width {Options.Width}, {Options.Layers} layers, N from {Options.CapacityStates.Min()} to {Options.CapacityStates.Max()}, {Options.CapacityTokens / 1e6:0.0} M tokens each", Subject.Data.Name,
            Options.CapacitySeeds == 1 ? $"seed {Options.FirstSeed}" : $"{Options.CapacitySeeds} seeds",
            cells.Sum(cell => cell.Profile.Seconds(store) + cell.Passkeys.Seconds(store)) + traces.Sum(job => job.Seconds(store))
            + cells.SelectMany(cell => cell.Plan.WithStarts).DistinctBy(plan => plan.Settings).Sum(store.Seconds));
        Found[] all = [.. cells.Select(cell => Look(cell, store))], plain = [.. all.Where(found => !found.Cell.Passes)], passed = [.. all.Where(found => found.Cell.Passes)];
        Table table = TableOf(all);
        var findings = new List<Finding>();
        List<Figure> figures = [Sweep(plain, origin), Ratios(plain, "", table, origin)];
        (int Learned, int Forgot) Count(Found[] group) => (group.Count(found => found.HasLearned), group.Count(Forgets));
        if (Options.CapacityLengths.Count > 1)
        {
            Interval[] slopes = [.. plain.GroupBy(found => (found.Cell.State, found.Cell.Seed)).Select(group => SlopeOf([.. group.Where(found => found.HasLearned)])).OfType<double>().Select(slope => Interval.Mean([slope]))];
            findings.Add(Finding.Below(
                "E10", "The longer the training length, the less does the loss grow beyond it.", $"change of log(largest loss outside / inside) with each doubling of T, {Count(plain).Learned} models of {plain.Length} that have learned",
                Interval.Mean(slopes.Select(slope => slope.Estimate)), 0));
        }
        Threshold(plain, "E11", "T_forget", "the training length from which on the loss stays within twice its largest value inside", group => TForget(group), linear: true);
        Threshold(plain, "E12", "T_recall", "the length up to which more than 95 % of the passkeys are recalled, over the best training length", group => group.Max(found => found.Recall), linear: false);
        Interval change = Interval.Mean(plain.Zip(passed).Where(pair => pair.First.HasLearned && pair.Second.HasLearned).Select(pair => Math.Log(pair.Second.Ratio.Estimate / pair.First.Ratio.Estimate)));
        findings.Add(Finding.Below(
            "E14", "State passing lowers the threshold of forgetting (not in the paper).",
            $"{Count(plain).Forgot} of {Count(plain).Learned} models forget without it, {Count(passed).Forgot} of {Count(passed).Learned} with it; change of log(largest loss outside / inside), the same models", change, 0));
        figures.Add(Ratios(passed, " after state passing", Copy(table, "capacity-passing"), origin));
        Threshold(passed, "E14", "T_forget", "the training length from which on the loss stays within twice its largest value inside", group => TForget(group), linear: true);
        Threshold(passed, "E14", "T_recall", "the length up to which more than 95 % of the passkeys are recalled, over the best training length", group => group.Max(found => found.Recall), linear: false);
        static double Recalling(Found[] models) => models.Max(found => found.Recall);
        figures.Add(PublishedThresholds.Beside([("T_forget", Each(plain, TForget)), ("T_recall", Each(plain, Recalling)), ("T_recall, state passing", Each(passed, Recalling))], origin));
        if (traces.Length > 0)
            figures.Add(MeanRetention(store, findings, origin));
        return new StudyResult(
            Name, "State size and training length",
            "Every point of the grid is a model of its own, with the same number of tokens of training. Those of long training lengths see fewer sequences and learn more slowly; models that have not learned to recall "
            + $"what is near (loss inside above half of what guessing costs) are left out of the tests of forgetting, which they would pass for nothing. "
            + (HasNear ? "These tests look at reads of what was mentioned at most 16 tokens before: others become harder with the distance, forgetting or not." : ""),
            findings, figures);

        IEnumerable<(double, double)> Each(Found[] group, Func<Found[], double> value) =>
            group.GroupBy(found => (found.Cell.State, found.Cell.Seed)).Select(models => ((double)SizeOf(models.Key.State), value([.. models.OrderBy(found => found.Cell.Length)])));

        void Threshold(Found[] group, string experiment, string symbol, string meaning, Func<Found[], double> value, bool linear)
        {
            bool passes = group[0].Cell.Passes;
            string when = passes ? " after state passing" : "", name = $"capacity-{symbol}{(passes ? "-passing" : "")}";
            (int State, int Seed, double X, double Y)[] sizes =
                [.. group.GroupBy(found => (found.Cell.State, found.Cell.Seed)).Select(models => (models.Key.State, models.Key.Seed, SizeOf(models.Key.State) / 1000.0, value([.. models.OrderBy(found => found.Cell.Length)])))];
            (double X, double Y)[] points = [.. sizes.Where(point => point.Y > 0).Select(point => (point.X, point.Y))];
            var numbers = new Table(name, "state_size", "N", "seed", symbol);
            foreach ((int state, int seed, double x, double y) in sizes)
                numbers.Add(SizeOf(state), state, (long)Options.FirstSeed + seed, y > 0 ? y : double.NaN);
            string missing = points.Length < sizes.Length ? $" {sizes.Length - points.Length} of {sizes.Length} reach none in this sweep." : "";
            var series = new List<Series> { new(symbol, [.. points.Select(point => new Datum(point.X, point.Y))], Mark.Dots) };
            string fits = "", claim = $"{symbol} grows {(linear ? "linearly" : "exponentially")} with the size of the state{when}.";
            // Interpolated thresholds hardly ever coincide: those that do lie at an end of the sweep or beyond it, and no law can be read off them.
            if (points.GroupBy(point => point.Y).MaxBy(same => same.Count()) is { } end && points.Length > 1 && 2 * end.Count() >= points.Length)
            {
                findings.Add(new Finding(experiment, claim, $"{end.Count()} of {points.Length} thresholds are {end.Key:0.#} tokens, the end of the sweep", Verdict.Open));
            }
            else if (points.Select(point => point.X).Distinct().Count() >= 3)
            {
                Fit line = Fits.Line(points);
                Describe("line", line, Fits.Line([(0, 0), .. points]));
                Fit? exponential = points.Select(point => point.X).Distinct().Count() >= 4 ? Fits.Exponential(points) : null;
                if (exponential is not null)
                    Describe("exponential", exponential, Fits.Exponential([(0, 0), .. points]));
                string both = $"R² = {line.RSquared:0.000} of the line{(exponential is null ? "" : $", {exponential.RSquared:0.000} of the exponential")}, {points.Length} thresholds of {points.Select(point => point.X).Distinct().Count()} sizes";
                findings.Add(Finding.Above(experiment, $"{symbol} grows {(linear ? "linearly " : "")}with the size of the state{when}.", $"tokens per 1,000 numbers of state, {both}", line.Parameters[0], 0));
                if (!linear && exponential is not null)
                    findings.Add(Finding.Above(experiment, claim, $"factor per 1,000 numbers of state, {both}", exponential.Parameters[1], 1));
            }
            else
            {
                findings.Add(new Finding(experiment, claim, $"only {points.Length} thresholds found; a fit needs three sizes", Verdict.Open));
            }
            figures.Add(new Figure(
                $"{symbol} against the size of the state{when}", $"{char.ToUpperInvariant(meaning[0])}{meaning[1..]}; a dot for each seed.{fits}{missing}",
                new XyChart { Description = $"{symbol} against the size of the state{when}", X = new Axis("thousand numbers in the recurrent state, all layers", Min: 0), Y = new Axis($"{symbol}, tokens", Min: 0), Series = series },
                numbers, origin));

            void Describe(string kind, Fit fit, Fit withOrigin)
            {
                double most = points.Max(point => point.X);
                series.Add(new Series(kind, [.. Enumerable.Range(0, 61).Select(i => new Datum(most * i / 60, Math.Max(0, fit.At(most * i / 60))))], Mark.Curve));
                fits += $" {char.ToUpperInvariant(kind[0])}{kind[1..]}: {fit.Formula}, constants {string.Join(", ", fit.Parameters)}, R² = {fit.RSquared:0.000} ({withOrigin.RSquared:0.000} with the origin as a point).";
            }
        }
    }

    private bool HasNear => Subject.Data is Data.StreamingRecall;

    private bool IsShown(Cell cell) => cell.State == shown && !cell.Passes;

    private Found Look(Cell cell, Store store)
    {
        LengthProfile profile = cell.Profile.Result(store);
        double inside = profile.WholeInside(HasNear ? profile.Recent : profile.All).MeanLoss;
        return new Found(cell, profile, EachRuleRatio([profile], HasNear)[0], inside <= Subject.Data.ChanceLoss / 2, RecallOf(cell.Passkeys.Result(store)));
    }

    private static bool Forgets(Found found) => found.HasLearned && found.Ratio.Estimate <= LengthRule.Bound;

    /// <summary>
    /// Where the logarithm of the ratio, interpolated over the logarithm of T, falls to that of the bound for good; the shortest T where all pass; not a number where the longest does not.
    /// </summary>
    private static double TForget(Found[] byLength)
    {
        Found[] learned = [.. byLength.Where(found => found.HasLearned)];
        int last = Array.FindLastIndex(learned, found => !Forgets(found));
        if (last < 0 || last == learned.Length - 1)
            return last < 0 && learned.Length > 0 ? learned[0].Cell.Length : double.NaN;
        (Found fails, Found passes) = (learned[last], learned[last + 1]);
        double share = Math.Log(fails.Ratio.Estimate / LengthRule.Bound) / Math.Log(fails.Ratio.Estimate / passes.Ratio.Estimate);
        return Math.Exp(Math.Log(fails.Cell.Length) + share * Math.Log((double)passes.Cell.Length / fails.Cell.Length));
    }

    /// <summary>Where the share that is recalled, interpolated over the logarithm of the length, falls to 95 %; 0 where it is nowhere above.</summary>
    private double RecallOf(PasskeyTable answers)
    {
        double[] shares = [.. passkeyLengths.Select(length => answers.Count(length) is var (right, count) ? right / (double)count : 0)];
        int fails = Array.FindIndex(shares, share => share <= PasskeyFigures.Recalled);
        if (fails <= 0)
            return fails < 0 ? passkeyLengths[^1] : 0;
        double share = (shares[fails - 1] - PasskeyFigures.Recalled) / (shares[fails - 1] - shares[fails]);
        return Math.Exp(Math.Log(passkeyLengths[fails - 1]) + share * Math.Log((double)passkeyLengths[fails] / passkeyLengths[fails - 1]));
    }

    /// <summary>The slope of the logarithm of the ratio over log₂ T.</summary>
    private static double? SlopeOf(Found[] models) =>
        models.Length < 2 ? null : Fits.Line([.. models.Select(found => (Math.Log2(found.Cell.Length), Math.Log(found.Ratio.Estimate)))]).Parameters[0].Estimate;

    private Table TableOf(IEnumerable<Found> all)
    {
        var table = new Table("capacity", "state_size", "N", "T", "seed", "state_passing", "loss_inside", "near_loss_inside", "near_ratio", "near_low", "near_high", "ratio", "has_learned", "forgets", "recall_length");
        foreach (Found found in all)
        {
            (Cell cell, LengthProfile profile) = (found.Cell, found.Profile);
            table.Add(
                SizeOf(cell.State), cell.State, cell.Length, (long)Options.FirstSeed + cell.Seed, cell.Passes, profile.WholeInside(profile.All).MeanLoss, profile.WholeInside(profile.Recent).MeanLoss,
                found.Ratio.Estimate, found.Ratio.Low, found.Ratio.High, EachRuleRatio([profile])[0].Estimate, found.HasLearned, Forgets(found), found.Recall);
        }
        return table;
    }

    private static Table Copy(Table table, string name)
    {
        var copy = new Table(name, [.. table.Columns]);
        foreach (IReadOnlyList<object?> row in table.Rows)
            copy.Add([.. row]);
        return copy;
    }

    /// <summary>The numbers of the recurrent state: H · P · N in every layer, without what the convolution carries.</summary>
    private int SizeOf(int state) => 2 * Options.Width * state * Options.Layers;

    private Figure Sweep(Found[] measured, Origin origin)
    {
        var table = new Table("capacity-sweep", "T", "position", "loss", "low", "high", "n");
        var series = new List<Series>();
        var inside = new List<string>();
        foreach (IGrouping<int, Found> group in measured.Where(found => IsShown(found.Cell)).GroupBy(found => found.Cell.Length))
        {
            LengthProfile[] profiles = [.. group.Select(found => found.Profile)];
            Tabulate(table, group.Key.ToString(), profiles, tally => tally.MeanLoss);
            series.Add(new Series($"T = {group.Key}", Curve(profiles, tally => tally.MeanLoss)));
            inside.Add($"{Inside(profiles, tally => tally.MeanLoss).Estimate:0.00} at T = {group.Key}");
        }
        return new Figure(
            $"Training lengths compared, N = {shown}", $"With equal tokens of training the loss inside the training length is {string.Join(", ", inside)}.",
            new XyChart
            {
                Description = "Loss against position for several training lengths", X = Positions, Y = new Axis(LossLabel, Min: 0), Series = series, IsOrdered = true,
                HorizontalGuides = HasNear ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
            },
            table, origin);
    }

    private static Figure Ratios(Found[] measured, string when, Table table, Origin origin) => new(
        $"The test of forgetting{when}",
        $"{measured.Count(Forgets)} of {measured.Count(found => found.HasLearned)} models that have learned to recall forget{when}: their largest loss outside the training length is at most {LengthRule.Bound} times the largest inside. Geometric means over seeds.",
        new XyChart
        {
            Description = "Ratio of losses by training length and state size", X = new Axis("training length, tokens", Scale.Log2), Y = new Axis("largest loss outside / largest inside", Scale.Log2), IsOrdered = true,
            Series =
            [
                .. measured.Where(found => found.HasLearned).GroupBy(found => found.Cell.State).Select(group => new Series(
                    $"N = {group.Key}", [.. group.GroupBy(found => found.Cell.Length).Select(models => new Datum(models.Key, RuleRatio([.. models.Select(found => found.Ratio)]).Estimate))])),
            ],
            HorizontalGuides = [new Guide(LengthRule.Bound, "twice")],
        },
        table, origin);

    /// <summary>The mean of α of every head by training length: models of longer training lengths are expected to forget more where others retain most (E4).</summary>
    private Figure MeanRetention(Store store, List<Finding> findings, Origin origin)
    {
        var table = new Table("capacity-mean-retention", "T", "seed", "layer", "head", "mean_decay");
        (Cell Cell, StateTrace Trace)[] found = [.. cells.Where(IsShown).Zip(traces, (cell, job) => (cell, job.Result(store)))];
        foreach ((Cell cell, StateTrace trace) in found)
        {
            foreach (HeadTrace head in trace.Heads)
                table.Add(cell.Length, (long)Options.FirstSeed + cell.Seed, head.Layer, head.Head, head.MeanDecay);
        }
        static double Most(StateTrace trace) => trace.Heads.Max(head => head.MeanDecay);
        int shortest = Options.CapacityLengths.Min(), longest = Options.CapacityLengths.Max();
        if (longest > shortest)
        {
            findings.Add(Finding.Below(
                "E4", "Models of longer training lengths retain less in the heads that retain most.", $"change of log₁₀(1 − mean α) of the head that retains most, from T = {longest} to {shortest}, N = {shown}",
                Interval.Mean(found.Where(entry => entry.Cell.Length == shortest).Zip(
                    found.Where(entry => entry.Cell.Length == longest), (shorter, longer) => Math.Log10((1 - Most(shorter.Trace)) / (1 - Most(longer.Trace))))), 0));
        }
        return new Figure(
            $"Mean retention of every head by training length, N = {shown}", "What is lost of a state with every token, on average over a prompt; a dot for every head of every model.",
            new XyChart
            {
                Description = "Mean retention by training length", X = new Axis("training length, tokens", Scale.Log2), Y = new Axis("1 − mean of αₜ", Scale.Log10),
                Series = [.. Enumerable.Range(0, Options.Layers).Select(layer => new Series($"layer {layer}", [.. found.SelectMany(entry => entry.Trace.Heads.Where(head => head.Layer == layer).Select(head => new Datum(entry.Cell.Length, 1 - head.MeanDecay)))], Mark.Dots))],
            },
            table, origin);
    }
}
