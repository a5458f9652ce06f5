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

    private readonly record struct Scalars(uint Rows, uint Columns);

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
        (long rows, int columns) = (call.Inputs[0].Shape.Rows, call.Inputs[0].Shape.Columns);
        return call.Inputs[0].DType != DType.F32 ? null
            : rows == 0 ? Tensors.Launch.Nothing
            : Dispatch.Linear("arg_max", rows, [Slot.In(0), Slot.Out(0)], new Scalars((uint)rows, (uint)columns), Workgroup);
    }

    private static void Compute<T>(ReadOnlySpan<T> x, Span<int> y) where T : System.Numerics.INumber<T>
    {
        int columns = y.Length == 0 ? 0 : x.Length / y.Length;
        for (int row = 0; row < y.Length; row++)
            y[row] = TensorPrimitives.IndexOfMax(x.Slice(row * columns, columns));
    }
}
