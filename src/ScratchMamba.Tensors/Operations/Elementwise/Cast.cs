using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The same numbers in another floating-point type, rounded to it. The gradient is cast back; none passes to integers.</summary>
    public static Tensor Cast(this Tensor x, DType type) => x.DType == type ? x : Tensor.Apply(new Cast(type), x);
}

/// <summary>Conversion of every element to a floating-point type, to the nearest number of that type.</summary>
public readonly record struct Cast(DType Type) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Cast), inputs, 1);
        ShapeException.ThrowUnless(Type.IsFloating(), nameof(Cast), $"the result must be of a floating-point type, not {Type}", inputs);
        return [inputs[0] with { DType = Type }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        switch (call.DType)
        {
            case DType.F32:
                From<float>(call);
                break;
            case DType.F64:
                From<double>(call);
                break;
            default:
                From<int>(call);
                break;
        }
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[0].DType != DType.I32 || Type != DType.F32)
            return null;
        long count = call.Inputs[0].Count;
        return count == 0
            ? Tensors.Launch.Nothing
            : Dispatch.Linear("cast", ElementwiseLaunch.Groups(count), [Slot.In(0), Slot.Out(0)], (uint)count, ElementwiseLaunch.Workgroup);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.InputType(0).DType.IsFloating() ? call.Gradient(0).Cast(call.InputType(0).DType) : null];

    private static void From<T>(CpuCall call) where T : unmanaged, INumberBase<T>
    {
        if (call.OutputType(0).DType == DType.F64)
            TensorPrimitives.ConvertSaturating(call.Input<T>(0), call.Output<double>(0));
        else
            TensorPrimitives.ConvertSaturating(call.Input<T>(0), call.Output<float>(0));
    }
}
