using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies;

/// <summary>A study: the work that it takes, and what follows from the results.</summary>
/// <param name="options">The extent.</param>
/// <param name="subject">The models.</param>
public abstract class Study(StudyOptions options, Subject subject)
{
    /// <summary>Its name on the command line.</summary>
    public abstract string Name { get; }

    /// <summary>The work.</summary>
    public abstract IEnumerable<Job> Jobs { get; }

    /// <summary>What follows, once all work is done.</summary>
    /// <param name="store">The results.</param>
    /// <param name="command">The command line that makes them.</param>
    public abstract StudyResult Conclude(Store store, string command);

    /// <summary>The extent.</summary>
    protected StudyOptions Options => options;

    /// <summary>The models.</summary>
    protected Subject Subject => subject;

    /// <summary>What is scored, and its unit, on a chart's axis.</summary>
    protected string LossLabel => subject.Data is StreamingRecall ? "loss on reads, nats" : "loss, nats per token";

    /// <summary>A measurement of loss against position.</summary>
    protected MeasurementJob<LengthProfile> Profile(ModelSource model, StudyData data, Cure cure, string? title = null, long? length = null, int? prompts = null, int? trainingLength = null, int stretches = 1)
    {
        int trained = trainingLength ?? subject.TrainingLength;
        var settings = new ProfileSettings
        {
            Data = data, TrainingLength = trained, Length = length ?? (long)options.LengthFactor * trained, Prompts = prompts ?? options.Prompts, Cure = cure, Stretches = stretches,
        };
        return new MeasurementJob<LengthProfile>(
            model, settings.Settings, title ?? $"loss against position, {cure}", settings.Cost, Results.Default.LengthProfile, (loaded, context) => LengthProfile.Measure(loaded, settings, context));
    }

    /// <summary>A passkey measurement.</summary>
    private protected MeasurementJob<PasskeyTable> Ask(ModelSource model, IReadOnlyList<(int Length, double Depth)> places, Cure cure, string what, Passkey? passkey = null)
    {
        passkey ??= subject.Passkey;
        const ulong Seed = 2_000_003;
        return new MeasurementJob<PasskeyTable>(
            model, $"{passkey.Name}, {what}, {string.Join(' ', places.GroupBy(place => place.Length).Select(group => $"{group.Count()} × {group.Key}"))}, seed {Seed}, cure {cure}",
            $"{what}, {cure}", places.Sum(place => 0.3 * place.Length), Results.Default.PasskeyTable,
            (loaded, context) =>
            {
                loaded.Cure = cure;
                return PasskeyTable.Measure(loaded, passkey, places, Seed, context);
            });
    }

    /// <summary>A look into every head while prompts are read, 16 times as long as the training or as long as all prompts are.</summary>
    protected MeasurementJob<StateTrace> Trace(ModelSource model, StudyData data, int trained)
    {
        const ulong Seed = 3_000_017;
        const int MostPrompts = 32;
        int prompts = Math.Min(MostPrompts, options.Prompts), stride = Math.Max(1, trained / 8), length = trained * Math.Min(16, options.LengthFactor);
        return new MeasurementJob<StateTrace>(
            model, $"states: {data.Name}, T {trained}, {prompts} prompts of {length}, every {stride}, seed {Seed}", "states of every head", 0.6 * prompts * length, Results.Default.StateTrace,
            (loaded, context) => StateTrace.Measure(loaded, data, trained, length, stride, prompts, Seed, context));
    }

    /// <summary>How figures of these models came about.</summary>
    /// <param name="command">The command line.</param>
    /// <param name="store">Where the models' times are.</param>
    /// <param name="seconds">How long measuring took.</param>
    /// <param name="data">What was read; the models' own data by default.</param>
    protected Origin OriginOf(string command, Store store, double seconds, string? data = null) => new(
        command, subject.Model, data ?? subject.Data.Name, subject.Seeds, seconds + subject.Models.Sum(model => model.Job is null ? 0 : model.Job.Plan.WithStarts.Sum(store.Seconds)));

    /// <summary>A bucket: the mean over several models with its interval, or, of one, all its prompts together with the interval of resampling them, since some have little to score there.</summary>
    internal static Interval At(IReadOnlyList<LengthProfile> profiles, int bucket, Func<Tally, double> value, bool recent = false)
    {
        Tally[][] Of(LengthProfile profile) => recent ? profile.Recent : profile.All;
        return profiles.Count > 1
            ? Interval.Mean(profiles.Select(profile => value(LengthProfile.Pool(Of(profile), bucket))))
            : Interval.Bootstrap(profiles[0].All.Length, prompts => value(LengthProfile.Pool(Of(profiles[0]), bucket, prompts)));
    }

    /// <summary>The curve of a quantity against position.</summary>
    internal static Datum[] Curve(IReadOnlyList<LengthProfile> profiles, Func<Tally, double> value, bool recent = false) =>
        [.. Enumerable.Range(0, profiles[0].Ends.Length).Select(bucket => Point(profiles[0].Ends[bucket], At(profiles, bucket, value, recent)))];

    /// <summary>The curve of a quantity against position, and thin ones for single models where there are several.</summary>
    internal static IEnumerable<Series> Curves(string name, IReadOnlyList<LengthProfile> profiles, Func<Tally, double> value, int color, bool recent = false) =>
        (profiles.Count > 1 ? profiles : []).Select(profile => new Series("", [.. Curve([profile], value, recent)], Mark.Curve, color)).Append(new Series(name, Curve(profiles, value, recent), Color: color));

    /// <summary>A value with its interval, at a place.</summary>
    internal static Datum Point(double x, Interval value) => new(x, value.Estimate, value.Low, value.High);

    /// <summary>A quantity inside the training length: the mean over several models, or over the prompts of one.</summary>
    internal static Interval Inside(IReadOnlyList<LengthProfile> profiles, Func<Tally, double> value) => profiles.Count > 1
        ? Interval.Mean(profiles.Select(profile => value(profile.WholeInside(profile.All))))
        : Interval.Bootstrap(profiles[0].All.Length, prompts => value(InsideOf(profiles[0], prompts)));

    /// <summary>The ratio of the operational test: the geometric mean over several models, or of one with its interval over prompts.</summary>
    internal static Interval RuleRatio(IReadOnlyList<LengthProfile> profiles, bool recent = false) => RuleRatio(EachRuleRatio(profiles, recent));

    /// <summary>The same from the ratios of the models.</summary>
    internal static Interval RuleRatio(IReadOnlyList<Interval> each) => each.Count > 1 ? Interval.GeometricMean(each.Select(ratio => ratio.Estimate)) : each[0];

    /// <summary>The ratio of the operational test of each model, with its interval over the model's prompts.</summary>
    internal static Interval[] EachRuleRatio(IReadOnlyList<LengthProfile> profiles, bool recent = false) => [.. profiles.Select(profile => LengthRule.Of(profile, recent).LossRatio)];

    /// <summary>A statistic of each model, with its interval over the model's prompts.</summary>
    internal static Interval[] Each(IReadOnlyList<LengthProfile> profiles, Func<int, IReadOnlyList<int>, double> statistic) =>
        [.. profiles.Select((profile, model) => Interval.Bootstrap(profile.All.Length, prompts => statistic(model, prompts)))];

    /// <summary>The tally inside the training length, over prompts some of which may be named several times.</summary>
    internal static Tally InsideOf(LengthProfile profile, IReadOnlyList<int> prompts, bool recent = false) =>
        profile.Inside.Aggregate(default(Tally), (sum, bucket) => sum + LengthProfile.Pool(recent ? profile.Recent : profile.All, bucket, prompts));

    /// <summary>Adds a curve to a table with the columns name, position, value, low, high, n.</summary>
    internal static void Tabulate(Table table, string name, IReadOnlyList<LengthProfile> profiles, Func<Tally, double> value, bool recent = false)
    {
        for (int bucket = 0; bucket < profiles[0].Ends.Length; bucket++)
        {
            Interval found = At(profiles, bucket, value, recent);
            table.Add(name, profiles[0].Ends[bucket], found.Estimate, found.Low, found.High, found.Count);
        }
    }

    /// <summary>The memory that tensors took at each position, of the first model of each name; null where it was not measured.</summary>
    internal static Figure? Memory(string name, string title, IReadOnlyList<(string Name, LengthProfile Profile)> found, Origin origin)
    {
        if (found.Any(row => row.Profile.Bytes is null))
            return null;
        var table = new Table(name, "of", "position", "bytes");
        foreach ((string of, LengthProfile profile) in found)
        {
            for (int bucket = 0; bucket < profile.Ends.Length; bucket++)
                table.Add(of, profile.Ends[bucket], profile.Bytes![bucket]);
        }
        double change = found.Max(row => row.Profile.Bytes!.Max() / (double)row.Profile.Bytes![0]) - 1;
        return new Figure(
            title, $"What tensors take while the streams are read does not depend on how much was read: nowhere more than {change:0.0 %} above what it was in the beginning.",
            new XyChart
            {
                Description = "Memory against position", X = Positions, Y = new Axis("memory of tensors, MB", Min: 0),
                Series = [.. found.Select(row => new Series(row.Name, [.. row.Profile.Ends.Zip(row.Profile.Bytes!, (end, bytes) => new Datum(end, bytes / 1e6))]))],
            },
            table, origin);
    }

    /// <summary>The axis of positions.</summary>
    internal static Axis Positions { get; } = new("position (end of the bucket), tokens", Scale.Log2);
}
