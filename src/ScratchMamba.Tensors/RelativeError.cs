namespace ScratchMamba.Tensors;

/// <summary>How far computed values are from expected ones.</summary>
public static class RelativeError
{
    /// <summary>‖actual − expected‖ / max(‖expected‖, <paramref name="floor"/>), Euclidean norms; infinite where one side has a NaN that the other has not.</summary>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static double Of(ReadOnlySpan<double> actual, ReadOnlySpan<double> expected, double floor = 1)
    {
        if (actual.Length != expected.Length)
            throw new ArgumentException($"{actual.Length} values cannot be compared with {expected.Length}.");
        double difference = 0, norm = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            // Infinities of one sign agree; their difference would be NaN.
            if (actual[i].Equals(expected[i]))
            {
                norm += double.IsFinite(expected[i]) ? expected[i] * expected[i] : 0;
                continue;
            }
            double d = actual[i] - expected[i];
            difference += d * d;
            norm += expected[i] * expected[i];
        }
        double error = difference == 0 ? 0 : Math.Sqrt(difference) / Math.Max(Math.Sqrt(norm), floor);
        return double.IsNaN(error) ? double.PositiveInfinity : error;
    }
}
