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
public readonly record struct ChunkScanGradient(int Chunk, bool HasSkip, bool HasSequence) : IPrimitive
{
    private ChunkScan Forward => new(Chunk, HasSkip, HasSequence);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(ChunkScanGradient), inputs, Forward.InputCount + 1);
        TensorType y = Forward.Infer(inputs[..^1])[0];
        ShapeException.ThrowUnless(inputs[^1] == y, nameof(ChunkScanGradient), "the last input must be the gradient of the outputs", inputs);
        return inputs[..(HasSkip ? 7 : 6)].ToArray();
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
        var launch = new ScanLaunch(Forward.ShapeOf(call.Inputs[..^1]), call.Device);
        Slot x = Slot.In(0), dt = Slot.In(1), a = Slot.In(2), b = Slot.In(3), c = Slot.In(4), states = Slot.In(5), g = Slot.In(call.Inputs.Length - 1);
        uint skips = Forward.Skips(call.Inputs);
        var sums = launch.Sums(dt, a, HasSequence ? Slot.In(Forward.InputCount - 1) : null);
        int products = launch.ProductsOf(b, c, transposed: false);
        launch.State(g, sums.Carried, c, Slot.Out(5));
        (int direct, int skip) = launch.ScanGradient(x, dt, HasSkip ? Slot.In(6) : null, skips, g, sums, products, Slot.Out(0));
        (int dProducts, int edges) = launch.ProductsGradient(x, dt, g, sums, products);
        (int, int) dots = launch.Rows(g, sums.Carried, states, c, dProducts, b, 1, output: 4);
        launch.Rows(g, null, states, null, dProducts, c, 2, output: 3);
        launch.StepGradientOfScan(dt, a, direct, dots, edges, 1, 2);
        if (HasSkip)
            launch.SkipGradient(skip, skips, 6);
        return launch.Build();
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) => Differentiation.DefinitionOfGradient(Forward, inputs[..^1], inputs[^1..], HasSkip ? 7 : 6);

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        ScanShape shape = Forward.ShapeOf(call.InputTypes().AsSpan()[..^1]);
        int chunks = checked(shape.B * shape.Chunks), skips = !HasSkip ? 0 : call.InputType(6).Shape.Rank == 2 ? shape.P : 1;
        T[] partial = ArrayPool<T>.Shared.Rent(checked(chunks * shape.H * (1 + skips)));
        fixed (T* sums = partial)
        {
            var body = new Body<T>
            {
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
    /// dC += exp(a)g·h and dh = (exp(a)g)ᵀ·C from the carried state; dM = g·(dt x)ᵀ, then d(dt x) = (C·Bᵀ ∘ L)ᵀ·g and d(C·Bᵀ) += dM ∘ L inside the chunk.
    /// C·Bᵀ itself is computed once, and its gradient carried to B and C once, after all heads. Triangles skip the half that is zero.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public ScanShape Shape;
        public int SkipsPerHead;
        public T* X, Dt, A, B, C, States, D, DY, DX, DDt, DA, DB, DC, DStates, DD;
        public int* Sequence;

        public readonly void Invoke(int index)
        {
            (int L, int H, int P, int G, int N) = (Shape.L, Shape.H, Shape.P, Shape.G, Shape.N);
            int group = index % G, part = index / G, chunk = part % Shape.Chunks, batch = part / Shape.Chunks;
            int start = chunk * Shape.Q, length = Shape.Length(chunk);
            long row = (long)batch * L + start, square = (long)length * length, wide = (long)length * P, deep = (long)length * N;
            CpuScratch scratch = default;
            T* high = scratch.Take<T>(length), low = scratch.Take<T>(length), decay = scratch.Take<T>((long)length * (length + 1) / 2);
            T* cb = scratch.Take<T>(square), dcb = scratch.TakeZeros<T>(square), m = scratch.Take<T>(square), dm = scratch.Take<T>(square);
            T* g = scratch.Take<T>(wide), tile = scratch.Take<T>(wide), dtile = scratch.Take<T>(wide), transposed = scratch.Take<T>(Math.Max(wide, deep));
            T* fromState = scratch.Take<T>(deep), dc = scratch.TakeZeros<T>(deep);
            T* carried = scratch.Take<T>(length), columns = scratch.Take<T>(length), inside = scratch.Take<T>(length);
            T* skip = scratch.Take<T>(P), dskip = scratch.Take<T>(P);
            int* first = scratch.Take<int>(length);
            T* b = B + (row * G + group) * N, c = C + (row * G + group) * N, db = DB + (row * G + group) * N;

            ChunkTile.FirstOfDocument(length, Sequence is null ? null : Sequence + (long)batch * L, start, first);
            SmallMatrix.Transpose(length, N, b, (long)G * N, transposed);
            SmallMatrix.Multiply(length, length, N, c, (long)G * N, 1, transposed, length, cb, length, triangle: Triangle.LowerResult);

            for (int head = group * Shape.HeadsPerGroup; head < (group + 1) * Shape.HeadsPerGroup; head++)
            {
                T* x = X + (row * H + head) * P, dy = DY + (row * H + head) * P, dx = DX + (row * H + head) * P;
                T* dt = Dt + row * H + head, ddt = DDt + row * H + head;
                long state = ((long)part * H + head) * P * N;
                ChunkTile.Decay(length, dt, H, A[head], high, low);
                ChunkTile.DecayTriangle(length, high, low, decay);

                // What came from the carried state. carried[s] becomes g·(exp(a) C h): the gradient of a_s through exp(a_s).
                for (int s = 0; s < length; s++)
                    new ReadOnlySpan<T>(dy + (long)s * H * P, P).CopyTo(new Span<T>(g + (long)s * P, P));
                ChunkTile.Carried(length, high, first, carried);
                ChunkTile.ScaleRows(length, P, g, P, carried, 1, tile);
                SmallMatrix.Multiply(P, N, length, tile, 1, P, c, (long)G * N, DStates + state, N);
                SmallMatrix.Multiply(length, N, P, tile, P, 1, States + state, N, fromState, N);
                for (int s = 0; s < length; s++)
                    carried[s] = AddAndDot(N, fromState + (long)s * N, c + (long)s * G * N, dc + (long)s * N);

                // What came from inside the chunk.
                ChunkTile.ScaleRows(length, P, x, (long)H * P, dt, H, tile);
                SmallMatrix.Transpose(length, P, tile, P, transposed);
                SmallMatrix.Multiply(length, length, P, g, P, 1, transposed, length, dm, length, triangle: Triangle.LowerResult);
                Mix(length, cb, decay, first, dm, m, dcb, columns, inside);
                SmallMatrix.Multiply(length, P, length, m, 1, length, g, P, dtile, P, triangle: Triangle.UpperLeft);

                ChunkTile.Skip(head, P, D, SkipsPerHead, skip);
                new Span<T>(dskip, P).Clear();
                double rate = double.CreateTruncating(A[head]), later = 0, sum = 0;
                for (int s = length - 1; s >= 0; s--)
                {
                    // dt_s·A is in a_s and in all that follow.
                    later += double.CreateTruncating(carried[s]);
                    double slope = later + double.CreateTruncating(inside[s]), step = double.CreateTruncating(dt[(long)s * H]);
                    T direct = Finish(P, dt[(long)s * H], dtile + (long)s * P, g + (long)s * P, x + (long)s * H * P, skip, dx + (long)s * H * P, dskip);
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

            SmallMatrix.Multiply(length, N, length, dcb, length, 1, b, (long)G * N, dc, N, add: true, Triangle.LowerLeft);
            for (int s = 0; s < length; s++)
                new ReadOnlySpan<T>(dc + (long)s * N, N).CopyTo(new Span<T>(DC + ((row + s) * G + group) * N, N));
            SmallMatrix.Multiply(length, N, length, dcb, 1, length, c, (long)G * N, db, (long)G * N, triangle: Triangle.UpperLeft);
        }

        /// <summary>
        /// From dM: m = C·Bᵀ ∘ L and d(C·Bᵀ) += dM ∘ L; and for every position t, inside[t] = Σ T_ms over s &lt; t ≤ m, where T = dM ∘ m: the gradient of dt_t·A, which
        /// lies between s and m. Rows are taken from the last to the first, so that <paramref name="columns"/> holds the sums over m ≥ t when row t is reached.
        /// </summary>
        private static void Mix(int length, T* cb, T* decay, int* first, T* dm, T* m, T* dcb, T* columns, T* inside)
        {
            int width = Vector<T>.Count;
            new Span<T>(columns, length).Clear();
            for (int i = length - 1; i >= 0; i--)
            {
                T* cbi = cb + (long)i * length, l = decay + (long)i * (i + 1) / 2, dmi = dm + (long)i * length, mi = m + (long)i * length, dcbi = dcb + (long)i * length;
                int s = Math.Max(first[i], 0);
                new Span<T>(mi, s).Clear();
                Vector<T> sums = default;
                for (; s + width <= i; s += width)
                {
                    Vector<T> decays = Vector.Load(l + s), d = Vector.Load(dmi + s) * decays, product = Vector.Load(cbi + s);
                    Vector.Store(product * decays, mi + s);
                    Vector.Store(Vector.Load(dcbi + s) + d, dcbi + s);
                    Vector<T> column = SmallMatrix.Fused(d, product, Vector.Load(columns + s));
                    Vector.Store(column, columns + s);
                    sums += column;
                }
                T sum = Vector.Sum(sums);
                for (; s < i; s++)
                {
                    T d = dmi[s] * l[s];
                    mi[s] = cbi[s] * l[s];
                    dcbi[s] += d;
                    columns[s] += d * cbi[s];
                    sum += columns[s];
                }
                inside[i] = sum;
                mi[i] = cbi[i];
                dcbi[i] += dmi[i];
                new Span<T>(mi + i + 1, Math.Min(length, i + SmallMatrix.RowBlock) - i - 1).Clear();
            }
        }

        /// <summary>sum += row; returns row·with.</summary>
        private static T AddAndDot(int width, T* row, T* with, T* sum)
        {
            Vector<T> dots = default;
            int n = 0;
            for (; n + Vector<T>.Count <= width; n += Vector<T>.Count)
            {
                Vector<T> values = Vector.Load(row + n);
                dots = SmallMatrix.Fused(values, Vector.Load(with + n), dots);
                Vector.Store(Vector.Load(sum + n) + values, sum + n);
            }
            T dot = Vector.Sum(dots);
            for (; n < width; n++)
            {
                dot += row[n] * with[n];
                sum[n] += row[n];
            }
            return dot;
        }

        /// <summary>One row: dx = step · d(dt x) + skip ∘ g, dskip += g ∘ x; returns d(dt x)·x.</summary>
        private static T Finish(int width, T step, T* dtile, T* g, T* x, T* skip, T* dx, T* dskip)
        {
            Vector<T> dots = default;
            int p = 0;
            for (; p + Vector<T>.Count <= width; p += Vector<T>.Count)
            {
                Vector<T> d = Vector.Load(dtile + p), gs = Vector.Load(g + p), xs = Vector.Load(x + p);
                Vector.Store(SmallMatrix.Fused(Vector.Load(skip + p), gs, new Vector<T>(step) * d), dx + p);
                Vector.Store(SmallMatrix.Fused(gs, xs, Vector.Load(dskip + p)), dskip + p);
                dots = SmallMatrix.Fused(d, xs, dots);
            }
            T dot = Vector.Sum(dots);
            for (; p < width; p++)
            {
                dx[p] = step * dtile[p] + skip[p] * g[p];
                dskip[p] += g[p] * x[p];
                dot += dtile[p] * x[p];
            }
            return dot;
        }
    }
}
