namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>Lengthens an axis (−1 is the last) at its two ends with elements of a given value.</summary>
    /// <exception cref="ShapeException">A length is negative.</exception>
    public static Tensor Pad(this Tensor x, int axis, int before, int after, double value = 0)
    {
        axis = x.Shape.Axis(axis);
        return before == 0 && after == 0 ? x : Tensor.Apply(new Pad(axis, before, after, value), x);
    }
}

/// <summary>One axis lengthened by <paramref name="Before"/> elements in front and <paramref name="After"/> behind, all of which are <paramref name="Value"/>.</summary>
public readonly record struct Pad(int Axis, int Before, int After, double Value) : IPrimitive
{
    private readonly record struct Scalars(uint Count, uint Length, uint Before, uint Middle, uint Value);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Pad), inputs, 1);
        Rules.RequireAxis(nameof(Pad), inputs, Axis);
        Rules.RefuseQuantized(nameof(Pad), inputs);
        ShapeException.ThrowUnless(Before >= 0 && After >= 0, nameof(Pad), $"lengths {Before} and {After} must not be negative", inputs);
        return [inputs[0] with { Shape = inputs[0].Shape.With(Axis, checked(Before + inputs[0].Shape[Axis] + After)) }];
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        Shape from = call.InputType(0).Shape, to = call.OutputType(0).Shape;
        switch (call.DType)
        {
            case DType.F32:
                Fill(call.Output<float>(0), from, (float)Value);
                break;
            case DType.F64:
                Fill(call.Output<double>(0), from, Value);
                break;
            default:
                Fill(call.Output<int>(0), from, checked((int)Value));
                break;
        }
        long inner = from.Product(Axis + 1, from.Rank) * call.DType.Size();
        new BlockCopy
        {
            Source = call.InputBytes(0),
            SourcePitch = from[Axis] * inner,
            Target = call.OutputBytes(0) + Before * inner,
            TargetPitch = to[Axis] * inner,
            Length = from[Axis] * inner,
            Rows = from.Product(0, Axis),
        }.Run(call.Threads);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (!CopyLaunch.Covers(call.Inputs[0].DType))
            return null;
        Shape from = call.Inputs[0].Shape;
        long count = call.Outputs[0].Count, inner = from.Product(Axis + 1, from.Rank);
        if (count == 0)
            return Tensors.Launch.Nothing;
        var scalars = new Scalars((uint)count, (uint)(call.Outputs[0].Shape[Axis] * inner), (uint)(Before * inner), (uint)(from[Axis] * inner), Full.Word(call.Inputs[0].DType, Value));
        return Dispatch.Linear("pad", ElementwiseLaunch.Groups(count), [Slot.In(0), Slot.Out(0)], scalars, ElementwiseLaunch.Workgroup);
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).Slice(Axis, Before, call.InputType(0).Shape[Axis])];

    private void Fill<T>(Span<T> y, Shape from, T value)
    {
        int rows = (int)from.Product(0, Axis), inner = (int)from.Product(Axis + 1, from.Rank);
        int before = Before * inner, middle = from[Axis] * inner, after = After * inner;
        for (int row = 0; row < rows; row++)
        {
            y[..before].Fill(value);
            y.Slice(before + middle, after).Fill(value);
            y = y[(before + middle + after)..];
        }
    }
}
