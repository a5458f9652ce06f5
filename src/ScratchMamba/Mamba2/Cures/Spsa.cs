using ScratchMamba.Tensors;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>How <see cref="Spsa"/> searches; the defaults are those that MambaExtend publishes, but for the least and the largest value.</summary>
public sealed record SpsaSettings
{
    /// <summary>How many steps; each measures twice.</summary>
    public int Steps { get; init; } = 50;

    /// <summary>c: step k, from 0, measures at a distance of c / (1 + k)^0.1 in every coordinate.</summary>
    public double Distance { get; init; } = 0.1;

    /// <summary>η: step k moves by η cos(πk / 4K) times the estimated gradient, where K is the number of steps.</summary>
    public double LearningRate { get; init; } = 0.001;

    /// <summary>The least value of a coordinate.</summary>
    public double Least { get; init; } = 0.01;

    /// <summary>The largest value of a coordinate.</summary>
    public double Largest { get; init; } = double.PositiveInfinity;

    /// <summary>The seed of the directions.</summary>
    public ulong Seed { get; init; }
}

/// <summary>
/// Simultaneous perturbation: minimises a function that can only be measured, whatever the number of its arguments, by two measurements a step,
/// <c>g = (f(s + cδ) − f(s − cδ)) / 2c · δ</c> with random signs δ. Source: Spall (1992).
/// </summary>
public static class Spsa
{
    /// <summary>The best point that was measured, and its value.</summary>
    /// <param name="function">Measures a point.</param>
    /// <param name="start">Where to begin; it is measured too.</param>
    /// <param name="settings">The search.</param>
    public static (double[] Point, double Value) Minimize(Func<double[], double> function, ReadOnlySpan<double> start, SpsaSettings settings)
    {
        double[] at = start.ToArray(), best = at;
        double least = function(at);
        var random = new Philox(settings.Seed);
        for (int step = 0; step < settings.Steps; step++)
        {
            double distance = settings.Distance / Math.Pow(1 + step, 0.1);
            double rate = settings.LearningRate * Math.Cos(Math.PI * step / (4.0 * settings.Steps));
            double[] signs = Array.ConvertAll(at, _ => random.NextUInt32() >> 31 == 0 ? 1.0 : -1);
            double ahead = Measured(Moved(at, signs, distance)), behind = Measured(Moved(at, signs, -distance));
            at = Moved(at, signs, -rate * (ahead - behind) / (2 * distance));
        }
        Measured(at);
        return (best, least);

        double Measured(double[] point)
        {
            double value = function(point);
            if (value < least)
                (best, least) = (point, value);
            return value;
        }

        double[] Moved(double[] from, double[] direction, double by) =>
            [.. from.Zip(direction, (x, d) => Math.Clamp(x + by * d, settings.Least, settings.Largest))];
    }
}
