using ScratchMamba.Studies.Measures;
using ScratchMamba.Studies.Statistics;

namespace ScratchMamba.Studies.Reports;

/// <summary>What studies show of answers to prompts that hide something.</summary>
internal static class PasskeyFigures
{
    /// <summary>From which share on something counts as recalled.</summary>
    public const double Recalled = 0.95;

    private const int DepthBins = 10;

    /// <summary>The mean share over several models, or that of one with Wilson's interval over prompts.</summary>
    public static Interval Accuracy(IReadOnlyList<PasskeyTable> tables, Func<PasskeyTable, (int Right, int Count)> count) => tables.Count > 1
        ? Interval.Mean(tables.Select(table => Share(count(table)))).Within(0, 1)
        : Interval.Share(count(tables[0]).Right, count(tables[0]).Count);

    /// <summary>The share of each of several models with Wilson's interval over prompts.</summary>
    public static Interval[] Each(IReadOnlyList<PasskeyTable> tables, Func<PasskeyTable, (int Right, int Count)> count) =>
        tables.Count > 1 ? [.. tables.Select(table => Interval.Share(count(table).Right, count(table).Count))] : [];

    /// <summary>The share that was right.</summary>
    public static double Share((int Right, int Count) count) => count.Count == 0 ? double.NaN : count.Right / (double)count.Count;

    /// <summary>The table of shares by length and depth.</summary>
    /// <param name="name">The name of the table of numbers.</param>
    /// <param name="title">The figure's title.</param>
    /// <param name="tables">Each model's answers.</param>
    /// <param name="lengths">The lengths.</param>
    /// <param name="trained">The length of training.</param>
    /// <param name="origin">How it came about.</param>
    public static Figure Map(string name, string title, IReadOnlyList<PasskeyTable> tables, IReadOnlyList<int> lengths, int trained, Origin origin)
    {
        var table = new Table(name, "length", "depth_from", "depth_to", "right", "count", "accuracy", "low", "high");
        var shares = new double[DepthBins, lengths.Count];
        for (int column = 0; column < lengths.Count; column++)
        {
            for (int row = 0; row < DepthBins; row++)
            {
                double low = row / (double)DepthBins, high = (row + 1) / (double)DepthBins;
                (int Right, int Count)[] counts = [.. tables.Select(found => found.Count(lengths[column], low, high))];
                Interval share = Interval.Share(counts.Sum(count => count.Right), counts.Sum(count => count.Count));
                shares[row, column] = share.Estimate;
                table.Add(lengths[column], low, high, counts.Sum(count => count.Right), counts.Sum(count => count.Count), share.Estimate, share.Low, share.High);
            }
        }
        int inside = lengths.Last(length => length <= Math.Max(trained, lengths[0]));
        Interval near = Accuracy(tables, found => found.Count(inside)), far = Accuracy(tables, found => found.Count(lengths[^1]));
        return new Figure(
            title, $"Over all depths {near} of the passkeys are recalled at {inside:#,0} tokens{(inside == lengths[^1] ? "" : $" and {far} at {lengths[^1]:#,0}")}.",
            new HeatMap
            {
                Description = "Passkey accuracy by length and depth", Rows = [.. Enumerable.Range(0, DepthBins).Select(row => $"{10 * row}–{10 * row + 10} %")], RowLabel = "depth",
                Columns = [.. lengths.Select(length => Axis.Length(length))], ColumnLabel = "length of the prompt, tokens", Shares = shares,
                LineAfter = lengths.Count(length => length <= trained) is var count && count < lengths.Count ? count : 0, LineLabel = "training length",
            },
            table, origin);
    }
}
