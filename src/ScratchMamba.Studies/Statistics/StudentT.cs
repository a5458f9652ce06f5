namespace ScratchMamba.Studies.Statistics;

/// <summary>Student's t distribution.</summary>
public static class StudentT
{
    /// <summary>P(T ≤ t) for T with ν degrees of freedom: <c>1 − ½ I_x(ν/2, ½)</c> with <c>x = ν / (ν + t²)</c>, for t ≥ 0.</summary>
    public static double Cumulative(double t, double freedom)
    {
        double tail = RegularizedBeta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2;
        return t < 0 ? tail : 1 - tail;
    }

    /// <summary>The t that a variable with ν degrees of freedom stays below with probability <paramref name="probability"/>.</summary>
    public static double Quantile(double probability, double freedom)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(freedom);
        if (probability is not (> 0 and < 1))
            throw new ArgumentOutOfRangeException(nameof(probability), probability, "A probability is between 0 and 1.");
        if (probability < 0.5)
            return -Quantile(1 - probability, freedom);
        double low = 0, high = 1;
        while (Cumulative(high, freedom) < probability)
            high *= 2;
        // Bisection to the last bit: a quantile is asked for a few times in a study.
        for (int i = 0; i < 200 && low < high; i++)
        {
            double middle = (low + high) / 2;
            if (Cumulative(middle, freedom) < probability)
                low = middle;
            else
                high = middle;
        }
        return high;
    }

    /// <summary>I_x(a, b), by the continued fraction in the form of Lentz. Source: DLMF 8.17.22.</summary>
    private static double RegularizedBeta(double x, double a, double b)
    {
        if (x <= 0)
            return 0;
        if (x >= 1)
            return 1;
        // The fraction converges fast on this side of the mean only.
        if (x > (a + 1) / (a + b + 2))
            return 1 - RegularizedBeta(1 - x, b, a);
        const double Tiny = 1e-300;
        double c = 1, d = 1 / NotZero(1 - (a + b) * x / (a + 1)), value = d;
        for (int m = 1; m < 500; m++)
        {
            double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
            double before = value;
            foreach (double term in (ReadOnlySpan<double>)[even, odd])
            {
                d = 1 / NotZero(1 + term * d);
                c = NotZero(1 + term / c);
                value *= c * d;
            }
            if (Math.Abs(value - before) <= 1e-16 * Math.Abs(value))
                break;
        }
        return Math.Exp(LogGamma(a + b) - LogGamma(a) - LogGamma(b) + a * Math.Log(x) + b * Math.Log(1 - x)) * value / a;

        static double NotZero(double value) => Math.Abs(value) < Tiny ? Tiny : value;
    }

    /// <summary>log Γ(x) for x > 0: Stirling's series, after the recurrence has made x large enough for it.</summary>
    private static double LogGamma(double x)
    {
        double shift = 0;
        for (; x < 12; x++)
            shift += Math.Log(x);
        double inverse = 1 / (x * x);
        double series = (1.0 / 12 - inverse * (1.0 / 360 - inverse * (1.0 / 1260 - inverse * (1.0 / 1680 - inverse / 1188)))) / x;
        return (x - 0.5) * Math.Log(x) - x + Math.Log(2 * Math.PI) / 2 + series - shift;
    }
}
