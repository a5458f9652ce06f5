namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The settings of <see cref="AdamW"/> with gradients clipped: <see cref="ClipByGlobalNorm"/>.</summary>
    /// <param name="settings">(η, c₁, c₂, s), where s is what gradients are multiplied with to undo a loss scale.</param>
    /// <param name="squares">The squared norm of every gradient, a vector.</param>
    /// <param name="others">Further numbers that have to be finite, of any shape: a loss.</param>
    /// <param name="norm">The norm that gradients may have, all together; infinity for any.</param>
    public static Tensor Clipped(this Tensor settings, Tensor squares, Tensor others, double norm) => Tensor.Apply(new ClipByGlobalNorm(norm), settings, squares, others);
}

/// <summary>
/// Clipping by the global norm (Pascanu et al., arXiv:1211.5063), as the last of AdamW's settings: <c>s ← s · min(1, Norm / (s·√Σ q + 10⁻⁶))</c>, and 0, with which <see cref="AdamW"/> changes nothing, where
/// a number is not finite. The inputs are the settings (η, c₁, c₂, s), squared norms q, and further numbers that have to be finite. So a step of training need not wait for the host to see whether its gradients are of any use.
/// </summary>
/// <param name="Norm">The norm that gradients may have, all together; infinity for any.</param>
public readonly record struct ClipByGlobalNorm(double Norm) : IPrimitive
{
    // As PyTorch does: a hair more than the norm in the denominator.
    private const double Hair = 1e-6;

    private const int Workgroup = 256;

    private readonly record struct Scalars(uint Squares, uint Others, float Norm, float Hair);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(ClipByGlobalNorm), inputs, 3);
        Rules.RequireFloating(nameof(ClipByGlobalNorm), inputs);
        ShapeException.ThrowUnless(inputs[0].Shape == [4], nameof(ClipByGlobalNorm), "the settings must be four numbers: learning rate, 1 − β₁ᵗ, 1 − β₂ᵗ, gradient scale", inputs);
        ShapeException.ThrowUnless(inputs[1].Shape.Rank == 1, nameof(ClipByGlobalNorm), "the squared norms must be a vector", inputs);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute(call.Input<double>(0), call.Input<double>(1), call.Input<double>(2), call.Output<double>(0));
        else
            Compute(call.Input<float>(0), call.Input<float>(1), call.Input<float>(2), call.Output<float>(0));
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Outputs[0].DType != DType.F32)
            return null;
        return Dispatch.Linear(
            "clip_by_global_norm", 1, [Slot.In(0), Slot.In(1), Slot.In(2), Slot.Out(0)],
            new Scalars((uint)call.Inputs[1].Count, (uint)call.Inputs[2].Count, (float)Norm, (float)Hair), Workgroup);
    }

    private void Compute<T>(ReadOnlySpan<T> settings, ReadOnlySpan<T> squares, ReadOnlySpan<T> others, Span<T> clipped) where T : System.Numerics.IFloatingPointIeee754<T>
    {
        settings.CopyTo(clipped);
        double sum = 0, unclipped = double.CreateTruncating(settings[3]);
        bool isFinite = true;
        foreach (T square in squares)
        {
            isFinite &= T.IsFinite(square);
            sum += double.CreateTruncating(square);
        }
        foreach (T other in others)
            isFinite &= T.IsFinite(other);
        clipped[3] = isFinite ? T.CreateTruncating(unclipped * Math.Min(1, Norm / (unclipped * Math.Sqrt(sum) + Hair))) : T.Zero;
    }
}
