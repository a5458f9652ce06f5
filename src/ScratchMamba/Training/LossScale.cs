namespace ScratchMamba.Training;

/// <summary>
/// The factor S that gradients are made with, a power of two, so that small ones do not vanish in float16: halved when one of them is too large to be held, which leaves that step out, and doubled
/// after <see cref="Patience"/> steps without. Source: Micikevicius et al., "Mixed Precision Training" (2018).
/// </summary>
public sealed class LossScale : ITrainingPart
{
    /// <summary>The most that S grows to: gradients that fill float16 lose nothing below any more.</summary>
    public const double Most = 1 << 24;

    /// <summary>After how many steps in a row with finite gradients S is doubled.</summary>
    public int Patience { get; init; } = 2000;

    /// <summary>S.</summary>
    public double Value { get; private set; } = 1 << 16;

    private int good;

    /// <inheritdoc/>
    string ITrainingPart.Name => "loss_scale";

    /// <summary>The gradients of a step were finite.</summary>
    internal void Succeed()
    {
        if (++good < Patience)
            return;
        good = 0;
        Value = Math.Min(2 * Value, Most);
    }

    /// <summary>A gradient was not finite. Whether a smaller S may help: 1 is the least.</summary>
    internal bool Shrink()
    {
        good = 0;
        if (Value <= 1)
            return false;
        Value /= 2;
        return true;
    }

    /// <inheritdoc/>
    void ITrainingPart.Save(StateWriter state)
    {
        state.Values["scale"] = Value;
        state.Values["good_steps"] = good;
    }

    /// <inheritdoc/>
    void ITrainingPart.Restore(StateReader state)
    {
        Value = state.Value<double>("scale");
        good = state.Value<int>("good_steps");
    }
}
