using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The index of the largest element of each row, I32: the first of equals. The last axis disappears.</summary>
    public static Tensor ArgMax(this Tensor x) => Tensor.Apply(new ArgMax(), x);
}

/// <summary>Index of the largest element of each row: <c>y[…] = argmaxᵢ x[…, i]</c>, the first of equals, and of the first NaN where there is one. Not differentiable.</summary>
public readonly record struct ArgMax : IPrimitive
{
    private const int Workgroup = 256;

    private readonly record struct Scalars(uint Rows, uint Columns, uint Pieces, uint Piece);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        TensorType x = Rules.Unary(nameof(ArgMax), inputs)[0];
        Rules.RequireAxis(nameof(ArgMax), inputs, x.Shape.Rank - 1);
        ShapeException.ThrowUnless(x.Shape.Columns > 0, nameof(ArgMax), "rows must not be empty", inputs);
        return [new TensorType(DType.I32, x.Shape.Without(x.Shape.Rank - 1))];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute(call.Input<double>(0), call.Output<int>(0));
        else
            Compute(call.Input<float>(0), call.Output<int>(0));
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        const int PieceAtLeast = 512, MostPieces = 128, MostGroups = 512, MostRows = 64, LongRow = 4096;
        (long rows, int columns) = (call.Inputs[0].Shape.Rows, call.Inputs[0].Shape.Columns);
        if (call.Inputs[0].DType != DType.F32)
            return null;
        if (rows == 0)
            return Tensors.Launch.Nothing;
        if (rows > MostRows || columns < LongRow)
            return Dispatch.Linear("arg_max", rows, [Slot.In(0), Slot.Out(0)], new Scalars((uint)rows, (uint)columns, 1, (uint)columns), Workgroup, 0, 0);
        // A row alone would keep one workgroup busy.
        int most = Math.Min(MostPieces, MostGroups / (int)rows), piece = Math.Max(PieceAtLeast, (columns + most - 1) / most), pieces = (columns + piece - 1) / piece;
        return new Launch(
            [
                Dispatch.Linear("arg_max", rows * pieces, [Slot.In(0), Slot.ScratchOut(0)], new Scalars((uint)rows, (uint)columns, (uint)pieces, (uint)piece), Workgroup, 0, 1),
                OfPieces(rows, pieces),
            ],
            rows * pieces * 2 * sizeof(int));
    }

    /// <summary>The dispatch that finds the largest of what was found of pieces, keys and places in the first scratch memory.</summary>
    internal static Dispatch OfPieces(long rows, int pieces) =>
        Dispatch.Linear("arg_max", rows, [Slot.ScratchIn(0), Slot.Out(0)], new Scalars((uint)rows, (uint)pieces, 1, (uint)pieces), Workgroup, 1, 0);

    private static void Compute<T>(ReadOnlySpan<T> x, Span<int> y) where T : System.Numerics.INumber<T>
    {
        int columns = y.Length == 0 ? 0 : x.Length / y.Length;
        for (int row = 0; row < y.Length; row++)
            y[row] = TensorPrimitives.IndexOfMax(x.Slice(row * columns, columns));
    }
}
