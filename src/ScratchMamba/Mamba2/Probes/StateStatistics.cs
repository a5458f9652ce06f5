namespace ScratchMamba.Mamba2.Probes;

/// <summary>What one head's state looks like, over its P · N numbers.</summary>
/// <param name="Mean">The mean.</param>
/// <param name="Variance">The variance without bias: Σ (h − mean)² / (PN − 1).</param>
/// <param name="RootMeanSquare">√(Σ h² / PN).</param>
/// <param name="Median">The median.</param>
/// <param name="Norm">The Frobenius norm √Σ h².</param>
/// <param name="EffectiveRank">e to the entropy of the singular values' shares of their sum, from 1 to min(P, N); NaN where it was not asked for, or the state is empty.</param>
public readonly record struct StateStatistics(double Mean, double Variance, double RootMeanSquare, double Median, double Norm, double EffectiveRank)
{
    /// <summary>The statistics of a state [P, N].</summary>
    /// <param name="state">P · N numbers.</param>
    /// <param name="columns">N.</param>
    /// <param name="rank">Whether to compute the effective rank, which takes far longer than the rest.</param>
    public static StateStatistics Of(ReadOnlySpan<double> state, int columns, bool rank = true)
    {
        double mean = 0, deviation = 0, norm = NormOf(state);
        foreach (double value in state)
            mean += value / state.Length;
        foreach (double value in state)
            deviation += (value - mean) * (value - mean);
        return new StateStatistics(
            mean, deviation / (state.Length - 1), norm / Math.Sqrt(state.Length), MedianOf(state.ToArray()), norm, rank ? Probes.EffectiveRank.Of(state, columns) : double.NaN);
    }

    /// <summary>The middle of values in order; the mean of the two middle ones where their number is even.</summary>
    internal static double MedianOf(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    internal static double NormOf(ReadOnlySpan<double> state)
    {
        double squares = 0;
        foreach (double value in state)
            squares += value * value;
        return Math.Sqrt(squares);
    }
}
