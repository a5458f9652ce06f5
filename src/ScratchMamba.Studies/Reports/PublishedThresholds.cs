namespace ScratchMamba.Studies.Reports;

/// <summary>The paper's thresholds of forgetting and of recall, read off its figures 9 and 11 at ± 5 %.</summary>
internal static class PublishedThresholds
{
    private static (double State, double Forget, double Recall)[] All { get; } = [(1.1e6, 1 << 10, 1 << 10), (1.6e6, 2 << 10, 2 << 10), (2.4e6, 8 << 10, 4 << 10), (4.8e6, 16 << 10, 16 << 10), (12.9e6, 64 << 10, 256 << 10)];

    /// <summary>Ours beside them, over the same axes, both logarithmic.</summary>
    /// <param name="ours">Each kind of threshold: numbers of state, and tokens.</param>
    /// <param name="origin">How ours came about.</param>
    public static Figure Beside(IReadOnlyList<(string Name, IEnumerable<(double State, double Tokens)> Points)> ours, Origin origin)
    {
        var table = new Table("capacity-paper", "series", "state_size", "tokens");
        var series = new List<Series>();
        Add("T_forget, the paper", All.Select(point => (point.State, point.Forget)));
        Add("T_recall, the paper", All.Select(point => (point.State, point.Recall)));
        foreach ((string name, IEnumerable<(double, double)> points) in ours)
            Add(name, points);
        return new Figure(
            "Beside the paper's thresholds", "The paper's models, whose thresholds are read off its figures at ± 5 %, read text and have states of one to thirteen million numbers; ours read streaming recall. A dot of ours for each seed.",
            new XyChart { Description = "Thresholds beside the published ones", X = new Axis("numbers in the recurrent state, all layers", Scale.Log10), Y = new Axis("tokens", Scale.Log10), Series = series },
            table, origin);

        void Add(string name, IEnumerable<(double State, double Tokens)> points)
        {
            Datum[] all = [.. points.Where(point => point.Tokens > 0).Select(point => new Datum(point.State, point.Tokens))];
            foreach (Datum point in all)
                table.Add(name, point.X, point.Y);
            if (all.Length > 0)
                series.Add(new Series(name, all, Mark.Dots));
        }
    }
}
