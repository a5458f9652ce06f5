using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>How much the next token depends on what was read long ago: effective remembrance (Buitrago Ruiz and Gu, 2025), with and without cures.</summary>
public sealed class RemembranceStudy : Study
{
    private const ulong Seed = 4_000_037;

    private readonly (string Name, MeasurementJob<double[][]>[] Values)[] rows;
    private readonly int[] kept;
    private readonly int length;

    /// <summary>The study of these models.</summary>
    public RemembranceStudy(StudyOptions options, Subject subject) : base(options, subject)
    {
        int trained = subject.TrainingLength;
        length = 16 * trained;
        // How many of the last tokens are kept; all before them are taken away.
        kept = [.. Enumerable.Range(0, 20).Select(i => trained / 8 << i).Where(count => count > 0 && count < length)];
        (string, Cure)[] cures = options.Cures is { Count: > 0 } custom ? [("none", Cure.None), .. custom.Where(cure => !cure.NeedsCalibration).Select(cure => (cure.ToString(), cure))] : [("none", Cure.None), ($"retention × {Math.Exp(-0.82 / trained):0.####}", new Cure { Retention = Math.Exp(-0.82 / trained) }), ($"a sliding window, {trained}", new Cure { Window = trained })];
        rows = [.. cures.Select(cure => (cure.Item1, subject.Models.Select(model => Measure(model, cure.Item2)).ToArray()))];
    }

    /// <inheritdoc/>
    public override string Name => "remembrance";

    /// <inheritdoc/>
    public override IEnumerable<Job> Jobs => rows.SelectMany(row => row.Values);

    private MeasurementJob<double[][]> Measure(ModelSource model, Cure cure)
    {
        int prompts = Options.Prompts;
        int[] starts = [.. kept.Select(count => length - count)];
        return new MeasurementJob<double[][]>(
            model, $"effective remembrance: {Subject.Data.Name}, {prompts} prompts of {length}, without the first {string.Join(' ', starts)}, seed {Seed}, cure {cure}", $"effective remembrance, {cure}",
            0.6 * prompts * (length + kept.Sum()), Results.Default.DoubleArrayArray,
            (loaded, context) =>
            {
                loaded.Cure = cure;
                var values = new double[prompts][];
                for (int i = 0; i < prompts; i++)
                {
                    context.Cancellation.ThrowIfCancellationRequested();
                    context.Report(i / (double)prompts, $"prompt {i + 1} of {prompts}");
                    int[] tokens = [.. Subject.Data.Document(Seed, (ulong)i).Take(length).Select(token => token.Id)];
                    values[i] = EffectiveRemembrance.Measure(loaded, tokens, starts);
                }
                return values;
            });
    }

    /// <inheritdoc/>
    public override StudyResult Conclude(Store store, string command)
    {
        int trained = Subject.TrainingLength, atTrained = Array.IndexOf(kept, kept.Last(count => count <= trained));
        var table = new Table("remembrance", "cure", "kept", "remembrance", "low", "high", "n");
        var series = new List<Series>();
        double[][][] plain = [], cured = [];
        for (int row = 0; row < rows.Length; row++)
        {
            double[][][] found = [.. rows[row].Values.Select(job => job.Result(store))];
            var points = new List<Datum>();
            for (int i = 0; i < kept.Length; i++)
            {
                Interval value = found.Length > 1 ? Interval.Mean(found.Select(model => model.Average(prompt => prompt[i]))) : Interval.Mean(found[0].Select(prompt => prompt[i]));
                table.Add(rows[row].Name, kept[i], value.Estimate, value.Low, value.High, value.Count);
                points.Add(Point(kept[i], value));
            }
            series.Add(new Series(rows[row].Name, points));
            (plain, cured) = (row == 0 ? found : plain, found);
        }
        string quantity = $"total variation between predictions from {length} tokens and from the last {kept[atTrained]} of them";
        // Paired: the same models read the same prompts.
        double[][] own = [.. plain.Select(model => model.Select(prompt => prompt[atTrained]).ToArray())];
        double[][] change = [.. cured.Select((model, m) => model.Select((prompt, p) => prompt[atTrained] - own[m][p]).ToArray())];
        Interval without = Over(own);
        List<Finding> findings = [Finding.Above("E14", "Models that collapse cannot let go of what they read long ago.", quantity, without, 0.2, Each(own))];
        if (rows.Length > 1)
            findings.Add(Finding.Below("E14", $"With {rows[^1].Name} they depend on it less.", $"change of the {quantity}", Over(change), 0, Each(change)));
        var figure = new Figure(
            "Effective remembrance", $"Taking away everything but the last {kept[atTrained]} of {length} tokens changes the prediction by {without} (0: not at all, 1: altogether).",
            new XyChart
            {
                Description = "Effective remembrance", X = new Axis("tokens kept, counted from the end", Scale.Log2), Y = new Axis("effective remembrance", Min: 0, Max: 1), Series = series,
                VerticalGuides = [new Guide(trained, "training length")],
            },
            table, OriginOf(command, store, rows.Sum(row => row.Values.Sum(job => job.Seconds(store)))));
        static Interval Over(double[][] values) => values.Length > 1 ? Interval.Mean(values.Select(model => model.Average())) : Interval.Mean(values[0]);
        static Interval[] Each(double[][] values) => values.Length > 1 ? [.. values.Select(model => Interval.Mean(model))] : [];
        return new StudyResult(Name, "What the distant past still does", "How different the prediction of the next token is without the beginning of the text.", findings, [figure]);
    }
}
