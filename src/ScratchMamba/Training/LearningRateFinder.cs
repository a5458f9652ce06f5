using ScratchMamba.Tensors;

namespace ScratchMamba.Training;

/// <summary>
/// Looks for a learning rate: a short training whose rate rises by the same factor at each step, until the loss does. A tenth of the rate at which the smoothed loss was least is suggested.
/// Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017).
/// </summary>
public sealed class LearningRateFinder
{
    private const double Divergence = 1.5, Margin = 10;
    private const int Reach = 4;

    private readonly List<(double Rate, double Loss)> points = [];

    /// <summary>The rates, each with the loss before its update, and with the mean of that loss and those of four steps before and after.</summary>
    public IReadOnlyList<(double Rate, double Loss, double Smooth)> Points => [.. points.Select((point, i) => (point.Rate, point.Loss, Mean(i - Reach, i + Reach)))];

    /// <summary>The suggested rate; null where the loss never fell.</summary>
    public double? Suggestion
    {
        get
        {
            IReadOnlyList<(double Rate, double Loss, double Smooth)> all = Points;
            if (all.Count == 0)
                return null;
            (double rate, _, double least) = all.MinBy(point => point.Smooth);
            return least < all[0].Smooth ? rate / Margin : null;
        }
    }

    /// <summary>Takes note of a step.</summary>
    /// <returns>Whether larger rates are worth trying.</returns>
    public bool Add(double rate, double loss)
    {
        if (!double.IsFinite(loss))
            return false;
        points.Add((rate, loss));
        return Mean(points.Count - Reach, points.Count - 1) <= Divergence * Mean(0, Reach);
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

    private double Mean(int first, int last) => points.Skip(first).Take(last + 1 - Math.Max(0, first)).Average(point => point.Loss);
}
