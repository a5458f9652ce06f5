using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;

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
        if (x.DType != DType.F32)
            return null;
        GroupScalars scalars = GroupsOf(x.Shape, this);
        return x.Count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "gated_rms_norm", scalars.Parts, [Slot.In(0), Slot.In(1), Slot.In(2), Slot.Out(0)], scalars,
            RowLaunch.Workgroup(call.Device, (int)scalars.Width), NormBeforeGate ? 1u : 0);
    }

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
                    var x = new ReadOnlySpan<T>(X + start, width);
                    var gate = new ReadOnlySpan<T>(Gate + start, width);
                    var y = new Span<T>(Y + start, width);
                    VectorMath.Map<Silu, T>(gate, y);
                    TensorPrimitives.Multiply(y, x, y);
                    T sum = TensorPrimitives.SumOfSquares(Operation.NormBeforeGate ? x : y);
                    TensorPrimitives.Multiply(y, RmsNorm.Scale(sum, width, Operation.Epsilon), y);
                    TensorPrimitives.Multiply(y, new ReadOnlySpan<T>(Weight + column, width), y);
                }
            }
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
        if (x.DType != DType.F32)
            return null;
        long rows = x.Shape.Rows;
        int columns = x.Shape.Columns;
        if (columns == 0)
            return Tensors.Launch.Nothing;
        GatedRmsNorm.GroupScalars scalars = GatedRmsNorm.GroupsOf(x.Shape, new GatedRmsNorm(Epsilon, Groups, NormBeforeGate));
        var dispatches = new List<Dispatch>();
        if (rows > 0)
        {
            dispatches.Add(Dispatch.Linear(
                "gated_rms_norm_gradient", scalars.Parts,
                [Slot.In(0), Slot.In(1), Slot.In(2), Slot.In(3), Slot.Out(0), Slot.Out(1), Slot.ScratchOut(0)], scalars,
                RowLaunch.Workgroup(call.Device, (int)scalars.Width), NormBeforeGate ? 1u : 0));
        }
        long partial = RowLaunch.WeightGradient(call.Device, dispatches, Slot.In(0), Slot.In(1), Slot.In(3), rows, columns, Groups, Slot.Out(2));
        return new Launch(dispatches, Math.Max(1, rows * Groups) * sizeof(float), partial);
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) =>
        Differentiation.DefinitionOfGradient(new GatedRmsNorm(Epsilon, Groups, NormBeforeGate), inputs[..3], inputs[3..], count: 3);

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        int rowsPerPart = PartialSums.RowsPerPart(shape.Rows), parts = (int)((shape.Rows + rowsPerPart - 1) / rowsPerPart), columns = shape.Columns;
        T[] scratch = ArrayPool<T>.Shared.Rent(checked(3 * parts * columns));
        fixed (T* partial = scratch)
        {
            var body = new Body<T>
            {
                X = call.InputAddress<T>(0),
                Gate = call.InputAddress<T>(1),
                Weight = call.InputAddress<T>(2),
                Dy = call.InputAddress<T>(3),
                Dx = call.OutputAddress<T>(0),
                Dgate = call.OutputAddress<T>(1),
                Partial = partial,
                Temporary = partial + (long)parts * columns,
                Rows = shape.Rows,
                Columns = columns,
                RowsPerPart = rowsPerPart,
                Operation = this,
            };
            if (columns > 0)
                CpuParallel.For(call.Threads, parts, 12L * rowsPerPart * columns, body);
            PartialSums.Add(call.Threads, partial, parts, columns, call.OutputAddress<T>(2));
        }
        ArrayPool<T>.Shared.Return(scratch);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* X, Gate, Weight, Dy, Dx, Dgate, Partial, Temporary;
        public long Rows;
        public int Columns, RowsPerPart;
        public GatedRmsNormGradient Operation;

        public readonly void Invoke(int index)
        {
            int width = Columns / Operation.Groups;
            new Span<T>(Partial + (long)index * Columns, Columns).Clear();
            long end = Math.Min(Rows, ((long)index + 1) * RowsPerPart);
            for (long row = (long)index * RowsPerPart; row < end; row++)
            {
                for (int column = 0; column < Columns; column += width)
                    Group(row * Columns + column, column, width, index);
            }
        }

        private readonly void Group(long start, int column, int width, int part)
        {
            var x = new ReadOnlySpan<T>(X + start, width);
            var gate = new ReadOnlySpan<T>(Gate + start, width);
            var weight = new ReadOnlySpan<T>(Weight + column, width);
            var dy = new ReadOnlySpan<T>(Dy + start, width);
            var dx = new Span<T>(Dx + start, width);
            var dgate = new Span<T>(Dgate + start, width);
            var dw = new Span<T>(Partial + (long)part * Columns + column, width);
            var silu = new Span<T>(Temporary + 2L * part * Columns, width);
            var work = new Span<T>(Temporary + (2L * part + 1) * Columns, width);

            // s = g·σ(g) and s′ = σ + s·(1 − σ), which is kept in dgate until it is used.
            VectorMath.Map<Sigmoid, T>(gate, dgate);
            TensorPrimitives.Multiply(gate, dgate, silu);
            TensorPrimitives.Subtract(T.One, dgate, work);
            TensorPrimitives.MultiplyAddEstimate(work, silu, dgate, dgate);

            if (Operation.NormBeforeGate)
            {
                T scale = RmsNorm.Scale(TensorPrimitives.SumOfSquares(x), width, Operation.Epsilon);
                TensorPrimitives.Multiply(weight, dy, dx);
                TensorPrimitives.Multiply(dgate, dx, dgate);
                TensorPrimitives.Multiply(dgate, x, dgate);
                TensorPrimitives.Multiply(dgate, scale, dgate);

                TensorPrimitives.Multiply(dy, silu, work);
                TensorPrimitives.Multiply(work, x, work);
                T mean = TensorPrimitives.Dot(work, weight) / T.CreateChecked(width);
                TensorPrimitives.MultiplyAddEstimate(work, scale, dw, dw);

                TensorPrimitives.Multiply(dx, silu, dx);
                TensorPrimitives.Multiply(dx, scale, dx);
                TensorPrimitives.MultiplyAddEstimate(x, -scale * scale * scale * mean, dx, dx);
            }
            else
            {
                TensorPrimitives.Multiply(x, silu, work);
                T scale = RmsNorm.Scale(TensorPrimitives.SumOfSquares(work), width, Operation.Epsilon);
                TensorPrimitives.Multiply(work, dy, dx);
                T mean = TensorPrimitives.Dot(dx, weight) / T.CreateChecked(width);
                TensorPrimitives.MultiplyAddEstimate(dx, scale, dw, dw);

                TensorPrimitives.Multiply(weight, dy, dx);
                TensorPrimitives.Multiply(dx, scale, dx);
                TensorPrimitives.MultiplyAddEstimate(work, -scale * scale * scale * mean, dx, dx);

                TensorPrimitives.Multiply(dgate, x, dgate);
                TensorPrimitives.Multiply(dgate, dx, dgate);
                TensorPrimitives.Multiply(dx, silu, dx);
            }
        }
    }
}
