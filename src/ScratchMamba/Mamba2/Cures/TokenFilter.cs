namespace ScratchMamba.Mamba2.Cures;

/// <summary>
/// Tokens pass a head by, as if they were not there, where <c>Δₜ ≤ g</c>: the state is neither decayed nor written to. Only heads with a long memory filter, and g is so chosen
/// that over a text of the target length they decay as much as over one of the training length. The first T tokens, as many as the model was trained on, all pass: texts that it can read it reads as before.
/// Source: Ye et al., "LongMamba" (ICLR 2025), arXiv 2504.16053.
/// </summary>
/// <param name="TargetLength">The length of the texts to be read.</param>
/// <param name="GlobalRetention">A head has a long memory if it retains more than this of its first token over the training length.</param>
public sealed record TokenFilter(int TargetLength, double GlobalRetention = TokenFilter.DefaultGlobalRetention)
{
    /// <summary>What was found good for a model with 1.3 billion parameters.</summary>
    public const double DefaultGlobalRetention = 0.05;

    /// <summary>g of every layer's every head, 0 for those that do not filter; see <see cref="Calibration.FilterThresholds"/>.</summary>
    public IReadOnlyList<IReadOnlyList<double>>? Thresholds { get; init; }

    /// <summary>T: how many tokens are read as without the filter; the length of the text that the thresholds were measured on.</summary>
    public int TrainingLength { get; init; }

    internal void Validate(Mamba2Config config)
    {
        Cure.Require(TargetLength > 0, $"the target length of the filter is a number of tokens; it is {TargetLength}");
        Cure.Require(GlobalRetention is >= 0 and < 1, $"the filter's limit of retention must be at least 0 and below 1; it is {GlobalRetention}");
        Cure.Require(
            Thresholds!.Count == config.Layers && Thresholds.All(heads => heads.Count == config.Heads),
            $"the filter needs a threshold for each of the {config.Heads} heads of {config.Layers} layers");
    }
}
