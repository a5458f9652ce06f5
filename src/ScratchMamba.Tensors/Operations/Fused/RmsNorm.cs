using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>Root-mean-square normalisation of each row: <c>y = w · x / √(mean(x²) + ε)</c>.</summary>
    /// <param name="x">[…, D]; a row is what lies along the last axis.</param>
    /// <param name="weight">w, [D].</param>
    /// <param name="epsilon">ε, which keeps a row of zeros finite.</param>
    /// <param name="result">The type of y, where it is not that of x: one of 16 bits.</param>
    /// <exception cref="ShapeException">The weight is not a vector as long as a row.</exception>
    /// <remarks>Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.</remarks>
    public static Tensor RmsNorm(this Tensor x, Tensor weight, double epsilon = 1e-5, DType? result = null) =>
        Tensor.Apply(new RmsNorm(epsilon, result == x.DType ? null : result), x, weight);
}

/// <summary>Root-mean-square normalisation of each row: <c>y = w · x / √(mean(x²) + ε)</c>, with inputs x […, D] and w [D].</summary>
public readonly record struct RmsNorm(double Epsilon, DType? Result = null) : IPrimitive
{
    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public bool IsRepeated(ReadOnlySpan<TensorType> outputs) => outputs[0].DType.IsNarrow();

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(RmsNorm), inputs, 2);
        CheckRow(nameof(RmsNorm), inputs, inputs[1]);
        return [inputs[0] with { DType = Result ?? inputs[0].DType }];
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
        if (Elements.Codes(x.Shape.Columns, x.DType, call.Inputs[1].DType, call.Outputs[0].DType) is not { } codes)
            return null;
        return x.Count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "rms_norm", x.Shape.Rows, [Slot.In(0), Slot.In(1), Slot.Out(0)], new RowScalars((uint)x.Shape.Rows, (uint)x.Shape.Columns, (float)Epsilon),
            RowLaunch.Norm(call.Device, x.Shape.Columns, codes));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) || Result is not null ? this with { Result = null } : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        // Of a residual stream, what went past the norm.
        Tensor? past = call.TakeArrived(0);
        bool isAlike = past?.Type == call.InputType(0);
        Tensor[] gradients = Tensor.ApplyAll(new RmsNormGradient(Epsilon, isAlike), [call.Input(0), call.Input(1), call.Gradient(0), .. isAlike ? (Tensor[])[past!] : []]);
        return [past is null || isAlike ? gradients[0] : past + gradients[0], gradients[1]];
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor x = inputs[0], weight = inputs[1];
        return [x * (x.Square().Mean(-1, keep: true) + Epsilon).ReciprocalSqrt() * weight];
    }

    /// <summary>What the shader of the norm takes.</summary>
    internal readonly record struct RowScalars(uint Rows, uint Columns, float Epsilon);

    /// <summary>1 / √(sum / count + ε).</summary>
    internal static T Scale<T>(T sumOfSquares, int count, double epsilon) where T : unmanaged, IFloatingPointIeee754<T> =>
        T.One / T.Sqrt(sumOfSquares / T.CreateChecked(count) + T.CreateChecked(epsilon));

    internal static void CheckRow(string operation, ReadOnlySpan<TensorType> inputs, TensorType weight)
    {
        Rules.RequireMixed(operation, inputs);
        ShapeException.ThrowUnless(inputs[0].Shape.Rank >= 1 && weight.Shape == [inputs[0].Shape.Columns], operation, "weight must be a vector as long as a row", inputs);
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        if (shape.Count == 0)
            return;
        int rowsPerPart = Math.Max(1, 4096 / shape.Columns);
        var body = new Body<T>
        {
            X = call.InputAddress<T>(0),
            Weight = call.InputAddress<T>(1),
            Y = call.OutputAddress<T>(0),
            Rows = shape.Rows,
            Columns = shape.Columns,
            RowsPerPart = rowsPerPart,
            Epsilon = Epsilon,
        };
        CpuParallel.For(call.Threads, checked((int)((shape.Rows + rowsPerPart - 1) / rowsPerPart)), (long)rowsPerPart * shape.Columns, body);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* X, Weight, Y;
        public long Rows;
        public int Columns, RowsPerPart;
        public double Epsilon;

        public readonly void Invoke(int index)
        {
            var weight = new ReadOnlySpan<T>(Weight, Columns);
            long end = Math.Min(Rows, ((long)index + 1) * RowsPerPart);
            for (long row = (long)index * RowsPerPart; row < end; row++)
            {
                var x = new ReadOnlySpan<T>(X + row * Columns, Columns);
                var y = new Span<T>(Y + row * Columns, Columns);
                TensorPrimitives.Multiply(x, Scale(TensorPrimitives.SumOfSquares(x), Columns, Epsilon), y);
                TensorPrimitives.Multiply(y, weight, y);
            }
        }
    }
}

/// <summary>
/// The derivative of <see cref="RmsNorm"/>: with r = 1 / √(mean(x²) + ε) and g = w · dy,
/// <c>dx = r · g − x · r³ · mean(g · x) + past</c> and <c>dw = Σ dy · x · r</c> over the rows. Inputs x, w, dy and, if said so, past; outputs dx, dw.
/// </summary>
/// <param name="Epsilon">ε.</param>
/// <param name="HasPast">Whether there is something to be added to dx: of a residual stream, the gradient of what went past the norm.</param>
public readonly record struct RmsNormGradient(double Epsilon, bool HasPast = false) : IPrimitive
{
    private readonly record struct Scalars(uint Rows, uint Columns, float Epsilon, uint Run);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(RmsNormGradient), inputs, HasPast ? 4 : 3);
        RmsNorm.CheckRow(nameof(RmsNormGradient), inputs, inputs[1]);
        ShapeException.ThrowUnless(inputs[2].Shape == inputs[0].Shape, nameof(RmsNormGradient), "the gradient must have the shape of x", inputs);
        ShapeException.ThrowUnless(!HasPast || inputs[3] == inputs[0], nameof(RmsNormGradient), "what is added must have the type of x", inputs);
        return [inputs[0], inputs[1]];
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
        long rows = x.Shape.Rows;
        int columns = x.Shape.Columns;
        if (Elements.Codes(columns, x.DType, call.Inputs[1].DType, call.Inputs[2].DType, x.DType) is not { } codes || call.Inputs[1].DType != DType.F32)
            return null;
        double epsilon = Epsilon;
        return RowLaunch.Gradient(
            call.Device, "rms_norm_gradient", rows, columns, groups: 1, [Slot.In(0), Slot.In(1), Slot.In(2), Slot.In(HasPast ? 3 : 0), Slot.Out(0)], [.. codes, HasPast ? 1u : 0], Slot.Out(1),
            run => new Scalars((uint)rows, (uint)columns, (float)epsilon, run));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor[] gradients = Differentiation.DefinitionOfGradient(new RmsNorm(Epsilon), inputs[..2], inputs[2..3], count: 2);
        return HasPast ? [inputs[3] + gradients[0], gradients[1]] : gradients;
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        var body = new Body<T>
        {
            X = call.InputAddress<T>(0),
            Weight = call.InputAddress<T>(1),
            Dy = call.InputAddress<T>(2),
            Past = HasPast ? call.InputAddress<T>(3) : null,
            Dx = call.OutputAddress<T>(0),
            Columns = shape.Columns,
            Epsilon = Epsilon,
        };
        PartialSums.OfRows(call.Threads, shape.Rows, shape.Columns, room: 0, costPerElement: 3, body, call.OutputAddress<T>(1));
    }

    /// <summary>A row in two passes: the first finds Σ x² and Σ dy·x·w, which the second needs.</summary>
    private unsafe struct Body<T> : IRowBody<T> where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* X, Weight, Dy, Past, Dx;
        public int Columns;
        public double Epsilon;

        public readonly void Row(long row, T* dw, T* room)
        {
            T* x = X + row * Columns, dy = Dy + row * Columns, dx = Dx + row * Columns;
            Vector<T> squares = default, products = default;
            int i = 0;
            for (; i <= Columns - Vector<T>.Count; i += Vector<T>.Count)
            {
                Vector<T> xs = Vector.Load(x + i);
                squares = VectorMath.MultiplyAdd(xs, xs, squares);
                products = VectorMath.MultiplyAdd(xs * Vector.Load(dy + i), Vector.Load(Weight + i), products);
            }
            T square = Vector.Sum(squares), product = Vector.Sum(products);
            for (; i < Columns; i++)
            {
                square += x[i] * x[i];
                product += x[i] * dy[i] * Weight[i];
            }
            T scale = RmsNorm.Scale(square, Columns, Epsilon), pull = scale * scale * scale * product / T.CreateChecked(Columns);
            for (i = 0; i <= Columns - Vector<T>.Count; i += Vector<T>.Count)
            {
                Vector<T> xs = Vector.Load(x + i), scaled = Vector.Load(dy + i) * scale;
                VectorMath.MultiplyAdd(xs, scaled, Vector.Load(dw + i)).Store(dw + i);
                VectorMath.MultiplyAdd(xs, new Vector<T>(-pull), scaled * Vector.Load(Weight + i)).Store(dx + i);
            }
            for (; i < Columns; i++)
            {
                T scaled = dy[i] * scale;
                dw[i] += x[i] * scaled;
                dx[i] = scaled * Weight[i] - x[i] * pull;
            }
            if (Past is not null)
                TensorPrimitives.Add(new ReadOnlySpan<T>(Past + row * Columns, Columns), new ReadOnlySpan<T>(dx, Columns), new Span<T>(dx, Columns));
        }
    }
}
