namespace ScratchMamba.Training;

/// <summary>How the learning rate goes on after its warm-up.</summary>
public enum LearningRateDecay
{
    /// <summary>It stays.</summary>
    Constant,

    /// <summary>Half a cosine, from the peak to a tenth of it at the last step.</summary>
    Cosine,

    /// <summary>A line from the peak to 0 at the end.</summary>
    Linear,

    /// <summary>Warm-up, stable, decay: it stays, and falls linearly to 0 over the last tenth of the steps.</summary>
    WarmupStableDecay,

    /// <summary>It rises to the peak, by the same factor at each step, from a ten-millionth of it: to find a rate (see <see cref="LearningRateFinder"/>).</summary>
    Range,
}

/// <summary>The learning rate as a function of the step: a linear warm-up, then <paramref name="Decay"/>.</summary>
/// <param name="Peak">The largest rate.</param>
/// <param name="Steps">The number of steps of the whole run.</param>
/// <param name="WarmUp">The number of steps of the warm-up; step k of it has the rate Peak · (k + 1) / WarmUp.</param>
/// <param name="Decay">What follows the warm-up.</param>
public sealed record LearningRateSchedule(double Peak, long Steps, long WarmUp, LearningRateDecay Decay)
{
    private const double CosineFloor = 0.1;
    private const double DecayShare = 0.1;
    private const double RangeStart = 1e-7;

    /// <summary>The rate of a step, counted from 0.</summary>
    public double this[long step]
    {
        get
        {
            if (step < WarmUp)
                return Peak * (step + 1) / WarmUp;
            switch (Decay)
            {
                case LearningRateDecay.Cosine:
                    double progress = Math.Min(1, (step - WarmUp) / (double)Math.Max(1, Steps - WarmUp));
                    return Peak * (CosineFloor + (1 - CosineFloor) * (1 + Math.Cos(Math.PI * progress)) / 2);
                case LearningRateDecay.Linear:
                    return Peak * Math.Max(0, Steps - step) / Math.Max(1, Steps - WarmUp);
                case LearningRateDecay.Range:
                    return Peak * Math.Pow(RangeStart, Math.Max(0, Steps - 1 - step) / (double)Math.Max(1, Steps - 1 - WarmUp));
                case LearningRateDecay.WarmupStableDecay:
                    double left = Math.Max(0, Steps - step) / Math.Max(1, DecayShare * Steps);
                    return Peak * Math.Min(1, left);
                default:
                    return Peak;
            }
        }
    }
}
