using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>
/// Added to the loss, it makes a model forget within a sequence of T tokens: <c>λ Σ max(0, log α₁:T − log τ)² + μ Σ max(0, log ‖h_T‖ − log ‖h_T/2‖)²</c>, summed over layers and heads and
/// averaged over rows. The first term is for heads that retain more than τ of the first token, the second for states that still grow in the second half.
/// </summary>
/// <param name="Retention">λ.</param>
/// <param name="Growth">μ.</param>
/// <param name="Limit">τ in (0, 1].</param>
public sealed record ForgettingPenalty(double Retention, double Growth = 0, double Limit = 0.2)
{
    // Keeps the logarithm of an empty state finite.
    private const double Nothing = 1e-12;

    /// <summary>The mean loss, the penalty and the last state of a batch of rows that begin in <paramref name="initial"/>.</summary>
    internal (Tensor Mean, Tensor Penalty, Mamba2State Last) Read(Mamba2Model model, Tensor inputs, Tensor labels, Mamba2State? initial)
    {
        if (!(Retention >= 0 && Growth >= 0 && Limit is > 0 and <= 1))
            throw new ArgumentException($"A forgetting penalty has weights of at least 0 and a limit above 0 and at most 1; got {this}.");
        int length = inputs.Shape[1], half = length / 2;
        Tensor losses;
        Mamba2State? middle = null;
        Mamba2State last;
        if (Growth > 0 && half > 0)
        {
            (Tensor first, middle) = model.LossesAndState(inputs.Slice(1, 0, half), labels.Slice(1, 0, half), initial);
            (Tensor second, last) = model.LossesAndState(inputs.Slice(1, half, length - half), labels.Slice(1, half, length - half), middle);
            losses = TensorOperations.Concatenate(1, first, second);
        }
        else
        {
            (losses, last) = model.LossesAndState(inputs, labels, initial);
        }
        Tensor penalty = model.Backend.Scalar(0, model.DType);
        for (int layer = 0; layer < last.Layers.Count; layer++)
        {
            if (last.Layers[layer].LogRetention is { } retained)
                penalty += Excess(retained - Math.Log(Limit)) * (Retention / last.Batch);
            if (middle is not null)
                penalty += Excess(LogNorm(last.Layers[layer].Recurrent) - LogNorm(middle.Layers[layer].Recurrent)) * (Growth / last.Batch);
        }
        return (losses.MeanOverLabels(labels), penalty, last);
    }

    private static Tensor Excess(Tensor x) => x.Clamp(0, double.PositiveInfinity).Square().Sum();

    /// <summary>log ‖h‖ of every head, [B, H].</summary>
    private static Tensor LogNorm(Tensor state) =>
        (state.Square().Reshape([state.Shape[0], state.Shape[1], state.Shape[2] * state.Shape[3]]).Sum(2) + Nothing).Log() * 0.5;
}
