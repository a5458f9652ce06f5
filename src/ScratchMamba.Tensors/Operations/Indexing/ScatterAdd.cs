using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// <c>y[r] = Σ values[s…]</c> over the s… with <c>indices[s…] = r</c>: the adjoint of <see cref="Gather(Tensor, Tensor)"/>.
    /// Values of shape S followed by rest and indices of shape S give [rows, rest…].
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">On the CPU: an index is negative or not less than <paramref name="rows"/>.</exception>
    public static Tensor ScatterAdd(this Tensor values, Tensor indices, int rows) => Tensor.Apply(new ScatterAdd(rows), values, indices);
}

/// <summary>
/// Sums of values by row number: <c>y[r] = Σ values[s…]</c> over the s… with <c>indices[s…] = r</c>, added in the order of s….
/// The inputs are the values, of shape S followed by rest, and I32 indices of shape S; the result is [Rows, rest…].
/// </summary>
public readonly record struct ScatterAdd(int Rows) : IPrimitive
{
    /// <inheritdoc/>
    public Saved Saves => Saved.Input(1);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(ScatterAdd), inputs, 2);
        Shape values = inputs[0].Shape, indices = inputs[1].Shape;
        ShapeException.ThrowUnless(inputs[0].DType.IsFloating(), nameof(ScatterAdd), "values must be floating-point", inputs);
        ShapeException.ThrowUnless(inputs[1].DType == DType.I32, nameof(ScatterAdd), "indices must be I32", inputs);
        ShapeException.ThrowUnless(Rows >= 0, nameof(ScatterAdd), $"the number of rows {Rows} must not be negative", inputs);
        ShapeException.ThrowUnless(
            values.AsSpan().StartsWith(indices.AsSpan()), nameof(ScatterAdd), "the shape of the values must begin with that of the indices", inputs);
        ShapeException.ThrowUnless(
            values.Rank - indices.Rank < Shape.MaxRank, nameof(ScatterAdd), $"the result would have more than {Shape.MaxRank} axes", inputs);
        return [inputs[0] with { Shape = [Rows, .. values.AsSpan()[indices.Rank..]] }];
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
    public Launch? Launch(LaunchCall call) => call.Inputs[0].DType == DType.F32 ? ScatterLaunch.Plan(call, Rows) : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).Gather(call.Input(1)), null];

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        ReadOnlySpan<int> indices = call.Input<int>(1);
        Indices.RequireInRange(nameof(ScatterAdd), indices, Rows);
        Shape values = call.InputType(0).Shape;
        int length = checked((int)values.Product(call.InputType(1).Shape.Rank, values.Rank));

        // A stable counting sort by row: row r receives the values order[ends[r − 1]] … order[ends[r] − 1], in their order.
        int[] ends = ArrayPool<int>.Shared.Rent(Rows + 1), order = ArrayPool<int>.Shared.Rent(indices.Length);
        ends.AsSpan(0, Rows + 1).Clear();
        foreach (int row in indices)
            ends[row + 1]++;
        for (int row = 0; row < Rows; row++)
            ends[row + 1] += ends[row];
        for (int i = 0; i < indices.Length; i++)
            order[ends[indices[i]]++] = i;

        int rowsPerPart = Math.Max(1, Body<T>.PartLength / Math.Max(1, length));
        var body = new Body<T>
        {
            Values = call.InputAddress<T>(0), Result = call.OutputAddress<T>(0), Ends = ends, Order = order, Rows = Rows, Length = length, RowsPerPart = rowsPerPart,
        };
        CpuParallel.For(call.Threads, (Rows + rowsPerPart - 1) / rowsPerPart, (long)rowsPerPart * length, body);
        ArrayPool<int>.Shared.Return(ends);
        ArrayPool<int>.Shared.Return(order);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public const int PartLength = 1 << 14;

        public T* Values, Result;
        public int[] Ends, Order;
        public int Rows, Length, RowsPerPart;

        public readonly void Invoke(int index)
        {
            int first = index * RowsPerPart, end = Math.Min(Rows, first + RowsPerPart);
            for (int row = first; row < end; row++)
            {
                var sum = new Span<T>(Result + (long)row * Length, Length);
                sum.Clear();
                for (int i = row == 0 ? 0 : Ends[row - 1]; i < Ends[row]; i++)
                    TensorPrimitives.Add(sum, new ReadOnlySpan<T>(Values + (long)Order[i] * Length, Length), sum);
            }
        }
    }
}
