using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// The gradients of <see cref="ChunkScan"/> for x, dt, A, B, C, the states and, if said so, D. Inputs those of ChunkScan, then the gradient of its result.
/// The gradient of dt·A at a position is a sum of products of later outputs with earlier inputs. It is formed without any difference (as row sums minus column sums
/// would be), because a long step decouples the two sides: its gradient is tiny beside the terms that would have to cancel, and is multiplied by that step in dA.
/// </summary>
/// <param name="Chunk">Positions per chunk.</param>
/// <param name="HasSkip">Whether there is a D.</param>
/// <param name="HasSequence">Whether there is a sequence.</param>
/// <param name="Precision">How exactly matrices are multiplied.</param>
public readonly record struct ChunkScanGradient(int Chunk, bool HasSkip, bool HasSequence, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    private ChunkScan Forward => new(Chunk, HasSkip, HasSequence, Precision);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(ChunkScanGradient), inputs, Forward.InputCount + 1);
        TensorType y = Forward.Infer(inputs[..^1])[0];
        ShapeException.ThrowUnless(inputs[^1] == y, nameof(ChunkScanGradient), "the last input must be the gradient of the outputs", inputs);
        TensorType[] types = inputs[..(HasSkip ? 7 : 6)].ToArray();
        // A sum over positions that is not rounded.
        types[5] = types[5] with { DType = inputs[1].DType };
        return types;
    }

    /// <inheritdoc/>
    // On the host StateSpaceScan does the work; this is what devices are compared with.
    public void Compute(CpuCall call) => call.RunDefinition(this);

    /// <inheritdoc/>
    IReadOnlyList<SelfTest> IPrimitive.SelfTests => SelfTest.OfScan((chunk, of) => new(new ChunkScanGradient(chunk, true, false, of.Precision), of.X, of.Step, of.Decay, of.B, of.B, of.Before, of.Skip, of.X));

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        var launch = new ScanLaunch(Forward.ShapeOf(call.Inputs[..^1]), call.Inputs[0].DType, call.Device, Precision) { States = call.Inputs[5].DType };
        Slot x = Slot.In(0), dt = Slot.In(1), a = Slot.In(2), b = Slot.In(3), c = Slot.In(4), states = Slot.In(5), g = Slot.In(call.Inputs.Length - 1);
        uint skips = Forward.Skips(call.Inputs);
        var sums = launch.Sums(dt, a, HasSequence ? Slot.In(Forward.InputCount - 1) : null);
        int products = launch.ProductsOf(b, c, forTiles: false);
        launch.State(g, sums.Carried, c, Slot.Out(5));
        (int direct, int skip) = launch.ScanGradient(x, dt, HasSkip ? Slot.In(6) : null, skips, g, sums, products, Slot.Out(0));
        (int dProducts, int edges) = launch.ProductsGradient(x, dt, g, sums, products);
        (int, int) dots = launch.GradientOfC(g, sums.Carried, states, c, dProducts, b, output: 4);
        launch.GradientOfB(g, states, dProducts, c, output: 3);
        launch.StepGradient(dt, a, null, (direct, dots, edges), null, 1, 2);
        if (HasSkip)
            launch.SkipGradient(skip, skips, 6);
        return launch.Build();
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) => Differentiation.DefinitionOfGradient(Forward, inputs[..^1], inputs[^1..], HasSkip ? 7 : 6);
}
