namespace ScratchMamba.Studies.Statistics;

/// <summary>A curve through points, <c>y ≈ f(x)</c>.</summary>
/// <param name="Formula">The curve in words, with its constants.</param>
/// <param name="RSquared"><c>R² = 1 − Σ(y − f)² / Σ(y − ȳ)²</c> over the points given, and no others.</param>
/// <param name="Parameters">The constants, each with its interval by <c>± t · √(s² (JᵀJ)⁻¹)</c>, s² having as many degrees of freedom as there are points beyond constants.</param>
/// <param name="At">The curve.</param>
public sealed record Fit(string Formula, double RSquared, IReadOnlyList<Interval> Parameters, Func<double, double> At);

/// <summary>Least squares.</summary>
public static class Fits
{
    /// <summary><c>y = p₀ x + p₁</c>.</summary>
    /// <exception cref="ArgumentException">There are fewer than two different x.</exception>
    public static Fit Line(IReadOnlyList<(double X, double Y)> points)
    {
        Require(points, 2);
        (double slope, double intercept) = Regress(points, x => x);
        return Finish(
            points, [slope, intercept], x => slope * x + intercept, x => [x, 1],
            $"y = {slope:0.####} x {(intercept < 0 ? '−' : '+')} {Math.Abs(intercept):0.####}");
    }

    /// <summary><c>y = p₀ (p₁ˣ − 1) + p₂</c> with p₁ between 1.0001 and 10⁶ᐟˢ, s the span of the x: the base by search, the others by regression.</summary>
    /// <exception cref="ArgumentException">There are fewer than three different x.</exception>
    public static Fit Exponential(IReadOnlyList<(double X, double Y)> points)
    {
        Require(points, 3);
        double span = points.Max(point => point.X) - points.Min(point => point.X);
        double low = Math.Log(1e-4), high = Math.Log(Math.Log(1e6) / span);
        double Residual(double logRate)
        {
            double rate = Math.Exp(logRate);
            (double scale, double offset) = Regress(points, x => Math.Exp(rate * x) - 1);
            return points.Sum(point => Square(point.Y - scale * (Math.Exp(rate * point.X) - 1) - offset));
        }
        // A grid first: the residual may have several valleys; then a ternary search in the best one.
        const int Grid = 200;
        double best = Enumerable.Range(0, Grid + 1).Select(i => low + (high - low) * i / Grid).MinBy(Residual);
        double left = Math.Max(low, best - (high - low) / Grid), right = Math.Min(high, best + (high - low) / Grid);
        for (int i = 0; i < 200; i++)
        {
            double a = left + (right - left) / 3, b = right - (right - left) / 3;
            (left, right) = Residual(a) < Residual(b) ? (left, b) : (a, right);
        }
        double rate = Math.Exp((left + right) / 2), power = Math.Exp(rate);
        (double scale, double offset) = Regress(points, x => Math.Exp(rate * x) - 1);
        return Finish(
            points, [scale, power, offset], x => scale * (Math.Pow(power, x) - 1) + offset,
            x => [Math.Pow(power, x) - 1, scale * x * Math.Pow(power, x - 1), 1],
            $"y = {scale:0.####} ({power:0.####}ˣ − 1) {(offset < 0 ? '−' : '+')} {Math.Abs(offset):0.####}");
    }

    private static void Require(IReadOnlyList<(double X, double Y)> points, int least)
    {
        if (points.Select(point => point.X).Distinct().Count() < least)
            throw new ArgumentException($"The curve needs points at {least} different places at least.", nameof(points));
    }

    private static (double Slope, double Intercept) Regress(IReadOnlyList<(double X, double Y)> points, Func<double, double> feature)
    {
        double meanX = points.Average(point => feature(point.X)), meanY = points.Average(point => point.Y);
        double slope = points.Sum(point => (feature(point.X) - meanX) * (point.Y - meanY)) / points.Sum(point => Square(feature(point.X) - meanX));
        return (slope, meanY - slope * meanX);
    }

    private static Fit Finish(IReadOnlyList<(double X, double Y)> points, double[] parameters, Func<double, double> curve, Func<double, double[]> derivative, string formula)
    {
        double mean = points.Average(point => point.Y);
        double residual = points.Sum(point => Square(point.Y - curve(point.X))), total = points.Sum(point => Square(point.Y - mean));
        int count = parameters.Length, freedom = points.Count - count;
        var normal = new double[count, count];
        foreach ((double x, _) in points)
        {
            double[] row = derivative(x);
            for (int i = 0; i < count; i++)
            {
                for (int j = 0; j < count; j++)
                    normal[i, j] += row[i] * row[j];
            }
        }
        double[] variance = freedom > 0 ? DiagonalOfInverse(normal, count) : [];
        double t = freedom > 0 ? StudentT.Quantile(0.975, freedom) : double.NaN;
        var intervals = new Interval[count];
        for (int i = 0; i < count; i++)
        {
            double half = freedom > 0 ? t * Math.Sqrt(residual / freedom * Math.Max(0, variance[i])) : double.NaN;
            intervals[i] = new Interval(parameters[i], parameters[i] - half, parameters[i] + half, points.Count);
        }
        return new Fit(formula, total > 0 ? 1 - residual / total : double.NaN, intervals, curve);
    }

    /// <summary>By Gauss and Jordan; two or three unknowns.</summary>
    private static double[] DiagonalOfInverse(double[,] matrix, int n)
    {
        var wide = new double[n, 2 * n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
                wide[i, j] = matrix[i, j];
            wide[i, n + i] = 1;
        }
        for (int column = 0; column < n; column++)
        {
            int pivot = Enumerable.Range(column, n - column).MaxBy(row => Math.Abs(wide[row, column]));
            for (int j = 0; j < 2 * n; j++)
                (wide[column, j], wide[pivot, j]) = (wide[pivot, j], wide[column, j]);
            double scale = 1 / wide[column, column];
            for (int j = 0; j < 2 * n; j++)
                wide[column, j] *= scale;
            for (int row = 0; row < n; row++)
            {
                double factor = wide[row, column];
                if (row == column)
                    continue;
                for (int j = 0; j < 2 * n; j++)
                    wide[row, j] -= factor * wide[column, j];
            }
        }
        return [.. Enumerable.Range(0, n).Select(i => wide[i, n + i])];
    }

    private static double Square(double x) => x * x;
}
