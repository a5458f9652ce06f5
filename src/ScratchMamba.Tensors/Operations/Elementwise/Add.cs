using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

/// <summary>The operations on tensors, as extension methods and operators.</summary>
public static partial class TensorOperations
{
    extension(Tensor)
    {
        /// <summary><c>x + y</c>, element by element, with broadcasting.</summary>
        public static Tensor operator +(Tensor x, Tensor y) => Tensor.Apply(new Add(), x, y);
    }
}

/// <summary>Sum of two tensors element by element: <c>z = x + y</c>, with broadcasting.</summary>
public readonly record struct Add : IPrimitive, IBinaryKernel
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        if (!Rules.IsAnyNarrow(inputs))
            return Rules.Broadcasting(nameof(Add), inputs);
        Rules.RequireCount(nameof(Add), inputs, 2);
        Rules.RequireMixed(nameof(Add), inputs);
        ShapeException.ThrowUnless(inputs[0].Shape == inputs[1].Shape, nameof(Add), "tensors of 16 bits are added where shapes are equal", inputs);
        // With F32, F32.
        return [inputs[0].DType == inputs[1].DType ? inputs[0] : inputs[0] with { DType = DType.F32 }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call) => ElementwiseLoops.RunBinary(call, this);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => Rules.IsAnyNarrow(call.Inputs) ? Narrow(call) : ElementwiseLaunch.Binary("add", call);

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor dz = call.Gradient(0);
        return [dz.Cast(call.InputType(0).DType).SumTo(call.InputType(0).Shape), dz.Cast(call.InputType(1).DType).SumTo(call.InputType(1).Shape)];
    }

    private static Launch? Narrow(LaunchCall call)
    {
        long count = call.Outputs[0].Count;
        if (count == 0)
            return Tensors.Launch.Nothing;
        if (Elements.Codes((int)(count % 4), call.Inputs[0].DType, call.Inputs[1].DType, call.Outputs[0].DType) is not { } codes)
            return null;
        return Dispatch.Linear("add_narrow", ElementwiseLaunch.Groups(count), [Slot.In(0), Slot.In(1), Slot.Out(0)], (uint)count, [ElementwiseLaunch.Workgroup, .. codes]);
    }

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Add(x, y, z);

    void IBinaryKernel.Apply<T>(ReadOnlySpan<T> x, T y, Span<T> z) => TensorPrimitives.Add(x, y, z);

    void IBinaryKernel.Apply<T>(T x, ReadOnlySpan<T> y, Span<T> z) => TensorPrimitives.Add(y, x, z);
}
