using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// The gradients of <see cref="StateSpaceScan"/> for x, dt, A, B, C and, if said so, D and the initial state. Inputs those of the scan, then the states before its chunks and the
/// gradients of y and of the final state.
/// The gradient of dt·A at a position is a sum of products of later outputs with earlier inputs. It is formed without any difference (as row sums minus column sums
/// would be), because a long step decouples the two sides: its gradient is tiny beside the terms that would have to cancel, and is multiplied by that step in dA.
/// </summary>
/// <param name="Chunk">Positions per chunk.</param>
/// <param name="HasSkip">Whether there is a D.</param>
/// <param name="HasInitial">Whether there is an initial state.</param>
/// <param name="HasSequence">Whether there is a sequence.</param>
/// <param name="Precision">How exactly matrices are multiplied.</param>
public readonly record struct StateSpaceScanGradient(int Chunk, bool HasSkip, bool HasInitial, bool HasSequence, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    private StateSpaceScan Forward => new(Chunk, HasSkip, HasInitial, HasSequence, Keeps: true, Precision);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(StateSpaceScanGradient), inputs, Forward.InputCount + 3);
        TensorType[] outputs = Forward.Infer(inputs[..^3]);
        ShapeException.ThrowUnless(
            inputs[^3] == outputs[2] && inputs[^2] == outputs[0] && inputs[^1] == outputs[1], nameof(StateSpaceScanGradient),
            "the last three inputs must be the states and the gradients of the outputs and of the final state", inputs);
        return inputs[..(HasSequence ? Forward.InputCount - 1 : Forward.InputCount)].ToArray();
    }

    /// <inheritdoc/>
    public Work CountWork(ReadOnlySpan<TensorType> inputs)
    {
        // Each product forward has two in the gradient.
        Work forward = new StateSpaceScan(Chunk, HasSkip, HasInitial, HasSequence, Keeps: true, Precision).CountWork(inputs[..^3]);
        return forward + forward;
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
    IReadOnlyList<SelfTest> IPrimitive.SelfTests => SelfTest.OfScan((chunk, of) => new(new StateSpaceScanGradient(chunk, true, false, false, of.Precision), of.X, of.Step, of.Decay, of.B, of.B, of.Skip, of.Before, of.X, of.Last));

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        StateSpaceScan forward = Forward;
        ScanShape shape = forward.ShapeOf(call.Inputs[..^3]);
        DType type = call.Inputs[^3].DType;
        var launch = new ScanLaunch(shape, call.Inputs[0].DType, call.Device, Precision) { States = type, DStates = type };
        int count = forward.InputCount;
        Slot x = Slot.In(0), dt = Slot.In(1), a = Slot.In(2), b = Slot.In(3), c = Slot.In(4), states = Slot.In(count), g = Slot.In(count + 1);
        uint skips = forward.Skips(call.Inputs);
        (int retention, var weights, var sums) = launch.Decays(dt, a, HasSequence ? Slot.In(forward.Sequence) : null);
        int products = launch.ProductsOf(b, c, forTiles: false);
        int dStates = launch.Scratch(shape.States.Count, launch.Added), dAdded = launch.Scratch(shape.States.Count, type);
        launch.State(g, sums.Carried, c, Slot.ScratchOut(dStates), asAdded: true);
        (int direct, int skip) = launch.ScanGradient(x, dt, HasSkip ? Slot.In(5) : null, skips, g, sums, products, Slot.Out(0));
        (int dProducts, int edges) = launch.ProductsGradient(x, dt, g, sums, products);
        launch.Pass(Slot.ScratchIn(dStates), retention, Slot.In(count + 2), Slot.ScratchOut(dAdded), HasInitial ? Slot.Out(forward.Initial) : null, backward: true);
        (int, int) dots = launch.GradientOfC(g, sums.Carried, states, c, dProducts, b, output: 4);
        int dRetention = launch.RetentionGradient(states, Slot.ScratchIn(dAdded));
        int ofState = launch.StateGradient(x, b, weights, Slot.ScratchIn(dAdded), dx: 0, dB: 3, (dProducts, c));
        launch.StepGradient(dt, a, ofState, (direct, dots, edges), (retention, dRetention), 1, 2);
        if (HasSkip)
            launch.SkipGradient(skip, skips, 5);
        return launch.Build();
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        StateSpaceScan forward = Forward;
        Tensor x = inputs[0], dt = inputs[1], a = inputs[2], b = inputs[3], states = inputs[^3];
        Tensor[] skip = HasSkip ? [inputs[5]] : [], sequence = HasSequence ? [inputs[forward.Sequence]] : [];
        Tensor retention = dt.ChunkRetention(a, HasSequence ? sequence[0] : null, Chunk);
        Tensor[] scan = Tensor.ApplyAll(new ChunkScanGradient(Chunk, HasSkip, HasSequence, Precision), [x, dt, a, b, inputs[4], states, .. skip, .. sequence, inputs[^2]]);
        Tensor[] passing = Tensor.ApplyAll(new StatePassingGradient(HasInitial), retention, states, scan[5], inputs[^1]);
        Tensor[] state = Tensor.ApplyAll(new ChunkStateGradient(Chunk, HasSequence, Precision), [x, dt, a, b, .. sequence, passing[0]]);
        (Tensor ofSteps, Tensor ofRates) = new ChunkRetention(Chunk, HasSequence).Gradients(dt, a, retention, passing[1]);
        return [scan[0] + state[0], scan[1] + state[1] + ofSteps, scan[2] + state[2] + ofRates, scan[3] + state[3], scan[4], .. scan[6..], .. passing[2..]];
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        StateSpaceScan forward = Forward;
        ScanShape shape = forward.ShapeOf(call.InputTypes()[..^3]);
        (int blocks, int heads) = StateSpaceScan.Divide(shape);
        var products = new ChunkProducts<T> { Matrix = new SmallMatrix(call.VectorBits), Shape = shape, B = call.InputAddress<T>(3), C = call.InputAddress<T>(4) };
        int skips = !HasSkip ? 0 : call.InputType(5).Shape.Rank == 2 ? shape.P : 1, all = checked(shape.B * shape.H), squares = checked(products.Count * products.Square);
        int rows = checked(shape.B * shape.L * shape.G * shape.N), parts = blocks > 1 ? blocks : 0;
        T[] rented = ArrayPool<T>.Shared.Rent(checked(squares * (1 + blocks) + all * (1 + skips) + 2 * parts * rows));
        fixed (T* memory = rented)
        {
            products.To = memory;
            products.Compute(call.Threads);
            T* dproducts = memory + squares, db = dproducts + (long)blocks * squares, dc = db + (long)parts * rows, rates = dc + (long)parts * rows, skipped = rates + all;
            var body = new Body<T>
            {
                Matrix = products.Matrix,
                Shape = shape,
                Blocks = blocks,
                Heads = heads,
                SkipsPerHead = skips,
                X = call.InputAddress<T>(0),
                Dt = call.InputAddress<T>(1),
                A = call.InputAddress<T>(2),
                B = products.B,
                C = products.C,
                Products = products,
                D = HasSkip ? call.InputAddress<T>(5) : null,
                Sequence = HasSequence ? call.InputAddress<int>(forward.Sequence) : null,
                States = call.InputAddress<T>(forward.InputCount),
                DY = call.InputAddress<T>(forward.InputCount + 1),
                DFinal = call.InputAddress<T>(forward.InputCount + 2),
                DX = call.OutputAddress<T>(0),
                DDt = call.OutputAddress<T>(1),
                DA = rates,
                DB = blocks > 1 ? db : call.OutputAddress<T>(3),
                DC = blocks > 1 ? dc : call.OutputAddress<T>(4),
                DProducts = dproducts,
                DD = skipped,
                DInitial = HasInitial ? call.OutputAddress<T>(forward.Initial) : null,
            };
            long q = shape.LongestChunk;
            CpuParallel.For(call.Threads, checked(shape.B * shape.G * blocks), shape.Chunks * q * (q + 4 * shape.N) / 8 * shape.P * heads, body);
            ChunkTile.SumRows(shape.B, shape.H, rates, call.Output<T>(2));
            if (HasSkip)
                ChunkTile.SumRows(shape.B, shape.H * skips, skipped, call.Output<T>(5));
            var closing = new Closing<T> { Products = products, Blocks = blocks, From = body, DB = call.OutputAddress<T>(3), DC = call.OutputAddress<T>(4) };
            CpuParallel.For(call.Threads, products.Count, q * (q + blocks) * shape.N / 8, closing);
        }
        ArrayPool<T>.Shared.Return(rented);
    }

    /// <summary>A part is one chunk of one group: what its blocks of heads gave B, C and C·Bᵀ is added up in order, and the gradient of the product carried to its factors.</summary>
    private unsafe struct Closing<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public ChunkProducts<T> Products;
        public Body<T> From;
        public int Blocks;
        public T* DB, DC;

        public readonly void Invoke(int index)
        {
            (SmallMatrix matrix, ScanShape shape) = (Products.Matrix, Products.Shape);
            (int N, int group, int part) = (shape.N, index % shape.G, index / shape.G);
            int chunk = part % shape.Chunks, batch = part / shape.Chunks, length = shape.Length(chunk), pitch = ChunkTile.Pitch(shape.LongestChunk), square = Products.Square;
            nint row = (nint)shape.G * N;
            long at = (((long)batch * shape.L + chunk * shape.Q) * shape.G + group) * N, rows = shape.B * shape.L * row, squares = (long)Products.Count * square;
            CpuScratch scratch = default;
            T* panels = scratch.Take<T>(matrix.PackedSize<T>(length, N)), dcb = From.DProducts + (long)index * square;
            for (int block = 1; block < Blocks; block++)
                Add(length * pitch, dcb, dcb + block * squares, dcb);
            for (int s = 0; s < length && Blocks > 1; s++)
            {
                T* db = DB + at + s * row, dc = DC + at + s * row, fromB = From.DB + at + s * row, fromC = From.DC + at + s * row;
                Add(N, fromB, fromB + rows, db);
                Add(N, fromC, fromC + rows, dc);
                for (int block = 2; block < Blocks; block++)
                {
                    Add(N, db, fromB + block * rows, db);
                    Add(N, dc, fromC + block * rows, dc);
                }
            }
            matrix.Pack(length, N, Products.C + at, row, 1, panels);
            matrix.Multiply(length, N, length, dcb, 1, pitch, panels, DB + at, row, add: true, triangle: Triangle.UpperLeft);
            matrix.Pack(length, N, Products.B + at, row, 1, panels);
            matrix.Multiply(length, N, length, dcb, pitch, 1, panels, DC + at, row, add: true, triangle: Triangle.LowerLeft);
        }

        private static void Add(int count, T* x, T* y, T* to) => TensorPrimitives.Add(new ReadOnlySpan<T>(x, count), new ReadOnlySpan<T>(y, count), new Span<T>(to, count));
    }

    /// <summary>
    /// A part is some heads of a group, led through all chunks from the last to the first, with dh, the gradients of their states, in the cache: transposed and packed, as the scan
    /// keeps h. With g = dy, L the decay inside a chunk, γ over it and w to its end, each head and chunk does six products:
    /// w·(B·dhᵀ) + (C·Bᵀ ∘ L)ᵀ·g = d(dt x); dB += (w dt x)·dh; dC += exp(a)g·h; dM = g·xᵀ, which gives d(C·Bᵀ); and dh = γ·dh + (exp(a)g)ᵀ·C.
    /// C·Bᵀ was computed before, and its gradient is carried to B and C once, after all heads. Triangles skip the half that is zero.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public SmallMatrix Matrix;
        public ScanShape Shape;
        public int Blocks, Heads, SkipsPerHead;
        public T* X, Dt, A, B, C, D, States, DY, DFinal, DX, DDt, DA, DB, DC, DD, DProducts, DInitial;
        public ChunkProducts<T> Products;
        public int* Sequence;

        public readonly void Invoke(int index)
        {
            (int L, int H, int P, int G, int N, int Q) = (Shape.L, Shape.H, Shape.P, Shape.G, Shape.N, Shape.LongestChunk);
            (int batch, int group, int block, int begin, int end) = Shape.HeadsOf(index, Blocks, Heads);
            int pitch = ChunkTile.Pitch(Q), state = P * N, packed = Matrix.PackedSize<T>(N, P);
            long square = (long)Q * pitch, wide = (long)Q * P, partial = (long)block * Shape.B * L * G * N;
            CpuScratch scratch = default;
            T* high = scratch.Take<T>(pitch), low = scratch.Take<T>(pitch), steps = scratch.Take<T>(pitch), carried = scratch.Take<T>(pitch), weight = scratch.Take<T>(pitch);
            T* columns = scratch.Take<T>(pitch), inside = scratch.Take<T>(pitch), ofState = scratch.Take<T>(pitch), skip = scratch.Take<T>(P), dskips = scratch.TakeZeros<T>((long)Heads * P);
            T* m = scratch.Take<T>(square), dm = scratch.TakeZeros<T>(square), dproducts = DProducts + (long)block * Products.Count * square;
            T* x = scratch.Take<T>(wide), g = scratch.Take<T>(wide), tile = scratch.Take<T>(wide), fromState = scratch.Take<T>((long)Q * N);
            T* across = scratch.Take<T>(Matrix.PackedSize<T>(P, N)), stateRows = scratch.Take<T>(Matrix.PackedSize<T>(P, N)), gPanels = scratch.Take<T>(Matrix.PackedSize<T>(Q, P));
            T* panels = scratch.Take<T>(Matrix.PackedSize<T>(P, Q)), held = scratch.Take<T>((long)Heads * packed);
            int* first = scratch.Take<int>(Q);
            double* rates = scratch.Take<double>(Heads);
            nint pitchOfB = (nint)G * N;
            new Span<double>(rates, Heads).Clear();

            for (int head = begin; head < end; head++)
                Matrix.Pack(N, P, DFinal + ((long)batch * H + head) * state, 1, N, held + (long)(head - begin) * packed);
            for (int chunk = Shape.Chunks - 1; chunk >= 0; chunk--)
            {
                int start = chunk * Shape.Q, length = Shape.Length(chunk);
                long row = (long)batch * L + start;
                T* b = B + (row * G + group) * N, c = C + (row * G + group) * N, db = DB + partial + (row * G + group) * N, dc = DC + partial + (row * G + group) * N;
                ChunkTile.FirstOfDocument(length, Sequence is null ? null : Sequence + (long)batch * L, start, first);
                T* cb = Products.Of(batch, chunk, group), dcb = dproducts + (cb - Products.To);
                new Span<T>(dcb, checked(length * pitch)).Clear();
                for (int s = 0; s < length; s++)
                {
                    new Span<T>(db + s * pitchOfB, N).Clear();
                    new Span<T>(dc + s * pitchOfB, N).Clear();
                }

                for (int head = begin; head < end; head++)
                {
                    long at = (row * H + head) * P;
                    T* dx = DX + at, ddt = DDt + row * H + head, dh = held + (long)(head - begin) * packed;
                    T* h = States + (((long)batch * Shape.Chunks + chunk) * H + head) * state;
                    ChunkTile.Gather(length, Dt + row * H + head, H, steps);
                    ChunkTile.Decay(length, steps, A[head], high, low);
                    ChunkTile.Carried(length, high, first, carried);
                    ChunkTile.ToEnd(length, high, low, first, weight);
                    ChunkTile.CopyRows(length, P, X + at, H * P, x);
                    ChunkTile.CopyRows(length, P, DY + at, H * P, g);
                    ChunkTile.PrefetchRows(length, P, dx, H * P);
                    T retention = carried[length - 1];
                    double ofRetention = 0;

                    // What the chunk adds to the state; the tile becomes w·(B·dhᵀ), a part of d(dt x).
                    bool isFollowed = !ChunkTile.IsZero(dh, packed), isPreceded = !ChunkTile.IsZero(h, state);
                    if (isFollowed)
                    {
                        Matrix.TransposePanels(N, P, dh, across);
                        Matrix.Multiply(length, P, N, b, pitchOfB, 1, dh, tile, P, scale: weight);
                        for (int s = 0; s < length; s++)
                        {
                            ofState[s] = steps[s] * ChunkTile.Dot(P, tile + (long)s * P, x + (long)s * P);
                            weight[s] *= steps[s];
                        }
                        Matrix.Multiply(length, N, P, x, P, 1, across, db, pitchOfB, add: true, scale: weight);
                    }
                    else
                    {
                        new Span<T>(ofState, length).Clear();
                    }

                    // What came from the state before. carried[s] becomes g·(exp(a) C h): the gradient of a_s through exp(a_s).
                    Matrix.Pack(length, P, g, P, 1, gPanels);
                    Matrix.Pack(P, length, x, 1, P, panels);
                    Matrix.Multiply(length, length, P, g, P, 1, panels, dm, pitch, triangle: Triangle.LowerResult);
                    ChunkTile.MixGradient(length, pitch, cb, high, low, steps, first, dm, m, dcb, columns, inside);
                    Matrix.Multiply(length, P, length, m, 1, pitch, gPanels, tile, P, add: isFollowed, triangle: Triangle.UpperLeft);

                    Matrix.ScalePanels(length, P, carried, gPanels);
                    if (isPreceded)
                    {
                        Matrix.Pack(P, N, h, N, 1, stateRows);
                        Matrix.Multiply(length, N, P, g, P, 1, stateRows, fromState, N, scale: carried);
                        if (isFollowed)
                            ofRetention = double.CreateTruncating(TensorPrimitives.Dot(new ReadOnlySpan<T>(stateRows, Matrix.PackedSize<T>(P, N)), new ReadOnlySpan<T>(across, Matrix.PackedSize<T>(P, N))) * retention);
                        for (int s = 0; s < length; s++)
                            carried[s] = ChunkTile.AddAndDot(N, fromState + (long)s * N, c + s * pitchOfB, dc + s * pitchOfB);
                    }
                    else
                    {
                        new Span<T>(carried, length).Clear();
                    }
                    TensorPrimitives.Multiply(new ReadOnlySpan<T>(dh, packed), retention, new Span<T>(dh, packed));
                    Matrix.AddToPanels(N, P, length, c, 1, pitchOfB, gPanels, dh);

                    ChunkTile.Skip(head, P, D, SkipsPerHead, skip);
                    double rate = double.CreateTruncating(A[head]), later = ofRetention, before = 0;
                    for (int s = 0; s < length; s++)
                    {
                        // dt_s·A lies between the positions before and the end of the chunk.
                        T own = ofState[s];
                        ofState[s] = T.CreateTruncating(before);
                        before += double.CreateTruncating(own);
                    }
                    for (int s = length - 1; s >= 0; s--)
                    {
                        // dt_s·A is in a_s and in all that follow.
                        later += double.CreateTruncating(carried[s]);
                        double slope = later + double.CreateTruncating(inside[s]) + double.CreateTruncating(ofState[s]), step = double.CreateTruncating(steps[s]);
                        T direct = ChunkTile.Finish(P, steps[s], tile + (long)s * P, g + (long)s * P, x + (long)s * P, skip, dx + (long)s * H * P, dskips + (long)(head - begin) * P);
                        ddt[(long)s * H] = T.CreateTruncating(double.CreateTruncating(direct) + slope * rate);
                        rates[head - begin] += slope * step;
                    }
                }
            }

            for (int head = begin; head < end; head++)
            {
                long at = (long)batch * H + head;
                DA[at] = T.CreateTruncating(rates[head - begin]);
                T* dskip = dskips + (long)(head - begin) * P;
                if (SkipsPerHead == 1)
                    DD[at] = TensorPrimitives.Sum(new ReadOnlySpan<T>(dskip, P));
                else
                    new ReadOnlySpan<T>(dskip, SkipsPerHead).CopyTo(new Span<T>(DD + at * SkipsPerHead, SkipsPerHead));
                if (DInitial is not null)
                    Matrix.UnpackTransposed(N, P, held + (long)(head - begin) * packed, DInitial + at * state);
            }
        }
    }
}
