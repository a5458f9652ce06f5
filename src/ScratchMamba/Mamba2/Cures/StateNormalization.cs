using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>A limit on the Frobenius norm of each head's state: <c>h ← h · min(1, cap / ‖h‖)</c> after every so many tokens, before the last of them is read.</summary>
/// <param name="Cap">The cap; if relative, in multiples of the head's norm in calibration.</param>
/// <param name="IsRelative">Whether <paramref name="Cap"/> is a multiple of measured norms rather than a norm.</param>
/// <param name="Period">
/// After how many tokens the limit applies. 1 is the recurrence of the paper, which no scan can compute: whole sequences are then read one token after the other.
/// </param>
/// <remarks>Source: "Stuffed Mamba", first version. The code released with it multiplies by ‖h‖ / cap instead, which makes large states larger.</remarks>
public sealed record StateNormalization(double Cap, bool IsRelative = false, int Period = 1)
{
    /// <summary>The measured norm of every layer's every head; see <see cref="Calibration.StateNorms"/>. Only used if the cap is relative.</summary>
    public IReadOnlyList<IReadOnlyList<double>>? Norms { get; init; }

    /// <summary>The caps of a layer's heads.</summary>
    public double[] CapsOf(int layer, int heads) => [.. Enumerable.Range(0, heads).Select(head => IsRelative ? Cap * Norms![layer][head] : Cap)];

    internal void Validate(Mamba2Config config)
    {
        Cure.Require(Cap > 0, $"the cap of a norm must be a positive number; it is {Cap}");
        Cure.Require(Period > 0, $"the period of a norm is a number of tokens; it is {Period}");
        Cure.Require(
            !IsRelative || Norms!.Count == config.Layers && Norms.All(heads => heads.Count == config.Heads && heads.All(norm => norm > 0)),
            $"the norms must be positive, one for each of the {config.Heads} heads of {config.Layers} layers");
    }

    /// <summary>What the states [B, H, P, N] are multiplied by, [B, H, 1, 1]: 1 up to the cap, and cap / ‖h‖ beyond.</summary>
    /// <param name="state">[B, H, P, N].</param>
    /// <param name="caps">[H].</param>
    public static Tensor Scale(Tensor state, Tensor caps)
    {
        int batch = state.Shape[0], heads = state.Shape[1];
        Tensor size = state.Square().Reshape([batch, heads, state.Shape[2] * state.Shape[3]]).Sum(2);
        // 1 / √max(‖h‖² / cap², 1): exactly 1 below the cap, and without a division by zero for an empty state.
        return (size / caps.Square()).Clamp(1, double.PositiveInfinity).ReciprocalSqrt().Reshape([batch, heads, 1, 1]);
    }
}
