using System.Numerics;
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
    /// <returns>[B, L, H, P].</returns>
    /// <remarks>Tri Dao and Albert Gu, "Transformers are SSMs", arXiv 2405.21060, section 6.</remarks>
    public static Tensor ChunkScan(
        this Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c, Tensor states, Tensor? skip = null, Tensor? sequence = null, int chunk = 64)
    {
        var operation = new ChunkScan(chunk, skip is not null, sequence is not null);
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
public readonly record struct ChunkScan(int Chunk, bool HasSkip, bool HasSequence) : IPrimitive
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
        if (call.Inputs[0].DType != DType.F32)
            return null;
        var launch = new ScanLaunch(ShapeOf(call.Inputs), call.Device);
        Slot dt = Slot.In(1), c = Slot.In(4);
        var sums = launch.Sums(dt, Slot.In(2), HasSequence ? Slot.In(InputCount - 1) : null);
        int products = launch.ProductsOf(Slot.In(3), c, transposed: true);
        launch.Scan(Slot.In(0), dt, c, Slot.In(5), HasSkip ? Slot.In(6) : null, Skips(call.Inputs), sums, products, Slot.Out(0));
        return launch.Build();
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var inputs = new Tensor[InputCount + 1];
        for (int i = 0; i < InputCount; i++)
            inputs[i] = call.Input(i);
        inputs[^1] = call.Gradient(0);
        Tensor[] gradients = Tensor.ApplyAll(new ChunkScanGradient(Chunk, HasSkip, HasSequence), inputs);
        return HasSequence ? (Tensor?[])[.. gradients, null] : gradients;
    }

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
    /// A part is one chunk of up to eight heads of a group. C·Bᵀ is computed once for them; then each head multiplies it by its decay, a packed triangle of exponentials,
    /// and y = exp(a)·(C·hᵀ) + (C·Bᵀ ∘ decay)·(dt·x) is two small products on dense tiles, the second one skipping what lies above the diagonal.
    /// All tiles of a head (2·Q², Q·P and N·P elements) fit the second-level cache.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public ScanShape Shape;
        public int BlocksPerGroup, SkipsPerHead;
        public T* X, Dt, A, B, C, States, D, Y;
        public int* Sequence;

        public readonly void Invoke(int index)
        {
            (int L, int H, int P, int G, int N) = (Shape.L, Shape.H, Shape.P, Shape.G, Shape.N);
            int block = index % BlocksPerGroup, group = index / BlocksPerGroup % G, part = index / BlocksPerGroup / G;
            int chunk = part % Shape.Chunks, batch = part / Shape.Chunks, start = chunk * Shape.Q, length = Shape.Length(chunk);
            long row = (long)batch * L + start;
            CpuScratch scratch = default;
            T* high = scratch.Take<T>(length), low = scratch.Take<T>(length), decay = scratch.Take<T>((long)length * (length + 1) / 2);
            T* cb = scratch.Take<T>((long)length * length), m = scratch.Take<T>((long)length * length);
            T* tile = scratch.Take<T>((long)length * P), carried = scratch.Take<T>(length), skip = scratch.Take<T>(P);
            T* transposed = scratch.Take<T>((long)N * Math.Max(P, length));
            int* first = scratch.Take<int>(length);
            T* c = C + (row * G + group) * N;

            ChunkTile.FirstOfDocument(length, Sequence is null ? null : Sequence + (long)batch * L, start, first);
            SmallMatrix.Transpose(length, N, B + (row * G + group) * N, (long)G * N, transposed);
            SmallMatrix.Multiply(length, length, N, c, (long)G * N, 1, transposed, length, cb, length, triangle: Triangle.LowerResult);

            int end = group * Shape.HeadsPerGroup + Math.Min(Shape.HeadsPerGroup, (block + 1) * HeadsPerPart);
            for (int head = group * Shape.HeadsPerGroup + block * HeadsPerPart; head < end; head++)
            {
                T* x = X + (row * H + head) * P, dt = Dt + row * H + head, y = Y + (row * H + head) * P;
                ChunkTile.Decay(length, dt, H, A[head], high, low);
                ChunkTile.DecayTriangle(length, high, low, decay);
                Mix(length, cb, decay, first, m);
                ChunkTile.ScaleRows(length, P, x, (long)H * P, dt, H, tile);

                SmallMatrix.Transpose(P, N, States + ((long)part * H + head) * P * N, N, transposed);
                SmallMatrix.Multiply(length, P, N, c, (long)G * N, 1, transposed, P, y, (long)H * P);
                ChunkTile.Carried(length, high, first, carried);
                ChunkTile.Skip(head, P, D, SkipsPerHead, skip);
                for (int s = 0; s < length; s++)
                    CarryAndSkip(P, carried[s], skip, x + (long)s * H * P, y + (long)s * H * P);
                SmallMatrix.Multiply(length, P, length, m, length, 1, tile, P, y, (long)H * P, add: true, Triangle.LowerLeft);
            }
        }

        /// <summary>y = carried · y + skip ∘ x, along one row.</summary>
        private static void CarryAndSkip(int width, T carried, T* skip, T* x, T* y)
        {
            int p = 0;
            for (; p + Vector<T>.Count <= width; p += Vector<T>.Count)
                Vector.Store(SmallMatrix.Fused(Vector.Load(skip + p), Vector.Load(x + p), new Vector<T>(carried) * Vector.Load(y + p)), y + p);
            for (; p < width; p++)
                y[p] = carried * y[p] + skip[p] * x[p];
        }

        /// <summary>m = C·Bᵀ ∘ decay where s ≤ m and both are of one document, else 0 as far as the product by blocks of rows reads.</summary>
        private static void Mix(int length, T* cb, T* decay, int* first, T* m)
        {
            for (int i = 0; i < length; decay += ++i, cb += length, m += length)
            {
                int s = Math.Max(first[i], 0);
                new Span<T>(m, s).Clear();
                for (; s + Vector<T>.Count <= i; s += Vector<T>.Count)
                    Vector.Store(Vector.Load(cb + s) * Vector.Load(decay + s), m + s);
                for (; s <= i; s++)
                    m[s] = cb[s] * decay[s];
                new Span<T>(m + i + 1, Math.Min(length, i + SmallMatrix.RowBlock) - i - 1).Clear();
            }
        }
    }
}
