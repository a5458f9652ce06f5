using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Modules;

/// <summary>
/// What is learnt beside a projection that stays as it is: <c>y = W x + s·B A x</c>, with A of [r, inputs] and B of [outputs, r].
/// B begins at zero, so that at first nothing changes. Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).
/// </summary>
public sealed class LowRankAdapter : Module
{
    private readonly Parameter down, up;
    private readonly double scale;

    /// <summary>An adapter for a projection with weights of [outputs, inputs].</summary>
    /// <param name="projection">The shape of its weights.</param>
    /// <param name="rank">r.</param>
    /// <param name="scale">s.</param>
    /// <param name="init">Draws A, uniform on ±1/√inputs.</param>
    public LowRankAdapter(Shape projection, int rank, double scale, Initializer init)
    {
        this.scale = scale;
        down = init.Uniform([rank, projection[1]], 1 / Math.Sqrt(projection[1]), decays: true);
        up = init.Constant([projection[0], rank], 0, decays: true);
    }

    /// <inheritdoc/>
    public override IEnumerable<(string Path, Parameter Parameter)> Parameters() => [("lora_A.weight", down), ("lora_B.weight", up)];

    /// <summary>s·B A x for each row of x, [..., inputs].</summary>
    internal Tensor Apply(Tensor x, MatMulPrecision precision) =>
        (x.MatMul(down.Value, transposeB: true, precision: precision) * scale).MatMul(up.Value, transposeB: true, precision: precision);
}
