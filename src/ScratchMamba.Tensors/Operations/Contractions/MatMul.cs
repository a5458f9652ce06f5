using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// The matrix product <c>C = A · B + D</c> of the last two axes: A [..., M, K], B [..., K, N], C [..., M, N].
    /// Leading axes must be equal, or either operand is a single matrix that all of the other's share.
    /// A linear layer is <c>x.MatMul(w, transposeB: true)</c> with w [out, in].
    /// </summary>
    /// <param name="a">The left operand.</param>
    /// <param name="b">The right operand; transposed, it may be one matrix in few bits (BF16, F16, Q8_0, Q4_0) beside F32, which is widened as it is read; beside quantised ones the CPU rounds up to 12 rows of A to 16 bits, an error of about 2e-5.</param>
    /// <param name="transposeA">Whether <paramref name="a"/> holds Aᵀ, [..., K, M].</param>
    /// <param name="transposeB">Whether <paramref name="b"/> holds Bᵀ, [..., N, K].</param>
    /// <param name="precision">How exactly.</param>
    /// <param name="result">The type of C where both operands are of 16 bits: theirs, or F32.</param>
    /// <param name="addend">D, of C's shape, such as a residual stream, or a row [N], such as a bias, that is added to each of C's; of C's type, or F32 beside 16 bits. Null for nothing.</param>
    /// <exception cref="ShapeException">The inner extents or the leading axes differ, an operand is not at least a matrix, or D does not fit.</exception>
    public static Tensor MatMul(
        this Tensor a, Tensor b, bool transposeA = false, bool transposeB = false, MatMulPrecision precision = MatMulPrecision.Full, DType? result = null, Tensor? addend = null) =>
        addend is null ? Tensor.Apply(new MatMul(transposeA, transposeB, precision, result), a, b) : Tensor.Apply(new MatMul(transposeA, transposeB, precision, result, HasAddend: true), a, b, addend);
}

/// <summary>
/// Matrix product over the last two axes: <c>C = A · B + D</c>, where either operand may be given transposed, and either may be one matrix shared by all of the other's.
/// Inputs A, B and, if said so, D: of C's shape, or a row.
/// </summary>
public readonly record struct MatMul(bool TransposeA, bool TransposeB, MatMulPrecision Precision = MatMulPrecision.Full, DType? Result = null, bool HasAddend = false) : ITunable
{
    private const int Addend = 2;

    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0) | Saved.Input(1);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(MatMul), inputs, HasAddend ? 3 : 2);
        if (inputs[0].DType.IsNarrow())
        {
            ShapeException.ThrowUnless(inputs[0].DType == inputs[1].DType, nameof(MatMul), "both operands must be of one type of 16 bits", inputs);
        }
        else if (inputs[1].DType.IsCompact())
        {
            ShapeException.ThrowUnless(
                inputs[0].DType == DType.F32 && TransposeB && inputs[1].Shape.Rank == 2, nameof(MatMul), $"{inputs[1].DType} is multiplied as one transposed matrix [N, K] on the right of F32", inputs);
        }
        else
        {
            Rules.RequireFloating(nameof(MatMul), inputs[..2]);
        }
        Shape a = inputs[0].Shape, b = inputs[1].Shape;
        ShapeException.ThrowUnless(a.Rank >= 2 && b.Rank >= 2, nameof(MatMul), "both operands must have at least two axes; reshape a vector to a row or a column", inputs);
        (int m, int inner) = Extents(a, TransposeA);
        (int inner2, int n) = Extents(b, TransposeB);
        ShapeException.ThrowUnless(inner == inner2, nameof(MatMul), $"the inner extents must be equal: {Letters(TransposeA, "M", "K")} · {Letters(TransposeB, "K", "N")}", inputs);
        bool compatible = a.Rank == 2 || b.Rank == 2 || Leading(a) == Leading(b);
        ShapeException.ThrowUnless(compatible, nameof(MatMul), "the leading axes must be equal, or one operand a single matrix", inputs);
        Shape leading = Leading(a.Rank == 2 ? b : a);
        ShapeException.ThrowUnless(leading.Rank + 2 <= Shape.MaxRank, nameof(MatMul), $"there may be at most {Shape.MaxRank} axes", inputs);
        ShapeException.ThrowUnless(
            Result is null || Result == inputs[0].DType || (Result == DType.F32 && inputs[0].DType.IsNarrow()), nameof(MatMul), $"the result cannot be of {Result}", inputs);
        var c = new TensorType(Result ?? inputs[0].DType, [.. leading, m, n]);
        bool fits = !HasAddend || ((inputs[Addend].Shape == c.Shape || inputs[Addend].Shape == [n]) && (inputs[Addend].DType == c.DType || (inputs[Addend].DType == DType.F32 && c.DType.IsNarrow())));
        ShapeException.ThrowUnless(fits, nameof(MatMul), $"what is added must be {c}, or a row of it", inputs);
        return [c];
    }

    /// <inheritdoc/>
    IReadOnlyList<SelfTest> IPrimitive.SelfTests =>
    [
        Tested(false, false, MatMulPrecision.Bfloat16, DType.BF16), Tested(false, true, MatMulPrecision.Float16, DType.F16), Tested(true, false, MatMulPrecision.Bfloat16x3, DType.F32),
        new(new MatMul(false, true), (new(DType.F32, [32, 512]), 1), (new(DType.BF16, [136, 512]), 0.05)),
        // Tiles of which workgroups take equal shares, parts of tiles one after the other, and tiles of 160 rows.
        new(new MatMul(true, false, MatMulPrecision.Bfloat16, DType.F32), (new(DType.BF16, [4096, 1144]), 1), (new(DType.BF16, [4096, 1272]), 1.0 / 64)),
        new(new MatMul(false, true, MatMulPrecision.Bfloat16x3), (new(DType.F32, [2176, 2064]), 1), (new(DType.F32, [2176, 2064]), 1.0 / 45)),
        new(new MatMul(false, true, MatMulPrecision.Bfloat16), (new(DType.BF16, [2712, 264]), 1), (new(DType.BF16, [1912, 264]), 1.0 / 16)),
        new(new MatMul(false, true, MatMulPrecision.Bfloat16, DType.F32, HasAddend: true), (new(DType.BF16, [136, 48]), 1), (new(DType.BF16, [144, 48]), 0.2), (new(DType.F32, [136, 144]), 1)),
    ];

    private static SelfTest Tested(bool transposeA, bool transposeB, MatMulPrecision precision, DType type)
    {
        const int m = 328, n = 264, k = 1048;
        Shape a = transposeA ? [k, m] : [m, k], b = transposeB ? [n, k] : [k, n];
        return new(new MatMul(transposeA, transposeB, precision), (new(type, a), 1), (new(type, b), 1 / Math.Sqrt(k)));
    }

    /// <inheritdoc/>
    public Work CountWork(ReadOnlySpan<TensorType> inputs)
    {
        Shape c = Infer(inputs)[0].Shape;
        return Work.Of(2.0 * c.Count * Extents(inputs[0].Shape, TransposeA).Columns, inputs[0].DType.IsNarrow() || Precision is MatMulPrecision.Bfloat16 or MatMulPrecision.Bfloat16x3);
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
        MatMulLaunch plan = Plan(call);
        return call.Inputs[0].DType == DType.F32 ? plan.Plan(call.Device) : plan.OfNarrow(call.Outputs[0].DType, call.Device);
    }

    /// <inheritdoc/>
    public IReadOnlyList<Alternative> Alternatives(LaunchCall call) => call.Inputs[0].DType == DType.F32 ? [] : Plan(call).OthersOfNarrow(call.Outputs[0].DType, call.Device);

    private MatMulLaunch Plan(LaunchCall call)
    {
        Shape a = call.Inputs[0].Shape, b = call.Inputs[1].Shape, c = call.Outputs[0].Shape;
        (int m, int k) = Extents(a, TransposeA);
        (m, int batches) = Rows(m, b, c);
        return new MatMulLaunch(TransposeA, TransposeB, Precision, batches, m, c[^1], k, a.Rank == 2 || batches == 1, b.Rank == 2 || batches == 1)
        {
            TypeB = call.Inputs[1].DType,
            Addend = HasAddend ? new(Slot.In(Addend), call.Inputs[Addend].DType, call.Inputs[Addend].Shape != c) : null,
        };
    }

    /// <summary>The matrix in float32, where it is held in fewer bits and no kernel reads it so; null otherwise, as for every operation that is itself small.</summary>
    public Tensor[]? Definition(ReadOnlySpan<Tensor> inputs) =>
        inputs[1].DType.IsCompact() && inputs[0].DType == DType.F32 ? [inputs[0].MatMul(inputs[1].Cast(DType.F32), TransposeA, TransposeB, Precision, addend: HasAddend ? inputs[Addend] : null)] : null;

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => inputs[0].DType.IsNarrow() ? this with { Result = null } : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor dc = call.Gradient(0);
        Tensor?[] operands = [call.Needs(0) ? GradientOfA(call, dc) : null, call.Needs(1) ? GradientOfB(call, dc) : null];
        return HasAddend ? [.. operands, call.Needs(Addend) ? dc.Cast(call.InputType(Addend).DType).SumTo(call.InputType(Addend).Shape) : null] : operands;
    }

    private Tensor GradientOfA(BackwardCall call, Tensor dc)
    {
        Tensor b = call.Input(1);
        // In the type of A: weights are widened where activations are F32, gradients rounded where they are not.
        b = b.Cast(call.InputType(0).DType);
        dc = dc.Cast(call.InputType(0).DType);
        return TransposeA ? Gradient(call, 0, b, dc, TransposeB, true, null) : Gradient(call, 0, dc, b, false, !TransposeB, null);
    }

    private Tensor GradientOfB(BackwardCall call, Tensor dc)
    {
        Tensor a = call.Input(0);
        if (!TransposeA && call.InputType(1).Shape.Rank == 2)
        {
            // The sum over the batches is part of the sum over the rows.
            a = a.Reshape([checked((int)a.Shape.Rows), a.Shape.Columns]);
            dc = dc.Reshape([checked((int)dc.Shape.Rows), dc.Shape.Columns]);
        }
        // The gradient of a rounded weight, a sum over all rows, is not rounded itself.
        dc = dc.Cast(a.DType);
        DType? result = a.DType.IsNarrow() ? DType.F32 : null;
        return TransposeB ? Gradient(call, 1, dc, a, true, TransposeA, result) : Gradient(call, 1, a, dc, !TransposeA, false, result);
    }

    /// <summary>The gradient of an input as a product, with what has arrived of it from elsewhere added to it where it is written.</summary>
    private Tensor Gradient(BackwardCall call, int input, Tensor left, Tensor right, bool transposeLeft, bool transposeRight, DType? result)
    {
        var product = new MatMul(transposeLeft, transposeRight, Precision, result);
        TensorType type = product.Infer([left.Type, right.Type])[0];
        Shape shape = call.InputType(input).Shape;
        if (type.Shape != shape)
            return Tensor.Apply(product, left, right).Reshape([checked((int)type.Shape.Product(0, type.Shape.Rank - 2)), .. shape]).Sum(0);
        Tensor? arrived = call.TakeArrived(input);
        if (arrived is null)
            return Tensor.Apply(product, left, right);
        bool fits = arrived.DType == type.DType || arrived.DType == DType.F32;
        return fits ? Tensor.Apply(product with { HasAddend = true }, left, right, arrived) : arrived + Tensor.Apply(product, left, right);
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape a = call.InputType(0).Shape, b = call.InputType(1).Shape, c = call.OutputType(0).Shape;
        (int m, int k) = Extents(a, TransposeA);
        int n = c[^1];
        (m, int batches) = Rows(m, b, c);
        var product = new Gemm<T>
        {
            A = call.InputAddress<T>(0), B = (T*)call.InputBytes(1), NarrowB = call.InputType(1).DType.IsCompact() ? new(call.InputType(1), call.InputBytes(1)) : null, C = call.OutputAddress<T>(0),
            PanelsB = TransposeB && b.Rank == 2 && batches == 1 ? call.Panels<T>(1, m) : null, Batches = batches, M = m, N = n, K = k,
            ARow = TransposeA ? 1 : k, AColumn = TransposeA ? m : 1, ABatch = a.Rank == 2 ? 0 : (nint)m * k,
            BRow = TransposeB ? 1 : n, BColumn = TransposeB ? k : 1, BBatch = b.Rank == 2 ? 0 : (nint)k * n,
        };
        product.Run(call.Threads, call.VectorBits);
        if (!HasAddend)
            return;
        ReadOnlySpan<T> addend = call.Input<T>(Addend);
        Span<T> sums = call.Output<T>(0);
        for (int at = 0; at < sums.Length; at += addend.Length)
            TensorPrimitives.Add(sums.Slice(at, addend.Length), addend, sums.Slice(at, addend.Length));
    }

    /// <summary>The rows of a product and the number of products. Where every batch meets the same B, all rows make one matrix.</summary>
    private (int Rows, int Batches) Rows(int m, Shape b, Shape c)
    {
        int batches = checked((int)Leading(c).Count);
        return b.Rank == 2 && !TransposeA && c.Count > 0 ? (checked(batches * m), 1) : (m, batches);
    }

    private static (int Rows, int Columns) Extents(Shape shape, bool transposed) => transposed ? (shape[^1], shape[^2]) : (shape[^2], shape[^1]);

    private static Shape Leading(Shape shape) => new(shape.AsSpan()[..^2]);

    private static string Letters(bool transposed, string rows, string columns) => transposed ? $"[{columns}, {rows}]ᵀ" : $"[{rows}, {columns}]";
}
