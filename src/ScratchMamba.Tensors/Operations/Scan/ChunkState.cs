using System.Numerics;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// What each chunk adds to the state: <c>S = Σ exp(a_last − a_s) · dt_s · x_s ⊗ B_s</c> over its positions s, where a is the cumulative sum of dt·A inside the chunk;
    /// with a sequence, over those of the chunk's last document.
    /// </summary>
    /// <param name="x">[B, L, H, P].</param>
    /// <param name="dt">Step sizes, positive: [B, L, H].</param>
    /// <param name="a">Decay rates, negative: [H].</param>
    /// <param name="b">[B, L, G, N].</param>
    /// <param name="sequence">Which document each position belongs to, I32 [B, L]; null for a single one.</param>
    /// <param name="chunk">Positions per chunk.</param>
    /// <param name="precision">How exactly matrices are multiplied; decays and sums are float32 whatever is said.</param>
    /// <returns>[B, chunks, H, P, N].</returns>
    /// <remarks>Tri Dao and Albert Gu, "Transformers are SSMs", arXiv 2405.21060, section 6.</remarks>
    public static Tensor ChunkState(this Tensor x, Tensor dt, Tensor a, Tensor b, Tensor? sequence = null, int chunk = 64, MatMulPrecision precision = MatMulPrecision.Full) => sequence is null
        ? Tensor.Apply(new ChunkState(chunk, false, precision), x, dt, a, b)
        : Tensor.Apply(new ChunkState(chunk, true, precision), x, dt, a, b, sequence);
}

/// <summary>What each chunk adds to the state: <c>S = Σ exp(a_last − a_s) · dt_s · x_s ⊗ B_s</c>. Inputs x, dt, A, B and, if said so, the sequence.</summary>
/// <param name="Chunk">Positions per chunk.</param>
/// <param name="HasSequence">Whether there is a sequence.</param>
/// <param name="Precision">How exactly matrices are multiplied.</param>
public readonly record struct ChunkState(int Chunk, bool HasSequence, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    /// <summary>Heads of a group that share one packed B; fewer would pack it more often, more would leave too few parts.</summary>
    private const int HeadsPerPart = 8;

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => [new TensorType(inputs[1].DType, ShapeOf(inputs).States)];

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    IReadOnlyList<SelfTest> IPrimitive.SelfTests => SelfTest.OfScan((chunk, of) => new(new ChunkState(chunk, false, of.Precision), of.X, of.Step, of.Decay, of.B));

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        var launch = new ScanLaunch(ShapeOf(call.Inputs), call.Inputs[0].DType, call.Device, Precision);
        (_, int stepped) = launch.Weights(Slot.In(1), Slot.In(2), HasSequence ? Slot.In(4) : null);
        launch.State(Slot.In(0), stepped, Slot.In(3), Slot.Out(0));
        return launch.Build();
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var gradient = new ChunkStateGradient(Chunk, HasSequence, Precision);
        return HasSequence
            ? (Tensor?[])[.. Tensor.ApplyAll(gradient, call.Input(0), call.Input(1), call.Input(2), call.Input(3), call.Input(4), call.GradientAsArrived(0)), null]
            : Tensor.ApplyAll(gradient, call.Input(0), call.Input(1), call.Input(2), call.Input(3), call.GradientAsArrived(0));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        var chunks = new ChunkedTensors(ShapeOf(Tensor.TypesOf(inputs)), inputs[0].DType);
        Tensor x = chunks.Positions(inputs[0]), dt = chunks.Positions(inputs[1]), b = chunks.Groups(inputs[3]);
        Tensor decay = chunks.Decay(inputs[1], inputs[2]);
        Tensor weight = (chunks.Last(decay) - decay).Clamp(double.NegativeInfinity, 0).Exp() * dt;
        if (HasSequence)
        {
            Tensor document = chunks.Document(inputs[4]);
            weight *= document.Equal(chunks.Last(document));
        }
        return [(x * weight).MatMul(b, transposeA: true)];
    }

    internal ScanShape ShapeOf(ReadOnlySpan<TensorType> inputs) =>
        ScanShape.Check(nameof(ChunkState), inputs, HasSequence ? 5 : 4, Chunk, hasC: false, sequence: HasSequence ? 4 : -1);

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        ScanShape shape = ShapeOf(call.InputTypes());
        var body = new Body<T>
        {
            Matrix = new SmallMatrix(call.VectorBits),
            Shape = shape,
            BlocksPerGroup = (shape.HeadsPerGroup + HeadsPerPart - 1) / HeadsPerPart,
            X = call.InputAddress<T>(0),
            Dt = call.InputAddress<T>(1),
            A = call.InputAddress<T>(2),
            B = call.InputAddress<T>(3),
            Sequence = HasSequence ? call.InputAddress<int>(4) : null,
            S = call.OutputAddress<T>(0),
        };
        CpuParallel.For(
            call.Threads, checked(shape.B * shape.Chunks * shape.G * body.BlocksPerGroup),
            (long)shape.LongestChunk * shape.P * shape.N / 8 * Math.Min(HeadsPerPart, shape.HeadsPerGroup), body);
    }

    /// <summary>
    /// A part is one chunk of up to eight heads of a group, which share the packed B. Each head's x is scaled into a dense tile [Q, P]; then S = tileᵀ·B is one small product.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public SmallMatrix Matrix;
        public ScanShape Shape;
        public int BlocksPerGroup;
        public T* X, Dt, A, B, S;
        public int* Sequence;

        public readonly void Invoke(int index)
        {
            (int L, int H, int P, int G, int N) = (Shape.L, Shape.H, Shape.P, Shape.G, Shape.N);
            int block = index % BlocksPerGroup, group = index / BlocksPerGroup % G, part = index / BlocksPerGroup / G;
            int chunk = part % Shape.Chunks, batch = part / Shape.Chunks, start = chunk * Shape.Q, length = Shape.Length(chunk), pitch = ChunkTile.Pitch(length);
            long row = (long)batch * L + start;
            CpuScratch scratch = default;
            T* high = scratch.Take<T>(pitch), low = scratch.Take<T>(pitch), steps = scratch.Take<T>(pitch), weight = scratch.Take<T>(pitch);
            T* tile = scratch.Take<T>((long)length * P), panels = scratch.Take<T>(Matrix.PackedSize<T>(length, N));
            int* first = scratch.Take<int>(length);

            Matrix.Pack(length, N, B + (row * G + group) * N, G * N, 1, panels);
            int end = group * Shape.HeadsPerGroup + Math.Min(Shape.HeadsPerGroup, (block + 1) * HeadsPerPart);
            for (int head = group * Shape.HeadsPerGroup + block * HeadsPerPart; head < end; head++)
            {
                ChunkTile.Gather(length, Dt + row * H + head, H, steps);
                ChunkTile.Weights(length, steps, A[head], Sequence is null ? null : Sequence + (long)batch * L, start, high, low, weight, first);
                for (int s = 0; s < length; s++)
                    weight[s] *= steps[s];
                ChunkTile.ScaleRows(length, P, X + (row * H + head) * P, (long)H * P, weight, tile);
                Matrix.Multiply(P, N, length, tile, 1, P, panels, S + ((long)part * H + head) * P * N, N);
            }
        }
    }
}

/// <summary>The gradients of <see cref="ChunkState"/> for x, dt, A and B. Inputs those of ChunkState, then the gradient of its result.</summary>
/// <param name="Chunk">Positions per chunk.</param>
/// <param name="HasSequence">Whether there is a sequence.</param>
/// <param name="Precision">How exactly matrices are multiplied.</param>
public readonly record struct ChunkStateGradient(int Chunk, bool HasSequence, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    private ChunkState Forward => new(Chunk, HasSequence, Precision);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(ChunkStateGradient), inputs, HasSequence ? 6 : 5);
        TensorType state = Forward.Infer(inputs[..^1])[0];
        bool fits = inputs[^1].Shape == state.Shape && (inputs[^1].DType == state.DType || (inputs[^1].DType.IsNarrow() && state.DType == DType.F32));
        ShapeException.ThrowUnless(fits, nameof(ChunkStateGradient), "the last input must be the gradient of the states", inputs);
        return inputs[..4].ToArray();
    }

    /// <inheritdoc/>
    // On the host StateSpaceScan does the work; this is what devices are compared with.
    public void Compute(CpuCall call) => call.RunDefinition(this);

    /// <inheritdoc/>
    IReadOnlyList<SelfTest> IPrimitive.SelfTests => SelfTest.OfScan((chunk, of) => new(new ChunkStateGradient(chunk, false, of.Precision), of.X, of.Step, of.Decay, of.B, of.Before));

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        var launch = new ScanLaunch(Forward.ShapeOf(call.Inputs[..^1]), call.Inputs[0].DType, call.Device, Precision) { DStates = call.Inputs[^1].DType };
        Slot x = Slot.In(0), dt = Slot.In(1), a = Slot.In(2), dState = Slot.In(call.Inputs.Length - 1);
        int direct = launch.StateGradient(x, Slot.In(3), launch.Weights(dt, a, HasSequence ? Slot.In(4) : null), dState, dx: 0, dB: 3);
        launch.StepGradient(dt, a, direct, null, null, 1, 2);
        return launch.Build();
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) => Differentiation.DefinitionOfGradient(Forward, inputs[..^1], inputs[^1..], 4);
}
