using ScratchMamba.Tensors;

namespace ScratchMamba.Training;

/// <summary>
/// Looks for a learning rate: a short training whose rate rises by the same factor at each step, until the loss does. A tenth of the rate at which the smoothed loss was least is suggested.
/// Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017).
/// </summary>
public sealed class LearningRateFinder
{
    private const double Smoothing = 0.9, Divergence = 1.5, Margin = 10;

    private readonly List<(double Rate, double Loss, double Smooth)> points = [];
    private double average, weight, first;

    /// <summary>The rates, each with the loss before its update and that loss smoothed.</summary>
    public IReadOnlyList<(double Rate, double Loss, double Smooth)> Points => points;

    /// <summary>The suggested rate; null where the loss never fell.</summary>
    public double? Suggestion
    {
        get
        {
            if (points.Count == 0)
                return null;
            (double rate, _, double least) = points.MinBy(point => point.Smooth);
            // The loss of a step is from before its update: what made it least was the rate of the step before, which is as good.
            return least < first ? rate / Margin : null;
        }
    }

    /// <summary>Takes note of a step.</summary>
    /// <returns>Whether larger rates are worth trying.</returns>
    public bool Add(double rate, double loss)
    {
        if (!double.IsFinite(loss))
            return false;
        average = Smoothing * average + (1 - Smoothing) * loss;
        weight = Smoothing * weight + 1 - Smoothing;
        double smooth = average / weight;
        if (points.Count == 0)
            first = smooth;
        points.Add((rate, loss, smooth));
        return smooth <= Divergence * Math.Max(first, points.Min(point => point.Smooth));
    }

    /// <summary>Trains until the loss rises or the steps are made; the model is not worth keeping afterwards.</summary>
    /// <param name="trainer">With a schedule that is <see cref="LearningRateDecay.Range"/>.</param>
    /// <param name="steps">How many steps its schedule has.</param>
    /// <param name="cancellation">Ends it.</param>
    public void Run(Trainer trainer, long steps, CancellationToken cancellation)
    {
        while (trainer.StepsDone < steps)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                StepReport step = trainer.Step();
                if (!Add(step.LearningRate, step.Loss))
                    return;
            }
            catch (NumericalException)
            {
                return;
            }
        }
    }
}
