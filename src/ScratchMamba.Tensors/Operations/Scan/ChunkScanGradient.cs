using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
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
        launch.StepGradientOfScan(dt, a, direct, dots, edges, 1, 2);
        if (HasSkip)
            launch.SkipGradient(skip, skips, 6);
        return launch.Build();
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) => Differentiation.DefinitionOfGradient(Forward, inputs[..^1], inputs[^1..], HasSkip ? 7 : 6);

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        ScanShape shape = Forward.ShapeOf(call.InputTypes()[..^1]);
        int chunks = checked(shape.B * shape.Chunks), skips = !HasSkip ? 0 : call.InputType(6).Shape.Rank == 2 ? shape.P : 1;
        T[] partial = ArrayPool<T>.Shared.Rent(checked(chunks * shape.H * (1 + skips)));
        fixed (T* sums = partial)
        {
            var body = new Body<T>
            {
                Matrix = new SmallMatrix(call.VectorBits),
                Shape = shape,
                X = call.InputAddress<T>(0),
                Dt = call.InputAddress<T>(1),
                A = call.InputAddress<T>(2),
                B = call.InputAddress<T>(3),
                C = call.InputAddress<T>(4),
                States = call.InputAddress<T>(5),
                D = HasSkip ? call.InputAddress<T>(6) : null,
                SkipsPerHead = skips,
                Sequence = HasSequence ? call.InputAddress<int>(Forward.InputCount - 1) : null,
                DY = call.InputAddress<T>(Forward.InputCount),
                DX = call.OutputAddress<T>(0),
                DDt = call.OutputAddress<T>(1),
                DA = sums,
                DB = call.OutputAddress<T>(3),
                DC = call.OutputAddress<T>(4),
                DStates = call.OutputAddress<T>(5),
                DD = sums + (long)chunks * shape.H,
            };
            long q = shape.LongestChunk;
            CpuParallel.For(call.Threads, chunks * shape.G, q * (q + 2 * shape.N) / 8 * shape.P * shape.HeadsPerGroup, body);
            ChunkTile.SumRows(chunks, shape.H, body.DA, call.Output<T>(2));
            if (HasSkip)
                ChunkTile.SumRows(chunks, shape.H * skips, body.DD, call.Output<T>(6));
        }
        ArrayPool<T>.Shared.Return(partial);
    }

    /// <summary>
    /// A part is one chunk of one group, so that its heads add to dB and dC in order. With g = dy and L the decay, per head:
    /// dC += exp(a)g·h and dh = (exp(a)g)ᵀ·C from the carried state; dM = g·xᵀ, then d(dt x) = (C·Bᵀ ∘ L)ᵀ·g and d(C·Bᵀ) += dM ∘ L ∘ dt inside the chunk.
    /// C·Bᵀ itself is computed once, and its gradient carried to B and C once, after all heads. Triangles skip the half that is zero. What a head touches is
    /// 4·Q² + Q·(2·N + 3·P) + N·P elements: 230 KB at Q 64, P 64, N 128 in float32, half of the second-level cache; there it runs at half of the FMA peak on one thread.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public SmallMatrix Matrix;
        public ScanShape Shape;
        public int SkipsPerHead;
        public T* X, Dt, A, B, C, States, D, DY, DX, DDt, DA, DB, DC, DStates, DD;
        public int* Sequence;

        public readonly void Invoke(int index)
        {
            (int L, int H, int P, int G, int N) = (Shape.L, Shape.H, Shape.P, Shape.G, Shape.N);
            int group = index % G, part = index / G, chunk = part % Shape.Chunks, batch = part / Shape.Chunks;
            int start = chunk * Shape.Q, length = Shape.Length(chunk), pitch = ChunkTile.Pitch(length);
            long row = (long)batch * L + start, square = (long)length * pitch, wide = (long)length * P;
            CpuScratch scratch = default;
            T* high = scratch.Take<T>(pitch), low = scratch.Take<T>(pitch), steps = scratch.Take<T>(pitch), carried = scratch.Take<T>(pitch);
            T* columns = scratch.Take<T>(pitch), inside = scratch.Take<T>(pitch), skip = scratch.Take<T>(P), dskip = scratch.Take<T>(P);
            T* cb = scratch.TakeZeros<T>(square), dcb = scratch.TakeZeros<T>(square), m = scratch.Take<T>(square), dm = scratch.TakeZeros<T>(square);
            T* g = scratch.Take<T>(wide), tile = scratch.Take<T>(wide), fromState = scratch.Take<T>((long)length * N), cPanels = scratch.Take<T>(Matrix.PackedSize<T>(length, N));
            T* panels = scratch.Take<T>(Math.Max(
                Math.Max(Matrix.PackedSize<T>(N, length), Matrix.PackedSize<T>(length, N)),
                Math.Max(Matrix.PackedSize<T>(P, Math.Max(N, length)), Matrix.PackedSize<T>(length, P))));
            int* first = scratch.Take<int>(length);
            nint pitchOfB = (nint)G * N;
            T* b = B + (row * G + group) * N, c = C + (row * G + group) * N, db = DB + (row * G + group) * N, dc = DC + (row * G + group) * N;

            ChunkTile.FirstOfDocument(length, Sequence is null ? null : Sequence + (long)batch * L, start, first);
            Matrix.Pack(N, length, b, 1, pitchOfB, panels);
            Matrix.Multiply(length, length, N, c, pitchOfB, 1, panels, cb, pitch, triangle: Triangle.LowerResult);
            Matrix.Pack(length, N, c, pitchOfB, 1, cPanels);
            for (int s = 0; s < length; s++)
                new Span<T>(dc + s * pitchOfB, N).Clear();

            for (int head = group * Shape.HeadsPerGroup; head < (group + 1) * Shape.HeadsPerGroup; head++)
            {
                T* x = X + (row * H + head) * P, dy = DY + (row * H + head) * P, dx = DX + (row * H + head) * P, ddt = DDt + row * H + head;
                long state = ((long)part * H + head) * P * N;
                ChunkTile.Gather(length, Dt + row * H + head, H, steps);
                ChunkTile.Decay(length, steps, A[head], high, low);
                ChunkTile.CopyRows(length, P, dy, H * P, g);
                ChunkTile.PrefetchRows(length, P, x + P, H * P);
                ChunkTile.PrefetchRows(length, P, dx + P, H * P);

                // What came from the carried state. carried[s] becomes g·(exp(a) C h): the gradient of a_s through exp(a_s).
                ChunkTile.Carried(length, high, first, carried);
                ChunkTile.ScaleRows(length, P, g, P, carried, tile);
                Matrix.Multiply(P, N, length, tile, 1, P, cPanels, DStates + state, N);
                if (ChunkTile.IsZero(States + state, P * N))
                {
                    new Span<T>(carried, length).Clear();
                }
                else
                {
                    Matrix.Pack(P, N, States + state, N, 1, panels);
                    Matrix.Multiply(length, N, P, tile, P, 1, panels, fromState, N);
                    for (int s = 0; s < length; s++)
                        carried[s] = ChunkTile.AddAndDot(N, fromState + (long)s * N, c + s * pitchOfB, dc + s * pitchOfB);
                }

                // What came from inside the chunk; the tile becomes d(dt x).
                Matrix.Pack(P, length, x, 1, H * P, panels);
                Matrix.Multiply(length, length, P, g, P, 1, panels, dm, pitch, triangle: Triangle.LowerResult);
                ChunkTile.MixGradient(length, pitch, cb, high, low, steps, first, dm, m, dcb, columns, inside);
                Matrix.Pack(length, P, g, P, 1, panels);
                Matrix.Multiply(length, P, length, m, 1, pitch, panels, tile, P, triangle: Triangle.UpperLeft);

                ChunkTile.Skip(head, P, D, SkipsPerHead, skip);
                new Span<T>(dskip, P).Clear();
                double rate = double.CreateTruncating(A[head]), later = 0, sum = 0;
                for (int s = length - 1; s >= 0; s--)
                {
                    // dt_s·A is in a_s and in all that follow.
                    later += double.CreateTruncating(carried[s]);
                    double slope = later + double.CreateTruncating(inside[s]), step = double.CreateTruncating(steps[s]);
                    T direct = ChunkTile.Finish(P, steps[s], tile + (long)s * P, g + (long)s * P, x + (long)s * H * P, skip, dx + (long)s * H * P, dskip);
                    ddt[(long)s * H] = T.CreateTruncating(double.CreateTruncating(direct) + slope * rate);
                    sum += slope * step;
                }
                DA[(long)part * H + head] = T.CreateTruncating(sum);
                var dd = new Span<T>(DD + ((long)part * H + head) * SkipsPerHead, SkipsPerHead);
                if (SkipsPerHead == 1)
                    dd[0] = TensorPrimitives.Sum(new ReadOnlySpan<T>(dskip, P));
                else
                    new ReadOnlySpan<T>(dskip, SkipsPerHead).CopyTo(dd);
            }

            Matrix.Multiply(length, N, length, dcb, 1, pitch, cPanels, db, pitchOfB, triangle: Triangle.UpperLeft);
            Matrix.Pack(length, N, b, pitchOfB, 1, panels);
            Matrix.Multiply(length, N, length, dcb, pitch, 1, panels, dc, pitchOfB, add: true, triangle: Triangle.LowerLeft);
        }
    }
}
