using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>
/// How the training length from which a model forgets (T_forget, E10 and E11), and the length over which it recalls (T_recall, E12), grow with the size of its state:
/// a model for every state size and training length, with equal tokens of training; and all of it again after a short training with state passing.
/// </summary>
public sealed class CapacityStudy : Study
{
    private const double Recalled = 0.95;

    private sealed record Cell(int State, int Length, bool Passes, MeasurementJob<LengthProfile>[] Profiles, MeasurementJob<PasskeyTable>[] Passkeys, TrainingPlan[] Plans);

    private sealed record Found(Cell Cell, LengthProfile[] Profiles, Interval Ratio, int Recall);

    private readonly Cell[] cells;
    private readonly int[] passkeyLengths;

    /// <summary>The study. It always trains models of its own.</summary>
    public CapacityStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        // The prompts are equally long for all models: as many times the shortest training length as is usual, and twice the longest at least.
        int shortest = options.CapacityLengths.Min(), longest = options.CapacityLengths.Max();
        long length = Math.Max((long)shortest * options.LengthFactor, 4L * longest);
        int least = subject.Passkey is Data.RecallPasskey ? 8 : 512;
        passkeyLengths = [.. Enumerable.Range(0, 20).Select(i => least << i).Where(tokens => tokens <= length)];
        (int, double)[] places = [.. passkeyLengths.SelectMany(tokens => PasskeyTable.Even(tokens, options.PasskeySamples))];
        cells =
        [
            .. from state in options.CapacityStates
               from trained in options.CapacityLengths
               from passes in Enumerable.Range(0, 2).Select(i => i == 1)
               let fresh = Enumerable.Range(0, options.CapacitySeeds).Select(i => options.CapacityPlan(state, trained, options.FirstSeed + (ulong)i))
               let plans = fresh.Select(plan => passes ? StudyOptions.After(plan, TrainingMethod.StatePassing) : plan).ToArray()
               let models = plans.Select(plan => new ModelSource(new TrainingJob(plan))).ToArray()
               select new Cell(
                   state, trained, passes,
                   [.. models.Select(model => Profile(model, subject.Data, Cure.None, $"N = {state}, T = {trained}", length, trainingLength: trained))],
                   [.. models.Select(model => Ask(model, places, Cure.None, "passkey at all depths"))], plans),
        ];
    }

    /// <inheritdoc/>
    public override string Name => "capacity";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => cells.SelectMany(cell => cell.Profiles.Cast<Job>().Concat(cell.Passkeys));

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        Origin origin = new(
            command, $"Mamba-2, width {Options.Width}, {Options.Layers} layers, N from {Options.CapacityStates.Min()} to {Options.CapacityStates.Max()}, {Options.CapacityTokens / 1e6:0.0} M tokens each", Subject.Data.Name,
            Options.CapacitySeeds == 1 ? $"seed {Options.FirstSeed}" : $"{Options.CapacitySeeds} seeds",
            cells.Sum(cell => cell.Profiles.Sum(job => job.Seconds(store)) + cell.Passkeys.Sum(job => job.Seconds(store)) + cell.Plans.Sum(store.Seconds)));
        var table = new Table("capacity", "state_size", "N", "T", "state_passing", "loss_inside", "near_ratio", "near_low", "near_high", "ratio", "ratio_low", "ratio_high", "passes", "recall_length");
        var all = new List<Found>();
        foreach (Cell cell in cells)
        {
            LengthProfile[] profiles = [.. cell.Profiles.Select(job => job.Result(store))];
            PasskeyTable[] passkeys = [.. cell.Passkeys.Select(job => job.Result(store))];
            Interval near = RuleRatio(profiles, recent: HasNear), ratio = RuleRatio(profiles);
            int recall = passkeyLengths.TakeWhile(length => passkeys.Average(answers => answers.Count(length) is var (right, count) ? right / (double)count : 0) > Recalled).LastOrDefault();
            all.Add(new Found(cell, profiles, near, recall));
            table.Add(
                SizeOf(cell.State), cell.State, cell.Length, cell.Passes, Inside(profiles, tally => tally.MeanLoss).Estimate, near.Estimate, near.Low, near.High, ratio.Estimate, ratio.Low, ratio.High,
                near.Estimate <= LengthRule.Bound, recall);
        }
        Found[] measured = [.. all.Where(found => !found.Cell.Passes)], passed = [.. all.Where(found => found.Cell.Passes)];
        var findings = new List<Finding>();
        List<Figure> figures = [Sweep(measured, origin), Ratios(measured, "", table, origin)];
        Threshold("E11", "T_forget", "the shortest training length at which the loss stays within twice its largest value inside", ShortestThatForgets, linear: true);
        Threshold("E12", "T_recall", "the longest prompt with more than 95 % of the passkeys recalled, over the best training length", group => group.Max(found => (double)found.Recall), linear: false);
        (int without, int with) = (measured.Count(found => found.Ratio.Estimate <= LengthRule.Bound), passed.Count(found => found.Ratio.Estimate <= LengthRule.Bound));
        Interval change = Interval.Mean(measured.Zip(passed, (a, b) => Math.Log(b.Ratio.Estimate / a.Ratio.Estimate)));
        findings.Add(Finding.Below(
            "E14", "State passing lowers the threshold of forgetting (not in the paper).",
            $"{without} of {measured.Length} models forget without it, {with} with it; change of the log of the ratio over all of them", change, 0));
        figures.Add(Ratios(passed, " after state passing", Copy(table, "capacity-passing"), origin));
        return new StudyResult(
            Name, "State size and training length",
            "Every cell of the grid is a model of its own, with the same number of tokens of training. Those of long training lengths see fewer sequences and learn more slowly: the loss inside stands beside every ratio. "
            + (HasNear ? "The test of forgetting is applied to reads of what was mentioned at most 16 tokens before: others become harder with the distance, forgetting or not." : ""),
            findings, figures);

        void Threshold(string experiment, string symbol, string meaning, Func<IEnumerable<Found>, double> value, bool linear)
        {
            (double X, double Y)[] sizes = [.. measured.GroupBy(entry => entry.Cell.State).Select(group => (X: (double)SizeOf(group.Key), Y: value(group)))];
            (double X, double Y)[] points = [.. sizes.Where(point => point.Y > 0)];
            var numbers = new Table($"capacity-{symbol}", "state_size", symbol);
            foreach ((double x, double y) in sizes)
                numbers.Add(x, y);
            string missing = points.Length < sizes.Length ? $" {sizes.Length - points.Length} of {sizes.Length} sizes reach none in this sweep." : "";
            var series = new List<Series> { new(symbol, [.. points.Select(point => new Datum(point.X, point.Y))], Mark.Dots) };
            string fits = "";
            if (points.Length >= 3)
            {
                Describe("line", Fits.Line(points), Fits.Line([(0, 0), .. points]), points);
                if (points.Length >= 4)
                    Describe("exponential", Fits.Exponential(points), Fits.Exponential([(0, 0), .. points]), points);
                Fit claimed = linear || points.Length < 4 ? Fits.Line(points) : Fits.Exponential(points);
                findings.Add(linear || points.Length < 4
                    ? Finding.Above(experiment, $"{symbol} grows with the size of the state{(linear ? ", linearly" : "")}.", $"slope of the line through {points.Length} thresholds, R² = {claimed.RSquared:0.000}", claimed.Parameters[0], 0)
                    : Finding.Above(experiment, $"{symbol} grows exponentially with the size of the state.", $"base of the exponential through {points.Length} thresholds, R² = {claimed.RSquared:0.000}", claimed.Parameters[1], 1));
            }
            else
            {
                findings.Add(new Finding(experiment, $"{symbol} grows with the size of the state.", $"only {points.Length} thresholds found; a fit needs three", Verdict.Open));
            }
            figures.Add(new Figure(
                $"{symbol} against the size of the state", $"{char.ToUpperInvariant(meaning[0])}{meaning[1..]}.{fits}{missing}",
                new XyChart { Description = $"{symbol} against the size of the state", X = new Axis("numbers in the recurrent state, all layers", Min: 0), Y = new Axis($"{symbol}, tokens", Min: 0), Series = series },
                numbers, origin));

            void Describe(string name, Fit fit, Fit withOrigin, (double X, double Y)[] points)
            {
                double most = points.Max(point => point.X);
                series.Add(new Series(name, [.. Enumerable.Range(0, 61).Select(i => new Datum(most * i / 60, Math.Max(0, fit.At(most * i / 60))))], Mark.Curve));
                fits += $" {char.ToUpperInvariant(name[0])}{name[1..]}: {fit.Formula}, R² = {fit.RSquared:0.000} ({withOrigin.RSquared:0.000} with the origin as a point).";
            }
        }
    }

    private bool HasNear => Subject.Data is Data.StreamingRecall;

    private static double ShortestThatForgets(IEnumerable<Found> group) =>
        group.Where(found => found.Ratio.Estimate <= LengthRule.Bound).Select(found => (double)found.Cell.Length).DefaultIfEmpty(double.NaN).Min();

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
        int state = Options.CapacityStates.Contains(Options.StateSize) ? Options.StateSize : Options.CapacityStates[^1];
        var table = new Table("capacity-sweep", "T", "position", "loss", "low", "high", "n");
        var series = new List<Series>();
        var inside = new List<string>();
        foreach ((Cell cell, LengthProfile[] profiles, _, _) in measured.Where(entry => entry.Cell.State == state))
        {
            Tabulate(table, cell.Length.ToString(), profiles, tally => tally.MeanLoss);
            series.Add(new Series($"T = {cell.Length}", Curve(profiles, tally => tally.MeanLoss)));
            inside.Add($"{Inside(profiles, tally => tally.MeanLoss).Estimate:0.00} at T = {cell.Length}");
        }
        return new Figure(
            $"Training lengths compared, N = {state}", $"With equal tokens of training the loss inside the training length is {string.Join(", ", inside)}.",
            new XyChart
            {
                Description = "Loss against position for several training lengths", X = Positions, Y = new Axis(LossLabel, Min: 0), Series = series, IsOrdered = true,
                HorizontalGuides = Subject.Data is Data.StreamingRecall ? [new Guide(Subject.Data.ChanceLoss, "guessing")] : [],
            },
            table, origin);
    }

    private static Figure Ratios(Found[] measured, string when, Table table, Origin origin) => new(
        $"The test of forgetting{when}", $"{measured.Count(found => found.Ratio.Estimate <= LengthRule.Bound)} of {measured.Length} models pass{when}. A model has learned to forget where its largest loss outside the training length is at most {LengthRule.Bound} times the largest inside.",
        new XyChart
        {
            Description = "Ratio of losses by training length and state size", X = new Axis("training length, tokens", Scale.Log2), Y = new Axis("largest loss outside / largest inside", Scale.Log2), IsOrdered = true,
            Series = [.. measured.GroupBy(entry => entry.Cell.State).Select(group => new Series($"N = {group.Key}", [.. group.Select(entry => Point(entry.Cell.Length, entry.Ratio))]))],
            HorizontalGuides = [new Guide(LengthRule.Bound, "twice")],
        },
        table, origin);
}
