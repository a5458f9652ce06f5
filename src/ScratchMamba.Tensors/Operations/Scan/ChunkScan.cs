using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// The outputs of a scan from the states before its chunks: <c>y_m = exp(a_m) · C_m h + Σ_{s ≤ m} (C_m·B_s) exp(a_m − a_s) dt_s · x_s + D · x_m</c>,
    /// where a is the cumulative sum of dt·A inside the chunk. With a sequence, position m sees only positions of its document, and h only if its document began before the chunk.
    /// </summary>
    /// <param name="x">[B, L, H, P].</param>
    /// <param name="dt">Step sizes, positive: [B, L, H].</param>
    /// <param name="a">Decay rates, negative: [H].</param>
    /// <param name="b">[B, L, G, N].</param>
    /// <param name="c">[B, L, G, N].</param>
    /// <param name="states">h, the states before the chunks: [B, chunks, H, P, N].</param>
    /// <param name="skip">D, per head [H] or per channel [H, P]; null for none.</param>
    /// <param name="sequence">Which document each position belongs to, I32 [B, L]; null for a single one.</param>
    /// <param name="chunk">Positions per chunk.</param>
    /// <param name="precision">How exactly matrices are multiplied; decays and sums are float32 whatever is said.</param>
    /// <returns>[B, L, H, P].</returns>
    /// <remarks>Tri Dao and Albert Gu, "Transformers are SSMs", arXiv 2405.21060, section 6.</remarks>
    public static Tensor ChunkScan(
        this Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c, Tensor states, Tensor? skip = null, Tensor? sequence = null, int chunk = 64,
        MatMulPrecision precision = MatMulPrecision.Full)
    {
        var operation = new ChunkScan(chunk, skip is not null, sequence is not null, precision);
        return (skip, sequence) switch
        {
            (null, null) => Tensor.Apply(operation, x, dt, a, b, c, states),
            (not null, null) => Tensor.Apply(operation, x, dt, a, b, c, states, skip),
            (null, not null) => Tensor.Apply(operation, x, dt, a, b, c, states, sequence),
            _ => Tensor.Apply(operation, x, dt, a, b, c, states, skip, sequence),
        };
    }
}

/// <summary>
/// The outputs of a scan from the states before its chunks: <c>y_m = exp(a_m) · C_m h + Σ_{s ≤ m} (C_m·B_s) exp(a_m − a_s) dt_s · x_s + D · x_m</c>.
/// Inputs x, dt, A, B, C, h and, if said so, D and the sequence.
/// </summary>
/// <param name="Chunk">Positions per chunk.</param>
/// <param name="HasSkip">Whether there is a D.</param>
/// <param name="HasSequence">Whether there is a sequence.</param>
/// <param name="Precision">How exactly matrices are multiplied.</param>
public readonly record struct ChunkScan(int Chunk, bool HasSkip, bool HasSequence, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    internal int InputCount => 6 + (HasSkip ? 1 : 0) + (HasSequence ? 1 : 0);

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        _ = ShapeOf(inputs);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    // On the host StateSpaceScan does the work; this is what devices are compared with.
    public void Compute(CpuCall call) => call.RunDefinition(this);

    /// <inheritdoc/>
    IReadOnlyList<SelfTest> IPrimitive.SelfTests => SelfTest.OfScan((chunk, of) => new(new ChunkScan(chunk, true, false, of.Precision), of.X, of.Step, of.Decay, of.B, of.B, of.Before, of.Skip));

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        var launch = new ScanLaunch(ShapeOf(call.Inputs), call.Inputs[0].DType, call.Device, Precision) { States = call.Inputs[5].DType };
        Slot dt = Slot.In(1);
        uint skips = Skips(call.Inputs);
        var sums = launch.Sums(dt, Slot.In(2), HasSequence ? Slot.In(InputCount - 1) : null);
        int products = launch.ProductsOfScan(Slot.In(3), Slot.In(4), skips);
        launch.Scan(Slot.In(0), dt, Slot.In(4), Slot.In(5), HasSkip ? Slot.In(6) : null, skips, sums, products, Slot.Out(0));
        return launch.Build();
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var inputs = new Tensor[InputCount + 1];
        for (int i = 0; i < InputCount; i++)
            inputs[i] = call.Input(i);
        inputs[^1] = call.Gradient(0);
        Tensor[] gradients = Tensor.ApplyAll(new ChunkScanGradient(Chunk, HasSkip, HasSequence, Precision), inputs);
        return HasSequence ? (Tensor?[])[.. gradients, null] : gradients;
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        ScanShape shape = ShapeOf(Tensor.TypesOf(inputs));
        var chunks = new ChunkedTensors(shape, inputs[0].DType);
        Tensor x = chunks.Positions(inputs[0]), dt = chunks.Positions(inputs[1]), b = chunks.Groups(inputs[3]), c = chunks.Groups(inputs[4]);
        Tensor decay = chunks.Decay(inputs[1], inputs[2]);
        Tensor position = inputs[0].Backend.Full(new TensorType(inputs[0].DType, [shape.Q, 1]), 1).CumulativeSum(0);
        Tensor seen = position.GreaterOrEqual(position.Transpose(0, 1));
        Tensor carried = decay.Exp();
        if (HasSequence)
        {
            Tensor document = chunks.Document(inputs[^1]);
            seen *= document.Equal(document.Transpose(3, 4));
            carried *= document.Equal(inputs[0].Backend.Scalar(0, inputs[0].DType));
        }
        Tensor weight = (decay - decay.Transpose(3, 4)).Clamp(double.NegativeInfinity, 0).Exp() * seen;
        Tensor y = carried * c.MatMul(inputs[5], transposeB: true) + (c.MatMul(b, transposeB: true) * weight).MatMul(x * dt);
        y = chunks.Joined(y);
        if (HasSkip)
            y += inputs[0] * (inputs[6].Shape.Rank == 2 ? inputs[6] : inputs[6].Reshape([shape.H, 1]));
        return [y];
    }

    internal ScanShape ShapeOf(ReadOnlySpan<TensorType> inputs)
    {
        var shape = ScanShape.Check(nameof(ChunkScan), inputs, InputCount, Chunk, hasC: true, sequence: HasSequence ? InputCount - 1 : -1, state: 5);
        ShapeException.ThrowUnless(inputs[5].Shape == shape.States, nameof(ChunkScan), "the states must be [batch, chunks, heads, width, state]", inputs);
        if (HasSkip)
            Rules.RequireSkip(nameof(ChunkScan), inputs, 6, shape.H, shape.P);
        return shape;
    }

    /// <summary>How the shaders are told of D: 0 for none, 1 for one per head, 2 for one per channel.</summary>
    internal uint Skips(ReadOnlySpan<TensorType> inputs) => HasSkip ? (uint)inputs[6].Shape.Rank : 0;
}
