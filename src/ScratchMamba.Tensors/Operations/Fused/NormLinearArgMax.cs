using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The index of the largest element of each row of <see cref="NormLinear(Tensor, Tensor, Tensor, double, Tensor?, MatMulPrecision)"/>, I32 […]: the first of equals. For a few rows in one operation.</summary>
    /// <param name="x">[…, K].</param>
    /// <param name="norm">w, [K].</param>
    /// <param name="weight">W, [N, K].</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="precision">How exactly the product has to be computed.</param>
    public static Tensor NormLinearArgMax(this Tensor x, Tensor norm, Tensor weight, double epsilon = 1e-5, MatMulPrecision precision = MatMulPrecision.Full) =>
        x.Shape.Rows <= Operations.NormLinearArgMax.MostRows
            ? Tensor.Apply(new NormLinearArgMax(epsilon, precision), x, norm, weight) : x.NormLinear(norm, weight, epsilon, precision: precision).ArgMax();
}

/// <summary>
/// Where a linear layer of normalised rows is largest: <c>y[…] = argmaxᵢ (W (w · x / √(mean(x²) + ε)))ᵢ</c>, the first of equals, and of the first NaN where there is one. Not differentiable.
/// Inputs x […, K], w [K] and W [N, K]; output I32 […].
/// </summary>
/// <param name="Epsilon">ε.</param>
/// <param name="Precision">How exactly the product has to be computed.</param>
public readonly record struct NormLinearArgMax(double Epsilon, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    // What fills a large device once, with room for the registers of loads under way.
    private const int MostGroups = 528, MostLoads = 12;

    /// <summary>How many rows the kernel takes.</summary>
    internal const int MostRows = 4;

    private readonly record struct Scalars(uint N, uint Groups, float Epsilon);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(NormLinearArgMax), inputs, 3);
        return new ArgMax().Infer(new NormLinear(Epsilon, HasResidual: false, Precision).Infer(inputs));
    }

    /// <inheritdoc/>
    public Work CountWork(ReadOnlySpan<TensorType> inputs) => new NormLinear(Epsilon, HasResidual: false, Precision).CountWork(inputs);

    /// <inheritdoc/>
    public void Compute(CpuCall call) => call.RunDefinition(this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        (Shape x, int n, DType type) = (call.Inputs[0].Shape, call.Inputs[2].Shape[0], call.Inputs[2].DType);
        if (call.Inputs[0].DType != DType.F32 || call.Device.IsCpu || x.Rows is 0 or > MostRows || x.Columns == 0 || x.Columns % FewRowsLaunch.PackLength(type) != 0)
            return null;
        int rows = (int)x.Rows, lanes = call.Device.SubgroupSize, packs = x.Columns / FewRowsLaunch.PackLength(type), loads = (packs + lanes - 1) / lanes;
        int workgroup = Math.Max(lanes, 256), subgroups = workgroup / lanes, groups = Math.Min(MostGroups, (n + subgroups - 1) / subgroups);
        if (loads > MostLoads || 4L * rows * FewRowsLaunch.PackLength(type) * loads * lanes > Math.Min(16384, call.Device.SharedMemoryBytes / 2))
            return null;
        return new Launch(
            [
                Dispatch.Linear(
                    "norm_linear_arg_max", groups, [Slot.In(0), Slot.In(1), Slot.In(2), Slot.ScratchOut(0)], new Scalars((uint)n, (uint)groups, (float)Epsilon),
                    (uint)workgroup, (uint)rows, type.ShaderCode(), (uint)loads, (uint)lanes, (uint)packs, FewRowsLaunch.IsRounded(Precision, type, call.Device) ? 1u : 0),
                ArgMax.OfPieces(rows, groups),
            ],
            (long)rows * groups * 2 * sizeof(int));
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) => [inputs[0].NormLinear(inputs[1], inputs[2], Epsilon, precision: Precision).ArgMax()];
}
