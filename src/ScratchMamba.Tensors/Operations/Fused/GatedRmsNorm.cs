using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// Root-mean-square normalisation with a gate: <c>y = w · v / √(mean(v²) + ε)</c> of <c>v = x · silu(gate)</c>, or,
    /// with <paramref name="normBeforeGate"/>, <c>y = w · x / √(mean(x²) + ε) · silu(gate)</c>.
    /// The mean is over each of <paramref name="groups"/> equal parts of the row.
    /// </summary>
    /// <param name="x">[…, D].</param>
    /// <param name="gate">Of the shape of x.</param>
    /// <param name="weight">w, [D].</param>
    /// <param name="epsilon">ε, which keeps a row of zeros finite.</param>
    /// <param name="groups">Into how many equal parts a row is divided; 1 takes the mean over its whole width.</param>
    /// <param name="normBeforeGate">Whether the gate is applied after the normalisation.</param>
    /// <exception cref="ShapeException">Shapes differ, or D is not a multiple of <paramref name="groups"/>.</exception>
    /// <remarks>Dao and Gu, Transformers are SSMs, 2024, section 7.</remarks>
    public static Tensor GatedRmsNorm(this Tensor x, Tensor gate, Tensor weight, double epsilon = 1e-5, int groups = 1, bool normBeforeGate = false) =>
        Tensor.Apply(new GatedRmsNorm(epsilon, groups, normBeforeGate), x, gate, weight);
}

/// <summary>
/// Root-mean-square normalisation of x · silu(gate) in <paramref name="Groups"/> equal parts of each row, or, with <paramref name="NormBeforeGate"/>,
/// of x, gated afterwards. Inputs x […, D], gate […, D], w [D].
/// </summary>
public readonly record struct GatedRmsNorm(double Epsilon, int Groups, bool NormBeforeGate) : IPrimitive
{
    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public bool IsRepeated(ReadOnlySpan<TensorType> outputs) => outputs[0].DType.IsNarrow();

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(GatedRmsNorm), inputs, 3);
        Check(nameof(GatedRmsNorm), inputs, Groups);
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
        TensorType x = call.Inputs[0];
        GroupScalars scalars = GroupsOf(x.Shape, this);
        if (Elements.Codes((int)scalars.Width, x.DType, call.Inputs[1].DType, call.Inputs[2].DType, x.DType) is not { } codes)
            return null;
        return x.Count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "gated_rms_norm", scalars.Parts, [Slot.In(0), Slot.In(1), Slot.In(2), Slot.Out(0)], scalars,
            RowLaunch.Norm(call.Device, (int)scalars.Width, [NormBeforeGate ? 1u : 0, .. codes]));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) =>
        Tensor.ApplyAll(new GatedRmsNormGradient(Epsilon, Groups, NormBeforeGate), call.Input(0), call.Input(1), call.Input(2), call.Gradient(0));

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor x = inputs[0], gate = inputs[1].Silu(), weight = inputs[2];
        return NormBeforeGate ? [Normalize(x) * weight * gate] : [Normalize(x * gate) * weight];
    }

    /// <summary>What the shaders of the norm take: the number of groups in all rows, in one row, and the elements of one.</summary>
    internal readonly record struct GroupScalars(uint Parts, uint Groups, uint Width, float Epsilon);

    internal static GroupScalars GroupsOf(Shape shape, GatedRmsNorm norm) =>
        new((uint)(shape.Rows * norm.Groups), (uint)norm.Groups, (uint)(shape.Columns / norm.Groups), (float)norm.Epsilon);

    internal static void Check(string operation, ReadOnlySpan<TensorType> inputs, int groups)
    {
        RmsNorm.CheckRow(operation, inputs, inputs[2]);
        ShapeException.ThrowUnless(inputs[1].Shape == inputs[0].Shape, operation, "x and gate must have one shape", inputs);
        ShapeException.ThrowUnless(groups >= 1 && inputs[0].Shape.Columns % groups == 0, operation, $"a row must divide into {groups} equal groups", inputs);
    }

    private Tensor Normalize(Tensor v)
    {
        int width = v.Shape.Columns / Groups;
        Tensor parts = v.Reshape([checked((int)v.Shape.Rows), Groups, width]);
        return (parts * (parts.Square().Mean(-1, keep: true) + Epsilon).ReciprocalSqrt()).Reshape(v.Shape);
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        if (shape.Count == 0)
            return;
        int rowsPerPart = Math.Max(1, 2048 / shape.Columns);
        var body = new Body<T>
        {
            X = call.InputAddress<T>(0),
            Gate = call.InputAddress<T>(1),
            Weight = call.InputAddress<T>(2),
            Y = call.OutputAddress<T>(0),
            Rows = shape.Rows,
            Columns = shape.Columns,
            RowsPerPart = rowsPerPart,
            Operation = this,
        };
        CpuParallel.For(call.Threads, checked((int)((shape.Rows + rowsPerPart - 1) / rowsPerPart)), 8L * rowsPerPart * shape.Columns, body);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* X, Gate, Weight, Y;
        public long Rows;
        public int Columns, RowsPerPart;
        public GatedRmsNorm Operation;

        public readonly void Invoke(int index)
        {
            int width = Columns / Operation.Groups;
            long end = Math.Min(Rows, ((long)index + 1) * RowsPerPart);
            for (long row = (long)index * RowsPerPart; row < end; row++)
            {
                for (int column = 0; column < Columns; column += width)
                {
                    long start = row * Columns + column;
                    Group(X + start, Gate + start, Weight + column, width, Y + start);
                }
            }
        }

        /// <summary>Two passes: y = x · silu(gate) and the sum of squares, then the scale.</summary>
        private readonly void Group(T* x, T* gate, T* weight, int width, T* y)
        {
            Vector<T> squares = default;
            int i = 0;
            for (; i <= width - Vector<T>.Count; i += Vector<T>.Count)
            {
                Vector<T> xs = Vector.Load(x + i), gated = xs * Gates.Silu(Vector.Load(gate + i)), normed = Operation.NormBeforeGate ? xs : gated;
                gated.Store(y + i);
                squares = VectorMath.MultiplyAdd(normed, normed, squares);
            }
            if (i < width)
            {
                int rest = width - i;
                Vector<T> xs = VectorMath.LoadPart(new ReadOnlySpan<T>(x + i, rest)), gated = xs * Gates.Silu(VectorMath.LoadPart(new ReadOnlySpan<T>(gate + i, rest)));
                Vector<T> normed = Operation.NormBeforeGate ? xs : gated;
                VectorMath.StorePart(gated, new Span<T>(y + i, rest));
                squares = VectorMath.MultiplyAdd(normed, normed, squares);
            }
            T scale = RmsNorm.Scale(Vector.Sum(squares), width, Operation.Epsilon);
            for (i = 0; i <= width - Vector<T>.Count; i += Vector<T>.Count)
                (Vector.Load(y + i) * scale * Vector.Load(weight + i)).Store(y + i);
            for (; i < width; i++)
                y[i] = y[i] * scale * weight[i];
        }
    }
}

/// <summary>
/// The derivative of <see cref="GatedRmsNorm"/>. With s = silu(gate), r = 1 / √(mean(v²) + ε), v = x · s and g = w · dy:
/// <c>dv = r · g − v · r³ · mean(g · v)</c>, <c>dx = dv · s</c>, <c>dgate = dv · x · s′</c>, <c>dw = Σ dy · v · r</c>. With the norm before the gate, v = x and g = w · dy · s:
/// <c>dx = dv</c>, <c>dgate = w · dy · x · r · s′</c>, <c>dw = Σ dy · s · x · r</c>. Inputs x, gate, w, dy; outputs dx, dgate, dw.
/// </summary>
public readonly record struct GatedRmsNormGradient(double Epsilon, int Groups, bool NormBeforeGate) : IPrimitive
{
    private readonly record struct Scalars(uint Rows, uint Groups, uint Width, float Epsilon, uint Run);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(GatedRmsNormGradient), inputs, 4);
        GatedRmsNorm.Check(nameof(GatedRmsNormGradient), inputs, Groups);
        ShapeException.ThrowUnless(inputs[3].Shape == inputs[0].Shape, nameof(GatedRmsNormGradient), "the gradient must have the shape of x", inputs);
        return [inputs[0], inputs[1], inputs[2]];
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
        TensorType x = call.Inputs[0];
        GatedRmsNorm.GroupScalars scalars = GatedRmsNorm.GroupsOf(x.Shape, new GatedRmsNorm(Epsilon, Groups, NormBeforeGate));
        if (Elements.Codes((int)scalars.Width, x.DType, call.Inputs[1].DType, call.Inputs[2].DType, call.Inputs[3].DType) is not { } codes || call.Inputs[2].DType != DType.F32)
            return null;
        return RowLaunch.Gradient(
            call.Device, "gated_rms_norm_gradient", x.Shape.Rows, x.Shape.Columns, Groups,
            [Slot.In(0), Slot.In(1), Slot.In(2), Slot.In(3), Slot.Out(0), Slot.Out(1)], [NormBeforeGate ? 1u : 0, .. codes], Slot.Out(2),
            run => new Scalars((uint)x.Shape.Rows, scalars.Groups, scalars.Width, scalars.Epsilon, run));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) =>
        Differentiation.DefinitionOfGradient(new GatedRmsNorm(Epsilon, Groups, NormBeforeGate), inputs[..3], inputs[3..], count: 3);

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        var body = new Body<T>
        {
            X = call.InputAddress<T>(0),
            Gate = call.InputAddress<T>(1),
            Weight = call.InputAddress<T>(2),
            Dy = call.InputAddress<T>(3),
            Dx = call.OutputAddress<T>(0),
            Dgate = call.OutputAddress<T>(1),
            Columns = shape.Columns,
            Operation = this,
        };
        PartialSums.OfRows(call.Threads, shape.Rows, shape.Columns, room: shape.Columns / Groups, costPerElement: 12, body, call.OutputAddress<T>(2));
    }

    /// <summary>
    /// A group of a row in two passes. The first finds Σ v² and Σ dy·x·s·w, and keeps s in scratch memory and s′ in dgate; the second needs the sums. dw has the summand
    /// dy·x·s·r in both forms; with h = w·dy·r and k = r³ · mean, the norm of x·s gives dv = h − x·s·k, dx = dv·s and dgate = dv·x·s′; that of x gives dx = h·s − x·k and dgate = h·x·s′.
    /// </summary>
    private unsafe struct Body<T> : IRowBody<T> where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* X, Gate, Weight, Dy, Dx, Dgate;
        public int Columns;
        public GatedRmsNormGradient Operation;

        public readonly void Row(long row, T* dw, T* room)
        {
            int width = Columns / Operation.Groups;
            for (int column = 0; column < Columns; column += width)
                Group(row * Columns + column, Weight + column, width, dw + column, room);
        }

        private readonly void Group(long start, T* weight, int width, T* dw, T* silu)
        {
            T* x = X + start, gate = Gate + start, dy = Dy + start, dx = Dx + start, dgate = Dgate + start;
            Vector<T> squares = default, products = default;
            int i = 0;
            for (; i <= width - Vector<T>.Count; i += Vector<T>.Count)
            {
                (Vector<T> s, Vector<T> slope) = SiluAndSlope(Vector.Load(gate + i));
                s.Store(silu + i);
                slope.Store(dgate + i);
                Sums(Vector.Load(x + i), s, Vector.Load(dy + i), Vector.Load(weight + i), ref squares, ref products);
            }
            if (i < width)
            {
                int rest = width - i;
                (Vector<T> s, Vector<T> slope) = SiluAndSlope(Part(gate + i, rest));
                VectorMath.StorePart(s, new Span<T>(silu + i, rest));
                VectorMath.StorePart(slope, new Span<T>(dgate + i, rest));
                Sums(Part(x + i, rest), s, Part(dy + i, rest), Part(weight + i, rest), ref squares, ref products);
            }
            T scale = RmsNorm.Scale(Vector.Sum(squares), width, Operation.Epsilon), pull = scale * scale * scale * Vector.Sum(products) / T.CreateChecked(width);
            for (i = 0; i <= width - Vector<T>.Count; i += Vector<T>.Count)
            {
                Vector<T> dws = Vector.Load(dw + i);
                (Vector<T> dxs, Vector<T> dgates) = Gradients(
                    Vector.Load(x + i), Vector.Load(silu + i), Vector.Load(dgate + i), Vector.Load(dy + i), Vector.Load(weight + i), scale, pull, ref dws);
                dxs.Store(dx + i);
                dgates.Store(dgate + i);
                dws.Store(dw + i);
            }
            if (i < width)
            {
                int rest = width - i;
                Vector<T> dws = Part(dw + i, rest);
                (Vector<T> dxs, Vector<T> dgates) = Gradients(
                    Part(x + i, rest), Part(silu + i, rest), Part(dgate + i, rest), Part(dy + i, rest), Part(weight + i, rest), scale, pull, ref dws);
                VectorMath.StorePart(dxs, new Span<T>(dx + i, rest));
                VectorMath.StorePart(dgates, new Span<T>(dgate + i, rest));
                VectorMath.StorePart(dws, new Span<T>(dw + i, rest));
            }
        }

        private static Vector<T> Part(T* from, int count) => VectorMath.LoadPart(new ReadOnlySpan<T>(from, count));

        /// <summary>s = g·σ(g) and s′ = σ + s·(1 − σ).</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static (Vector<T> Silu, Vector<T> Slope) SiluAndSlope(Vector<T> gate)
        {
            Vector<T> bounded = Gates.Bounded(gate);
            (Vector<T> sigmoid, Vector<T> complement) = Gates.Sigmoid(bounded);
            return (VectorMath.AtLeast(-VectorMath.ExpLimit<T>(), gate) * sigmoid, VectorMath.MultiplyAdd(bounded * sigmoid, complement, sigmoid));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Sums(Vector<T> x, Vector<T> silu, Vector<T> dy, Vector<T> weight, ref Vector<T> squares, ref Vector<T> products)
        {
            Vector<T> gated = x * silu, normed = Operation.NormBeforeGate ? x : gated;
            squares = VectorMath.MultiplyAdd(normed, normed, squares);
            products = VectorMath.MultiplyAdd(dy * gated, weight, products);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly (Vector<T> Dx, Vector<T> Dgate) Gradients(
            Vector<T> x, Vector<T> silu, Vector<T> slope, Vector<T> dy, Vector<T> weight, T scale, T pull, ref Vector<T> dw)
        {
            Vector<T> scaled = dy * scale, h = scaled * weight, pulls = new(-pull);
            dw = VectorMath.MultiplyAdd(scaled * x, silu, dw);
            if (Operation.NormBeforeGate)
                return (VectorMath.MultiplyAdd(x, pulls, h * silu), h * x * slope);
            Vector<T> dv = VectorMath.MultiplyAdd(x * silu, pulls, h);
            return (dv * silu, dv * x * slope);
        }
    }
}
