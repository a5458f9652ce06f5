using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// The selective state space scan <c>h_t = exp(dt_t·A) · h_{t−1} + dt_t · x_t ⊗ B_t, y_t = C_t h_t + D · x_t</c>, computed by chunks in time linear in the length:
    /// what each chunk adds to the state, the states between chunks, and from them the outputs.
    /// </summary>
    /// <param name="x">[B, L, H, P].</param>
    /// <param name="dt">Step sizes, positive: [B, L, H].</param>
    /// <param name="a">Decay rates A, negative: [H].</param>
    /// <param name="b">[B, L, G, N], where G divides H: head h uses group h / (H / G).</param>
    /// <param name="c">[B, L, G, N].</param>
    /// <param name="skip">D, per head [H] or per channel [H, P]; null for none.</param>
    /// <param name="initial">The state before the first position, [B, H, P, N]; null for zero.</param>
    /// <param name="sequence">Which document each position belongs to, I32 [B, L]: the state starts afresh where it changes. Null for a single one.</param>
    /// <param name="chunk">
    /// Positions per chunk. It changes the speed, not the result. Of 32 to 256, 64 was the best on the CPU for P 32 and N 64 and within a tenth of it for P 64 and N 128, forward and
    /// backward together. Twice that moves half as many states through memory, but 4·Q² elements of it no longer fit the second-level cache.
    /// </param>
    /// <param name="precision">How exactly matrices are multiplied; decays and sums are float32 whatever is said.</param>
    /// <returns>y [B, L, H, P], and the state after the last position [B, H, P, N].</returns>
    /// <remarks>Tri Dao and Albert Gu, "Transformers are SSMs", arXiv 2405.21060, section 6.</remarks>
    public static (Tensor Y, Tensor FinalState) StateSpaceScan(
        this Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c, Tensor? skip = null, Tensor? initial = null, Tensor? sequence = null, int chunk = 64, MatMulPrecision precision = MatMulPrecision.Full)
    {
        Tensor[] inputs = [x, dt, a, b, c, .. new[] { skip, initial, sequence }.OfType<Tensor>()];
        bool keeps = Differentiation.IsRecording && inputs.Any(input => input.RequiresGradient);
        Tensor[] results = Tensor.ApplyAll(new StateSpaceScan(chunk, skip is not null, initial is not null, sequence is not null, keeps, precision), inputs);
        return (results[0], results[1]);
    }
}

/// <summary>
/// The selective state space scan <c>h_t = exp(dt_t·A) · h_{t−1} + dt_t · x_t ⊗ B_t, y_t = C_t h_t + D · x_t</c>. Inputs x, dt, A, B, C and, if said so, D, the initial state and the
/// sequence; outputs y, the final state, and the states before the chunks [B, chunks, H, P, N], which its gradient needs, or none of them [B, 0, H, P, N].
/// </summary>
/// <param name="Chunk">Positions per chunk.</param>
/// <param name="HasSkip">Whether there is a D.</param>
/// <param name="HasInitial">Whether there is an initial state.</param>
/// <param name="HasSequence">Whether there is a sequence.</param>
/// <param name="Keeps">Whether the states before the chunks are put out.</param>
/// <param name="Precision">How exactly matrices are multiplied.</param>
public readonly record struct StateSpaceScan(int Chunk, bool HasSkip, bool HasInitial, bool HasSequence, bool Keeps, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    /// <summary>Parts there should be at least, so that six cores find work at batch 1; more would each add up a dB and dC of their own.</summary>
    private const int Parts = 6;

    internal int InputCount => 5 + (HasSkip ? 1 : 0) + (HasInitial ? 1 : 0) + (HasSequence ? 1 : 0);

    internal int Initial => HasInitial ? HasSkip ? 6 : 5 : -1;

    internal int Sequence => HasSequence ? InputCount - 1 : -1;

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs | Saved.Output(2);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        ScanShape shape = ShapeOf(inputs);
        // States are sums over positions, which are not rounded; those before the chunks are, for products that would round them.
        return [inputs[0], new TensorType(inputs[1].DType, shape.States.Without(1)), new TensorType(inputs[0].DType, Keeps ? shape.States : shape.States.With(1, 0))];
    }

    /// <inheritdoc/>
    public Work CountWork(ReadOnlySpan<TensorType> inputs) => Work.Of(ShapeOf(inputs).Flops, inputs[0].DType.IsNarrow() || Precision is MatMulPrecision.Bfloat16 or MatMulPrecision.Bfloat16x3);

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    IReadOnlyList<SelfTest> IPrimitive.SelfTests => SelfTest.OfScan((chunk, of) => new(new StateSpaceScan(chunk, true, false, false, true, of.Precision), of.X, of.Step, of.Decay, of.B, of.B, of.Skip));

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        ScanShape shape = ShapeOf(call.Inputs);
        var launch = new ScanLaunch(shape, call.Inputs[0].DType, call.Device, Precision) { States = call.Outputs[2].DType };
        Slot x = Slot.In(0), dt = Slot.In(1), b = Slot.In(3);
        (int retention, (_, int stepped), var sums) = launch.Decays(dt, Slot.In(2), HasSequence ? Slot.In(Sequence) : null);
        uint skips = Skips(call.Inputs);
        int products = launch.ProductsOfScan(b, Slot.In(4), skips);
        int added = launch.Scratch(shape.States.Count, launch.Added), states = Keeps ? 0 : launch.Scratch(shape.States.Count, launch.States);
        launch.State(x, stepped, b, Slot.ScratchOut(added), asAdded: true);
        launch.Pass(Slot.ScratchIn(added), retention, HasInitial ? Slot.In(Initial) : null, Keeps ? Slot.Out(2) : Slot.ScratchOut(states), Slot.Out(1), backward: false);
        launch.Scan(x, dt, Slot.In(4), Keeps ? Slot.OutRead(2) : Slot.ScratchIn(states), HasSkip ? Slot.In(5) : null, skips, sums, products, Slot.Out(0));
        return launch.Build();
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        // Only tests ask for gradients of the states before the chunks.
        if (call.HasGradient(2))
            return call.ThroughDefinition();
        var inputs = new Tensor[InputCount + 3];
        for (int i = 0; i < InputCount; i++)
            inputs[i] = call.Input(i);
        inputs[^3] = Keeps ? call.Output(2) : Tensor.ApplyAll(this with { Keeps = true }, inputs.AsSpan(0, InputCount))[2];
        inputs[^2] = call.Gradient(0);
        inputs[^1] = call.Gradient(1);
        Tensor[] gradients = Tensor.ApplyAll(new StateSpaceScanGradient(Chunk, HasSkip, HasInitial, HasSequence, Precision), inputs);
        return HasSequence ? (Tensor?[])[.. gradients, null] : gradients;
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor[] results = InParts(
            inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], HasSkip ? inputs[5] : null, HasInitial ? inputs[Initial] : null, HasSequence ? inputs[Sequence] : null, Chunk,
            Precision);
        return Keeps ? results : [results[0], results[1], results[2].Slice(1, 0, 0)];
    }

    /// <summary>The same by operations that each do one thing for all chunks: y, the final state, the states before the chunks.</summary>
    internal static Tensor[] InParts(
        Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c, Tensor? skip, Tensor? initial, Tensor? sequence, int chunk, MatMulPrecision precision)
    {
        Tensor added = x.ChunkState(dt, a, b, sequence, chunk, precision);
        Tensor retention = dt.ChunkRetention(a, sequence, chunk);
        (Tensor states, Tensor final) = added.StatePassing(retention, initial, x.DType.IsNarrow() ? x.DType : null);
        return [x.ChunkScan(dt, a, b, c, states, skip, sequence, chunk, precision), final, states];
    }

    /// <summary>How the shaders are told of D: 0 for none, 1 for one per head, 2 for one per channel.</summary>
    internal uint Skips(ReadOnlySpan<TensorType> inputs) => HasSkip ? (uint)inputs[5].Shape.Rank : 0;

    internal ScanShape ShapeOf(ReadOnlySpan<TensorType> inputs)
    {
        var shape = ScanShape.Check(nameof(StateSpaceScan), inputs, InputCount, Chunk, hasC: true, Sequence);
        if (HasSkip)
            Rules.RequireSkip(nameof(StateSpaceScan), inputs, 5, shape.H, shape.P);
        if (HasInitial)
            ShapeException.ThrowUnless(inputs[Initial].Shape == shape.States.Without(1), nameof(StateSpaceScan), "the initial state must be [batch, heads, width, state]", inputs);
        return shape;
    }

    /// <summary>In how many blocks the heads of a group are computed, and how many heads one has.</summary>
    internal static (int Blocks, int Heads) Divide(ScanShape shape, int parts = Parts)
    {
        int wanted = Math.Clamp((parts + shape.B * shape.G - 1) / Math.Max(1, shape.B * shape.G), 1, shape.HeadsPerGroup);
        int heads = (shape.HeadsPerGroup + wanted - 1) / wanted;
        return ((shape.HeadsPerGroup + heads - 1) / heads, heads);
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        ScanShape shape = ShapeOf(call.InputTypes());
        // A head's results do not depend on which other heads are in its part.
        (int blocks, int heads) = Divide(shape, Math.Max(Parts, 2 * call.Threads));
        var products = new ChunkProducts<T> { Matrix = new SmallMatrix(call.VectorBits), Shape = shape, B = call.InputAddress<T>(3), C = call.InputAddress<T>(4) };
        T[] rented = ArrayPool<T>.Shared.Rent(checked(products.Count * products.Square));
        fixed (T* squares = rented)
        {
            products.To = squares;
            products.Compute(call.Threads);
            var body = new Body<T>
            {
                Matrix = new SmallMatrix(call.VectorBits),
                Shape = shape,
                Blocks = blocks,
                Heads = heads,
                X = call.InputAddress<T>(0),
                Dt = call.InputAddress<T>(1),
                A = call.InputAddress<T>(2),
                B = call.InputAddress<T>(3),
                C = call.InputAddress<T>(4),
                Products = products,
                D = HasSkip ? call.InputAddress<T>(5) : null,
                SkipsPerHead = HasSkip && call.InputType(5).Shape.Rank == 2 ? shape.P : 1,
                Initial = HasInitial ? call.InputAddress<T>(Initial) : null,
                Sequence = HasSequence ? call.InputAddress<int>(Sequence) : null,
                Y = call.OutputAddress<T>(0),
                Final = call.OutputAddress<T>(1),
                States = Keeps ? call.OutputAddress<T>(2) : null,
            };
            long q = shape.LongestChunk;
            CpuParallel.For(call.Threads, checked(shape.B * shape.G * blocks), shape.Chunks * q * (q + 2 * shape.N) / 8 * shape.P * heads, body);
        }
        ArrayPool<T>.Shared.Return(rented);
    }

    /// <summary>
    /// A part is some heads of a group, which it leads through all chunks, one after the other. C·Bᵀ was computed before, once for all heads of the group. Each head makes its
    /// M = C·Bᵀ ∘ decay ∘ dt, with D on the diagonal; y = M·x + exp(a)·(C·hᵀ); and h = γ·h + (w·x)ᵀ·B. The states never leave the cache, unless the gradient needs them: they are
    /// kept transposed and packed, as the right factor of C·hᵀ, and what is added to them is computed straight into that form. x is packed once, for both products.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public SmallMatrix Matrix;
        public ScanShape Shape;
        public int Blocks, Heads, SkipsPerHead;
        public T* X, Dt, A, B, C, D, Initial, Y, Final, States;
        public ChunkProducts<T> Products;
        public int* Sequence;

        public readonly void Invoke(int index)
        {
            (int L, int H, int P, int G, int N, int Q) = (Shape.L, Shape.H, Shape.P, Shape.G, Shape.N, Shape.LongestChunk);
            (int batch, int group, _, int begin, int end) = Shape.HeadsOf(index, Blocks, Heads);
            int pitch = ChunkTile.Pitch(Q), state = P * N, packed = Matrix.PackedSize<T>(N, P);
            CpuScratch scratch = default;
            T* high = scratch.Take<T>(pitch), low = scratch.Take<T>(pitch), steps = scratch.Take<T>(pitch), carried = scratch.Take<T>(pitch), weight = scratch.Take<T>(pitch);
            T* m = scratch.Take<T>((long)Q * pitch), xPanels = scratch.Take<T>(Matrix.PackedSize<T>(Q, P)), held = scratch.Take<T>((long)Heads * packed);
            int* first = scratch.Take<int>(Q);

            for (int head = begin; head < end; head++)
            {
                T* h = held + (long)(head - begin) * packed;
                if (Initial is null)
                    new Span<T>(h, packed).Clear();
                else
                    Matrix.Pack(N, P, Initial + ((long)batch * H + head) * state, 1, N, h);
            }
            for (int chunk = 0; chunk < Shape.Chunks; chunk++)
            {
                int start = chunk * Shape.Q, length = Shape.Length(chunk);
                long row = (long)batch * L + start;
                T* b = B + (row * G + group) * N, c = C + (row * G + group) * N, cb = Products.Of(batch, chunk, group);
                ChunkTile.FirstOfDocument(length, Sequence is null ? null : Sequence + (long)batch * L, start, first);
                for (int head = begin; head < end; head++)
                {
                    T* x = X + (row * H + head) * P, y = Y + (row * H + head) * P, h = held + (long)(head - begin) * packed;
                    ChunkTile.Gather(length, Dt + row * H + head, H, steps);
                    ChunkTile.Decay(length, steps, A[head], high, low);
                    bool perChannel = SkipsPerHead == P && P > 1;
                    ChunkTile.Mix(length, pitch, cb, high, low, steps, first, D is null || perChannel ? T.Zero : D[head], m);
                    if (perChannel)
                        Skip(length, P, x, H * P, D + (long)head * P, y);
                    Matrix.Pack(length, P, x, H * P, 1, xPanels);
                    ChunkTile.PrefetchRows(length, P, x + P, H * P);
                    Matrix.Multiply(length, P, length, m, pitch, 1, xPanels, y, H * P, add: perChannel, triangle: Triangle.LowerLeft);
                    ChunkTile.Carried(length, high, first, carried);
                    if (chunk > 0 || Initial is not null)
                        Matrix.Multiply(length, P, N, c, G * N, 1, h, y, H * P, add: true, scale: carried);
                    if (States is not null)
                        Matrix.UnpackTransposed(N, P, h, States + (((long)batch * Shape.Chunks + chunk) * H + head) * state);
                    ChunkTile.ToEnd(length, high, low, first, weight);
                    for (int s = 0; s < length; s++)
                        weight[s] *= steps[s];
                    Matrix.ScalePanels(length, P, weight, xPanels);
                    TensorPrimitives.Multiply(new ReadOnlySpan<T>(h, packed), carried[length - 1], new Span<T>(h, packed));
                    Matrix.AddToPanels(N, P, length, b, 1, G * N, xPanels, h);
                }
            }
            for (int head = begin; head < end; head++)
                Matrix.UnpackTransposed(N, P, held + (long)(head - begin) * packed, Final + ((long)batch * H + head) * state);
        }

        /// <summary>y = D ∘ x, row by row.</summary>
        private static void Skip(int length, int width, T* x, nint row, T* skip, T* y)
        {
            for (int s = 0; s < length; s++)
                TensorPrimitives.Multiply(new ReadOnlySpan<T>(x + s * row, width), new ReadOnlySpan<T>(skip, width), new Span<T>(y + s * row, width));
        }
    }
}
