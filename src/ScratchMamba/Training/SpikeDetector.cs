namespace ScratchMamba.Training;

/// <summary>
/// Calls a loss a spike that lies more than <c>factor · σ</c> above the mean of the last 100, with σ their deviation but at least a hundredth of the mean. Of the first 20 losses none is one,
/// and spikes themselves are not counted.
/// </summary>
/// <param name="factor">How many deviations.</param>
public sealed class SpikeDetector(double factor) : ITrainingPart
{
    private const int Window = 100, Fewest = 20;

    private readonly Queue<double> losses = new();

    /// <inheritdoc/>
    string ITrainingPart.Name => "spikes";

    /// <summary>Whether this loss, after all that were shown before, is a spike.</summary>
    public bool IsSpike(double loss)
    {
        if (losses.Count >= Fewest)
        {
            double mean = losses.Average(), deviation = Math.Sqrt(losses.Average(value => (value - mean) * (value - mean)));
            if (loss > mean + factor * Math.Max(deviation, Math.Abs(mean) / 100))
                return true;
        }
        losses.Enqueue(loss);
        if (losses.Count > Window)
            losses.Dequeue();
        return false;
    }

    /// <inheritdoc/>
    void ITrainingPart.Save(StateWriter state) => state.Add("losses", [.. losses]);

    /// <inheritdoc/>
    void ITrainingPart.Restore(StateReader state)
    {
        losses.Clear();
        foreach (double loss in state.Doubles("losses"))
            losses.Enqueue(loss);
    }
}
