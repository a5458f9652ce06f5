namespace ScratchMamba.Training;

/// <summary>What happened in one step.</summary>
/// <param name="Step">Its number, from 1.</param>
/// <param name="Loss">The mean loss before the update, in nats per token.</param>
/// <param name="GradientNorm">The norm of all gradients together, before clipping.</param>
/// <param name="LearningRate">The learning rate.</param>
/// <param name="Penalty">The forgetting penalty, which the loss does not contain.</param>
public readonly record struct StepReport(long Step, double Loss, double GradientNorm, double LearningRate, double Penalty = 0)
{
    /// <summary>How many tokens were read.</summary>
    public long Tokens { get; init; }

    /// <summary>How long the step took, waiting included.</summary>
    public double Seconds { get; init; }

    /// <summary>How much of that time the step waited for its batches.</summary>
    public double Waited { get; init; }

    /// <summary>The gradient noise scale, in rows (see <see cref="GradientNoise"/>); null where it was not measured.</summary>
    public double? NoiseScale { get; init; }

    /// <summary>The factor that the gradients were made with (see <see cref="Training.LossScale"/>); null where they were not scaled.</summary>
    public double? LossScale { get; init; }

    /// <summary>Why no parameter was changed: the loss or a gradient was not finite. Null for a step like any other.</summary>
    public string? Skipped { get; init; }
}
