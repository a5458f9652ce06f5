namespace ScratchMamba.Training;

/// <summary>
/// The gradient noise scale <c>tr(Σ) / |G|²</c>, in rows: up to about so many rows a batch, twice the rows save half the steps.
/// From the gradients g of batches of b rows and their mean ḡ over B rows: <c>|G|² ≈ (B|ḡ|² − b⟨|g|²⟩) / (B − b)</c> and <c>tr(Σ) ≈ (⟨|g|²⟩ − |ḡ|²) / (1/b − 1/B)</c>,
/// both averaged over about a hundred measurements before they are divided.
/// Source: McCandlish et al., "An Empirical Model of Large-Batch Training" (2018), appendix A.
/// </summary>
public sealed class GradientNoise
{
    private const double Renewal = 0.01;

    private double signal, noise, weight;

    /// <summary>The noise scale in rows; null before the first measurement, and as long as noise hides the gradient altogether.</summary>
    public double? Scale => signal > 0 && noise > 0 ? noise / signal : null;

    /// <summary>All that is remembered, to go on from.</summary>
    internal double[] Memory
    {
        get => [signal, noise, weight];
        set => (signal, noise, weight) = (value[0], value[1], value[2]);
    }

    /// <summary>Takes note of one update.</summary>
    /// <param name="smallRows">b, the rows of a part.</param>
    /// <param name="smallSquare">⟨|g|²⟩, the mean square of the parts' gradients.</param>
    /// <param name="largeRows">B, the rows of all parts together.</param>
    /// <param name="largeSquare">|ḡ|², the square of the mean gradient.</param>
    public void Add(double smallRows, double smallSquare, double largeRows, double largeSquare)
    {
        double newSignal = (largeRows * largeSquare - smallRows * smallSquare) / (largeRows - smallRows);
        double newNoise = (smallSquare - largeSquare) / (1 / smallRows - 1 / largeRows);
        // The first hundred count alike.
        weight = Renewal + (1 - Renewal) * weight;
        signal += Renewal / weight * (newSignal - signal);
        noise += Renewal / weight * (newNoise - noise);
    }
}
