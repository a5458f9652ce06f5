using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>
/// How the training length from which a model forgets (T_forget, E10 and E11), and the length over which it recalls (T_recall, E12), grow with the size of its state:
/// a model for every state size and training length, with equal tokens of training.
/// </summary>
public sealed class CapacityStudy : Study
{
    private const double Recalled = 0.95;

    private sealed record Cell(int State, int Length, MeasurementJob<LengthProfile>[] Profiles, MeasurementJob<PasskeyTable>[] Passkeys, TrainingPlan Plan);

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
               let models = Enumerable.Range(0, options.CapacitySeeds).Select(i => new ModelSource(new TrainingJob(options.CapacityPlan(state, trained, options.FirstSeed + (ulong)i)))).ToArray()
               select new Cell(
                   state, trained,
                   [.. models.Select(model => Profile(model, subject.Data, Cure.None, $"N = {state}, T = {trained}", length, trainingLength: trained))],
                   [.. models.Select(model => Ask(model, places, Cure.None, $"passkey, N = {state}, T = {trained}"))],
                   models[0].Job!.Plan),
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
            cells.Sum(cell => cell.Profiles.Sum(job => job.Seconds(store)) + cell.Passkeys.Sum(job => job.Seconds(store)) + store.Seconds(cell.Plan) * Options.CapacitySeeds));
        var table = new Table("capacity", "state_size", "N", "T", "loss_inside", "rule_ratio", "ratio_low", "ratio_high", "near_ratio", "passes", "recall_length");
        var measured = new List<(Cell Cell, LengthProfile[] Profiles, Interval Ratio, int Recall)>();
        foreach (Cell cell in cells)
        {
            LengthProfile[] profiles = [.. cell.Profiles.Select(job => job.Result(store))];
            PasskeyTable[] passkeys = [.. cell.Passkeys.Select(job => job.Result(store))];
            Interval ratio = RuleRatio(profiles);
            int recall = passkeyLengths.TakeWhile(length => passkeys.Average(answers => answers.Count(length) is var (right, count) ? right / (double)count : 0) > Recalled).LastOrDefault();
            measured.Add((cell, profiles, ratio, recall));
            table.Add(
                SizeOf(cell.State), cell.State, cell.Length, Inside(profiles, tally => tally.MeanLoss).Estimate, ratio.Estimate, ratio.Low, ratio.High, RuleRatio(profiles, recent: true).Estimate,
                ratio.Estimate <= LengthRule.Bound, recall);
        }
        var findings = new List<Finding>();
        List<Figure> figures = [Sweep(measured, origin), Ratios(measured, table, origin)];
        Threshold("E11", "T_forget", "the shortest training length at which the loss stays within twice its largest value inside", group => group.Where(entry => entry.Ratio.Estimate <= LengthRule.Bound).Select(entry => (double)entry.Cell.Length).DefaultIfEmpty(double.NaN).Min(), linear: true);
        Threshold("E12", "T_recall", "the longest prompt with more than 95 % of the passkeys recalled, over the best training length", group => group.Max(entry => (double)entry.Recall), linear: false);
        return new StudyResult(
            Name, "State size and training length",
            "Every cell of the grid is a model of its own. Models of long training lengths see fewer sequences of the same number of tokens and learn more slowly: the loss inside stands beside every ratio.",
            findings, figures);

        void Threshold(string experiment, string symbol, string meaning, Func<IEnumerable<(Cell Cell, LengthProfile[] Profiles, Interval Ratio, int Recall)>, double> value, bool linear)
        {
            (double X, double Y)[] all = [.. measured.GroupBy(entry => entry.Cell.State).Select(group => (X: (double)SizeOf(group.Key), Y: value(group)))];
            (double X, double Y)[] points = [.. all.Where(point => point.Y > 0)];
            var numbers = new Table($"capacity-{symbol}", "state_size", symbol);
            foreach ((double x, double y) in all)
                numbers.Add(x, y);
            string missing = points.Length < all.Length ? $" {all.Length - points.Length} of {all.Length} sizes reach none in this sweep." : "";
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

    /// <summary>The numbers of the recurrent state: H · P · N in every layer, without what the convolution carries.</summary>
    private int SizeOf(int state) => 2 * Options.Width * state * Options.Layers;

    private Figure Sweep(List<(Cell Cell, LengthProfile[] Profiles, Interval Ratio, int Recall)> measured, Origin origin)
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

    private Figure Ratios(List<(Cell Cell, LengthProfile[] Profiles, Interval Ratio, int Recall)> measured, Table table, Origin origin) => new(
        "The test of forgetting", $"A model has learned to forget where its largest loss outside the training length is at most {LengthRule.Bound} times the largest inside.",
        new XyChart
        {
            Description = "Ratio of losses by training length and state size", X = new Axis("training length, tokens", Scale.Log2), Y = new Axis("largest loss outside / largest inside", Scale.Log2), IsOrdered = true,
            Series = [.. measured.GroupBy(entry => entry.Cell.State).Select(group => new Series($"N = {group.Key}", [.. group.Select(entry => Point(entry.Cell.Length, entry.Ratio))]))],
            HorizontalGuides = [new Guide(LengthRule.Bound, "twice")],
        },
        table, origin);
}
