namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>y[s…] = table[indices[s…]]</c>: rows of the first axis. A table [R, rest…] and indices of shape S give S followed by rest; an embedding is this.</summary>
    /// <exception cref="ArgumentOutOfRangeException">On the CPU: an index is negative or not less than R.</exception>
    public static Tensor Gather(this Tensor table, Tensor indices) => Tensor.Apply(new Gather(), table, indices);

    /// <summary>The same rows in a type: widened as they are read where the table's is smaller.</summary>
    public static Tensor Gather(this Tensor table, Tensor indices, DType type) =>
        table.DType.IsNarrow() && type == DType.F32 ? Tensor.Apply(new Gather(Widens: true), table, indices) : table.Gather(indices).Cast(type);
}

/// <summary>Rows of a table by number: <c>y[s…] = table[indices[s…]]</c>, those of quantised tables in F32. The inputs are the table [R, rest…] and I32 indices of any shape S; the result is S followed by rest.</summary>
/// <param name="Widens">Whether those of tables of 16 bits are in F32, too.</param>
public readonly record struct Gather(bool Widens) : IPrimitive
{
    private readonly record struct Scalars(uint Count, uint Length, uint Rows);

    /// <inheritdoc/>
    public Saved Saves => Saved.Input(1);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Gather), inputs, 2);
        Shape table = inputs[0].Shape, indices = inputs[1].Shape;
        ShapeException.ThrowUnless(table.Rank >= 1, nameof(Gather), "the table must have at least one axis", inputs);
        ShapeException.ThrowUnless(inputs[1].DType == DType.I32, nameof(Gather), "indices must be I32", inputs);
        ShapeException.ThrowUnless(
            indices.Rank + table.Rank - 1 <= Shape.MaxRank, nameof(Gather), $"the result would have more than {Shape.MaxRank} axes", inputs);
        return [new TensorType(IsWidened(inputs[0]) ? DType.F32 : inputs[0].DType, [.. indices.AsSpan(), .. table.AsSpan()[1..]])];
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        Shape table = call.InputType(0).Shape;
        Indices.RequireInRange(nameof(Gather), call.Input<int>(1), table[0]);
        if (IsWidened(call.InputType(0)))
        {
            var matrix = new NarrowMatrix(call.InputType(0), call.InputBytes(0));
            int columns = checked((int)table.Product(1, table.Rank));
            ReadOnlySpan<int> rows = call.Input<int>(1);
            for (int i = 0; i < rows.Length; i++)
                matrix.Widen((nint)rows[i] * columns, call.OutputAddress<float>(0) + (nint)i * columns, columns);
            return;
        }
        long length = table.Product(1, table.Rank) * call.DType.Size();
        var body = new Body { Table = call.InputBytes(0), Indices = call.InputAddress<int>(1), Result = call.OutputBytes(0), Length = length };
        CpuParallel.For(call.Threads, checked((int)call.InputType(1).Count), length / 4, body);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType == DType.F64)
            return null;
        Shape table = call.Inputs[0].Shape;
        long count = call.Outputs[0].Count, length = table.Product(1, table.Rank);
        if (count == 0)
            return Tensors.Launch.Nothing;
        if (IsWidened(call.Inputs[0]))
        {
            if (table.Rank != 2 || length % FewRowsLaunch.PackLength(call.Inputs[0].DType) != 0)
                return null;
            return Dispatch.Linear(
                "gather_blocks", ElementwiseLaunch.Groups(count), [Slot.In(0), Slot.In(1), Slot.Out(0)], new Scalars((uint)count, (uint)length, (uint)table[0]),
                ElementwiseLaunch.Workgroup, call.Inputs[0].DType.ShaderCode());
        }
        // Two numbers of 16 bits are moved as one word, unless a row ends between them.
        bool isNarrow = call.Inputs[0].DType.IsNarrow(), splitsWords = isNarrow && length % 2 != 0;
        if (isNarrow && !splitsWords)
            (count, length) = (count / 2, length / 2);
        return Dispatch.Linear(
            "gather", ElementwiseLaunch.Groups(count), [Slot.In(0), Slot.In(1), Slot.Out(0)], new Scalars((uint)count, (uint)length, (uint)table[0]),
            ElementwiseLaunch.Workgroup, splitsWords ? 1u : 0);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        DType type = call.InputType(0).DType;
        // Rows that are added up are not rounded before.
        Tensor gradient = call.GradientAsArrived(0).Cast(type.IsNarrow() ? DType.F32 : type).ScatterAdd(call.Input(1), call.InputType(0).Shape[0]);
        return [gradient.Cast(type), null];
    }

    /// <inheritdoc/>
    public Tensor[]? Definition(ReadOnlySpan<Tensor> inputs) => IsWidened(inputs[0].Type) && !inputs[0].DType.IsQuantized() ? [inputs[0].Gather(inputs[1]).Cast(DType.F32)] : null;

    private bool IsWidened(TensorType table) => table.DType.IsQuantized() || (Widens && table.DType.IsNarrow());

    private unsafe struct Body : IParallelBody
    {
        public byte* Table, Result;
        public int* Indices;
        public long Length;

        public readonly void Invoke(int index) => Buffer.MemoryCopy(Table + Indices[index] * Length, Result + index * Length, Length, Length);
    }
}
