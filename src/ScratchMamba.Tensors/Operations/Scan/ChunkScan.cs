using System.Numerics;
using System.Numerics.Tensors;
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
    /// <summary>Heads of a group that share one C·Bᵀ; fewer would compute it more often, more would leave too few parts.</summary>
    private const int HeadsPerPart = 8;

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
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        var launch = new ScanLaunch(ShapeOf(call.Inputs), call.Inputs[0].DType, call.Device, Precision) { States = call.Inputs[5].DType };
        Slot dt = Slot.In(1);
        var sums = launch.Sums(dt, Slot.In(2), HasSequence ? Slot.In(InputCount - 1) : null);
        launch.Scan(Slot.In(0), dt, Slot.In(3), Slot.In(4), Slot.In(5), HasSkip ? Slot.In(6) : null, Skips(call.Inputs), sums, Slot.Out(0));
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
        var shape = ScanShape.Check(nameof(ChunkScan), inputs, InputCount, Chunk, hasC: true, sequence: HasSequence ? InputCount - 1 : -1);
        ShapeException.ThrowUnless(inputs[5].Shape == shape.States, nameof(ChunkScan), "the states must be [batch, chunks, heads, width, state]", inputs);
        if (HasSkip)
        {
            Shape skip = inputs[6].Shape;
            ShapeException.ThrowUnless(skip == [shape.H] || skip == [shape.H, shape.P], nameof(ChunkScan), "D must be [heads] or [heads, width]", inputs);
        }
        return shape;
    }

    /// <summary>How the shaders are told of D: 0 for none, 1 for one per head, 2 for one per channel.</summary>
    internal uint Skips(ReadOnlySpan<TensorType> inputs) => HasSkip ? (uint)inputs[6].Shape.Rank : 0;

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
            C = call.InputAddress<T>(4),
            States = call.InputAddress<T>(5),
            D = HasSkip ? call.InputAddress<T>(6) : null,
            SkipsPerHead = HasSkip && call.InputType(6).Shape.Rank == 2 ? shape.P : 1,
            Sequence = HasSequence ? call.InputAddress<int>(InputCount - 1) : null,
            Y = call.OutputAddress<T>(0),
        };
        long q = shape.LongestChunk;
        CpuParallel.For(
            call.Threads, checked(shape.B * shape.Chunks * shape.G * body.BlocksPerGroup), q * (q + shape.N) / 8 * shape.P * Math.Min(HeadsPerPart, shape.HeadsPerGroup), body);
    }

    /// <summary>
    /// A part is one chunk of up to eight heads of a group. C·Bᵀ is computed once for them. Then each head makes its M = C·Bᵀ ∘ decay ∘ dt, with D on the diagonal, and
    /// y = M·x + exp(a)·(C·hᵀ) is two small products: the first skips what lies above the diagonal, the second scales its rows as it adds them.
    /// All that a head touches (2·Q² + Q·(N + 2·P) + N·P elements) fits the second-level cache. Its rows of x lie H·P elements apart, which no prefetcher foresees: so they are asked for
    /// while the head before is computed. At P 64, N 128 this runs at half of the FMA peak on one thread, packing h and x being most of the rest.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public SmallMatrix Matrix;
        public ScanShape Shape;
        public int BlocksPerGroup, SkipsPerHead;
        public T* X, Dt, A, B, C, States, D, Y;
        public int* Sequence;

        public readonly void Invoke(int index)
        {
            (int L, int H, int P, int G, int N) = (Shape.L, Shape.H, Shape.P, Shape.G, Shape.N);
            int block = index % BlocksPerGroup, group = index / BlocksPerGroup % G, part = index / BlocksPerGroup / G;
            int chunk = part % Shape.Chunks, batch = part / Shape.Chunks, start = chunk * Shape.Q, length = Shape.Length(chunk), pitch = ChunkTile.Pitch(length);
            long row = (long)batch * L + start;
            CpuScratch scratch = default;
            T* high = scratch.Take<T>(pitch), low = scratch.Take<T>(pitch), steps = scratch.Take<T>(pitch), carried = scratch.Take<T>(pitch);
            T* cb = scratch.Take<T>((long)length * pitch), m = scratch.Take<T>((long)length * pitch);
            T* panels = scratch.Take<T>(Math.Max(Matrix.PackedSize<T>(N, Math.Max(P, length)), Matrix.PackedSize<T>(length, P)));
            int* first = scratch.Take<int>(length);
            T* c = C + (row * G + group) * N;

            ChunkTile.FirstOfDocument(length, Sequence is null ? null : Sequence + (long)batch * L, start, first);
            Matrix.Pack(N, length, B + (row * G + group) * N, 1, G * N, panels);
            Matrix.Multiply(length, length, N, c, G * N, 1, panels, cb, pitch, triangle: Triangle.LowerResult);

            int end = group * Shape.HeadsPerGroup + Math.Min(Shape.HeadsPerGroup, (block + 1) * HeadsPerPart);
            for (int head = group * Shape.HeadsPerGroup + block * HeadsPerPart; head < end; head++)
            {
                T* x = X + (row * H + head) * P, y = Y + (row * H + head) * P, h = States + ((long)part * H + head) * P * N;
                ChunkTile.Gather(length, Dt + row * H + head, H, steps);
                ChunkTile.Decay(length, steps, A[head], high, low);
                bool perChannel = SkipsPerHead == P && P > 1;
                ChunkTile.Mix(length, pitch, cb, high, low, steps, first, D is null || perChannel ? T.Zero : D[head], m);
                if (perChannel)
                    Skip(length, P, x, H * P, D + (long)head * P, y);
                Matrix.Pack(length, P, x, H * P, 1, panels);
                ChunkTile.PrefetchRows(length, P, x + P, H * P);
                Matrix.Multiply(length, P, length, m, pitch, 1, panels, y, H * P, add: perChannel, triangle: Triangle.LowerLeft);
                if (ChunkTile.IsZero(h, P * N))
                    continue;
                ChunkTile.Carried(length, high, first, carried);
                Matrix.Pack(N, P, h, 1, N, panels);
                Matrix.Multiply(length, P, N, c, G * N, 1, panels, y, H * P, add: true, scale: carried);
            }
        }

        /// <summary>y = D ∘ x, row by row.</summary>
        private static void Skip(int length, int width, T* x, nint row, T* skip, T* y)
        {
            for (int s = 0; s < length; s++)
                TensorPrimitives.Multiply(new ReadOnlySpan<T>(x + s * row, width), new ReadOnlySpan<T>(skip, width), new Span<T>(y + s * row, width));
        }
    }
}
