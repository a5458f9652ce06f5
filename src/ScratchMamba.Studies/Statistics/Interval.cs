using ScratchMamba.Tensors;

namespace ScratchMamba.Studies.Statistics;

/// <summary>An estimate with the interval that covers the truth with probability 95 %.</summary>
/// <param name="Estimate">The estimate.</param>
/// <param name="Low">The interval's lower end; not a number where one value says nothing about the spread.</param>
/// <param name="High">The interval's upper end.</param>
/// <param name="Count">How many independent values it was made of.</param>
public readonly record struct Interval(double Estimate, double Low, double High, int Count)
{
    private const double Confidence = 0.95;
    private const int Resamples = 1000;

    /// <summary>For example <c>1.23 [1.10, 1.36]</c>.</summary>
    public override string ToString() => double.IsNaN(Low) ? $"{Show(Estimate)} [one value]" : $"{Show(Estimate)} [{Show(Low)}, {Show(High)}]";

    /// <summary>The mean of independent values, <c>x̄ ± t₀.₉₇₅,ₙ₋₁ s / √n</c>. Values that are not numbers are left out.</summary>
    public static Interval Mean(IEnumerable<double> values)
    {
        double[] known = [.. values.Where(value => !double.IsNaN(value))];
        if (known.Length == 0)
            return new Interval(double.NaN, double.NaN, double.NaN, 0);
        double mean = known.Average();
        if (known.Length == 1)
            return new Interval(mean, double.NaN, double.NaN, 1);
        double deviation = Math.Sqrt(known.Sum(value => (value - mean) * (value - mean)) / (known.Length - 1));
        double half = StudentT.Quantile((1 + Confidence) / 2, known.Length - 1) * deviation / Math.Sqrt(known.Length);
        return new Interval(mean, mean - half, mean + half, known.Length);
    }

    /// <summary>The part of the interval that values can have at all: a share is neither below 0 nor above 1.</summary>
    public Interval Within(double least, double most) => this with { Low = Math.Max(least, Low), High = Math.Min(most, High) };

    /// <summary>The geometric mean of independent positive values: e to the mean of their logarithms, and so its interval. For ratios, which spread as logarithms do.</summary>
    public static Interval GeometricMean(IEnumerable<double> values)
    {
        Interval logs = Mean(values.Select(value => value > 0 ? Math.Log(value) : double.NaN));
        return new Interval(Math.Exp(logs.Estimate), Math.Exp(logs.Low), Math.Exp(logs.High), logs.Count);
    }

    /// <summary>
    /// A share of successes, by Wilson's score: <c>(k + z²/2) / (n + z²) ± z / (n + z²) · √(k (n − k) / n + z²/4)</c>, which stays between 0 and 1 and is honest where all or none succeed.
    /// </summary>
    public static Interval Share(int successes, int count)
    {
        if (count == 0)
            return new Interval(double.NaN, double.NaN, double.NaN, 0);
        const double Z = 1.959963984540054;
        double k = successes, n = count, middle = (k + Z * Z / 2) / (n + Z * Z), half = Z / (n + Z * Z) * Math.Sqrt(k * (n - k) / n + Z * Z / 4);
        return new Interval(k / n, Math.Max(0, middle - half), Math.Min(1, middle + half), count);
    }

    /// <summary>The difference of two independent shares, first less second, from their intervals by <see cref="Share"/>. Source: Newcombe (1998), method 10.</summary>
    public static Interval Difference((int Right, int Count) first, (int Right, int Count) second)
    {
        Interval p = Share(first.Right, first.Count), q = Share(second.Right, second.Count);
        double difference = p.Estimate - q.Estimate;
        return new Interval(
            difference, difference - Math.Sqrt(Math.Pow(p.Estimate - p.Low, 2) + Math.Pow(q.High - q.Estimate, 2)),
            difference + Math.Sqrt(Math.Pow(p.High - p.Estimate, 2) + Math.Pow(q.Estimate - q.Low, 2)), first.Count + second.Count);
    }

    /// <summary>
    /// A statistic of a sample, with the interval of its values over resamples (with replacement, the percentile method). Source: Efron, "Bootstrap Methods" (1979).
    /// </summary>
    /// <param name="count">How many units the sample has.</param>
    /// <param name="statistic">The statistic of the units with these numbers, some of them several times.</param>
    /// <param name="seed">The resamples' seed.</param>
    public static Interval Bootstrap(int count, Func<IReadOnlyList<int>, double> statistic, ulong seed = 0)
    {
        var units = new int[count];
        for (int i = 0; i < count; i++)
            units[i] = i;
        double estimate = statistic(units);
        if (count < 2)
            return new Interval(estimate, double.NaN, double.NaN, count);
        var found = new double[Resamples];
        for (int resample = 0; resample < Resamples; resample++)
        {
            var random = new Philox(seed, (ulong)resample);
            for (int i = 0; i < count; i++)
                units[i] = random.Next(count);
            found[resample] = statistic(units);
        }
        double[] ordered = [.. found.Where(value => !double.IsNaN(value)).Order()];
        return ordered.Length == 0
            ? new Interval(estimate, double.NaN, double.NaN, count)
            : new Interval(estimate, Quantile(ordered, (1 - Confidence) / 2), Quantile(ordered, (1 + Confidence) / 2), count);
    }

    private static double Quantile(double[] ordered, double probability)
    {
        double place = probability * (ordered.Length - 1);
        int below = (int)place, above = Math.Min(below + 1, ordered.Length - 1);
        return ordered[below] + (place - below) * (ordered[above] - ordered[below]);
    }

    private static string Show(double value) => Math.Abs(value) >= 1000 ? value.ToString("0") : value.ToString("0.###");
}
