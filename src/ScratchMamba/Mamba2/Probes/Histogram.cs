namespace ScratchMamba.Mamba2.Probes;

/// <summary>How many values fall into each of equally wide bins.</summary>
/// <param name="Low">The lower end of the first bin.</param>
/// <param name="High">The upper end of the last bin, which belongs to it.</param>
/// <param name="Counts">The number of values in each bin.</param>
public sealed record Histogram(double Low, double High, IReadOnlyList<long> Counts)
{
    /// <summary>The histogram of values; those outside the range are not counted.</summary>
    public static Histogram Of(ReadOnlySpan<double> values, double low, double high, int bins = 40)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bins, 1);
        var counts = new long[bins];
        foreach (double value in values)
        {
            if (value >= low && value <= high)
                counts[high == low ? 0 : Math.Min((int)((value - low) / (high - low) * bins), bins - 1)]++;
        }
        return new Histogram(low, high, counts);
    }

    /// <summary>
    /// The channels of a state [P, N] that stand out: rows p and columns n whose mean square exceeds the median of all rows' or columns' <paramref name="factor"/> times,
    /// the largest first, with that ratio.
    /// </summary>
    public static IReadOnlyList<(bool IsRow, int Index, double Ratio)> Outliers(ReadOnlySpan<double> state, int columns, double factor = 10)
    {
        double[] byRow = new double[state.Length / columns], byColumn = new double[columns];
        for (int i = 0; i < state.Length; i++)
        {
            byRow[i / columns] += state[i] * state[i];
            byColumn[i % columns] += state[i] * state[i];
        }
        return [.. Above(byRow, true).Concat(Above(byColumn, false)).OrderByDescending(channel => channel.Ratio)];

        IEnumerable<(bool, int, double Ratio)> Above(double[] squares, bool isRow)
        {
            double median = StateStatistics.MedianOf(squares);
            return squares.Select((square, index) => (isRow, index, square / median)).Where(channel => channel.Item3 > factor);
        }
    }
}
