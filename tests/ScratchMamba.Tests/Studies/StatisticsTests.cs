using ScratchMamba.Studies.Statistics;
using ScratchMamba.Tensors;

namespace ScratchMamba.Tests.Studies;

/// <summary>Intervals and fits against known answers.</summary>
public class StatisticsTests
{
    // Tables of Student's distribution.
    [Theory, InlineData(0.975, 1, 12.7062047), InlineData(0.975, 2, 4.30265273), InlineData(0.975, 10, 2.22813885), InlineData(0.95, 30, 1.69726089), InlineData(0.975, 1e6, 1.95996636), InlineData(0.025, 5, -2.57058184)]
    public void QuantilesAreThoseOfTheTables(double probability, double freedom, double quantile)
    {
        Assert.Equal(quantile, StudentT.Quantile(probability, freedom), 1e-6);
        Assert.Equal(probability, StudentT.Cumulative(quantile, freedom), 1e-8);
    }

    [Fact]
    public void TheIntervalOfAMeanIsStudents()
    {
        Interval interval = Interval.Mean([1, 2, 3, 4, 5, double.NaN]);
        Assert.Equal((3, 5), (interval.Estimate, interval.Count));
        // s = √2.5, t = 2.776445.
        Assert.Equal(2.776445 * Math.Sqrt(2.5 / 5), interval.High - 3, 1e-5);
        Assert.Equal(interval.High - 3, 3 - interval.Low, 1e-12);
        Assert.True(double.IsNaN(Interval.Mean([1.0]).Low));
    }

    [Fact]
    public void RatiosSpreadAsLogarithmsDo()
    {
        Interval interval = Interval.GeometricMean([1, 2, 4]);
        Assert.Equal(2, interval.Estimate, 1e-12);
        Assert.Equal(4, interval.Low * interval.High, 1e-9);
        Assert.True(interval.Low > 0);
    }

    [Fact]
    public void SharesAreHonestAtTheEnds()
    {
        Assert.Equal((0, 0.2775), (Interval.Share(0, 10).Low, Math.Round(Interval.Share(0, 10).High, 4)));
        Interval half = Interval.Share(50, 100);
        Assert.Equal((0.4038, 0.5962), (Math.Round(half.Low, 4), Math.Round(half.High, 4)));
    }

    [Fact]
    public void IntervalsCoverTheTruthAsOftenAsTheySay()
    {
        int means = 0, bootstraps = 0;
        const int Trials = 200;
        for (int trial = 0; trial < Trials; trial++)
        {
            var random = new Philox(1, (ulong)trial);
            double[] values = [.. Enumerable.Range(0, 30).Select(_ => 5 + random.NextNormal())];
            Interval mean = Interval.Mean(values), bootstrap = Interval.Bootstrap(values.Length, units => units.Average(i => values[i]), (ulong)trial);
            means += mean.Low <= 5 && 5 <= mean.High ? 1 : 0;
            bootstraps += bootstrap.Low <= 5 && 5 <= bootstrap.High ? 1 : 0;
        }
        // 95 % of 200, ±4 standard errors; the bootstrap's are a little narrow.
        Assert.InRange(means, 178, 200);
        Assert.InRange(bootstraps, 174, 200);
    }

    [Fact]
    public void TheBootstrapIsAFunctionOfItsSeed() =>
        Assert.Equal(Interval.Bootstrap(9, units => units.Sum(), 3), Interval.Bootstrap(9, units => units.Sum(), 3));

    [Fact]
    public void ThePublishedThresholdsFitAsTheSpecificationSays()
    {
        (double, double)[] points = [(0, 0), (1.1, 1), (1.6, 2), (2.4, 8), (4.8, 16), (12.9, 64)];
        Fit with = Fits.Line(points), without = Fits.Line(points[1..]);
        Assert.Equal(5.16, with.Parameters[0].Estimate, 0.01);
        Assert.Equal(0.985, with.RSquared, 5e-4);
        Assert.Equal(0.994, without.RSquared, 5e-4);
        Assert.Equal(5.38, without.Parameters[0].Estimate, 5e-3);
        Fit recall = Fits.Exponential([(0, 0), (1.1, 1), (1.6, 2), (2.4, 4), (4.8, 16), (12.9, 256)]);
        Assert.Equal(1.3637, recall.Parameters[1].Estimate, 1e-3);
        Assert.Equal(0.9999, recall.RSquared, 1e-4);
    }

    [Fact]
    public void AFitFindsTheCurveThatPointsLieOn()
    {
        (double, double)[] line = [.. Enumerable.Range(0, 5).Select(i => ((double)i, 3 - 2.0 * i))];
        Fit straight = Fits.Line(line);
        Assert.Equal(-2, straight.Parameters[0].Estimate, 1e-12);
        Assert.Equal(0, straight.Parameters[0].High - straight.Parameters[0].Low, 1e-6);
        Assert.Equal(1, straight.RSquared, 1e-12);
        (double, double)[] curve = [.. Enumerable.Range(0, 6).Select(i => ((double)i, 2 * (Math.Pow(1.7, i) - 1) + 0.5))];
        Fit bent = Fits.Exponential(curve);
        Assert.Equal(1.7, bent.Parameters[1].Estimate, 1e-5);
        Assert.Equal(bent.At(2.5), 2 * (Math.Pow(1.7, 2.5) - 1) + 0.5, 1e-4);
        Assert.Throws<ArgumentException>(() => Fits.Line([(1, 2), (1, 3)]));
    }

    [Fact]
    public void AnIntervalOfASlopeIsThatOfRegression()
    {
        // y = 2x + 1 with residuals ±0.1: s² = 0.05/3, Sxx = 10, t₃ = 3.182446.
        Fit fit = Fits.Line([(1, 3.1), (2, 4.9), (3, 7.1), (4, 8.9), (5, 11.1)]);
        double residual = 0;
        foreach ((double x, double y) in new[] { (1, 3.1), (2, 4.9), (3, 7.1), (4, 8.9), (5, 11.1) })
            residual += Math.Pow(y - fit.At(x), 2);
        Assert.Equal(3.182446 * Math.Sqrt(residual / 3 / 10), fit.Parameters[0].High - fit.Parameters[0].Estimate, 1e-5);
    }
}
