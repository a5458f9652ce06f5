namespace ScratchMamba.Mamba2;

/// <summary>How a model is adapted by training little beside it: see <see cref="Modules.LowRankAdapter"/>.</summary>
/// <param name="Rank">r, at least 1.</param>
/// <param name="Alpha">What the adapters are scaled with is α / r.</param>
/// <param name="Targets">Which projections have adapters: <c>in_proj</c>, <c>out_proj</c> or both.</param>
/// <param name="Base">The path of the model that is adapted, which an adapter's file names.</param>
public sealed record LowRankAdaptation(int Rank, double Alpha, IReadOnlyList<string> Targets, string Base)
{
    /// <summary>The projections that may have adapters.</summary>
    public static IReadOnlyList<string> AllTargets { get; } = ["in_proj", "out_proj"];

    /// <summary>s = α / r.</summary>
    public double Scale => Alpha / Rank;

    internal LowRankAdaptation Validated()
    {
        if (Rank < 1 || !double.IsFinite(Alpha))
            throw new ArgumentException($"An adapter has a rank of at least 1 and a finite alpha; got {Rank} and {Alpha}.");
        if (Targets.Count == 0 || Targets.FirstOrDefault(target => !AllTargets.Contains(target)) is not null || Targets.Distinct().Count() < Targets.Count)
            throw new ArgumentException($"Adapters are for {string.Join(" and ", AllTargets)}; got '{string.Join(", ", Targets)}'.");
        return this;
    }
}
