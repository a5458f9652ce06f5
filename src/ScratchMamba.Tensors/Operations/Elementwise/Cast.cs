using System.Numerics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The same numbers in another floating-point type, rounded to it. The gradient is cast back; none passes to integers, or to and from quantised types.</summary>
    public static Tensor Cast(this Tensor x, DType type) => x.DType == type ? x : Tensor.Apply(new Cast(type), x);
}

/// <summary>Conversion of every element to a floating-point type, to the nearest number of that type.</summary>
public readonly record struct Cast(DType Type) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Cast), inputs, 1);
        ShapeException.ThrowUnless(Type != DType.I32, nameof(Cast), $"the result must be of a floating-point type, not {Type}", inputs);
        ShapeException.ThrowUnless(!Type.IsCompact() || inputs[0].DType == DType.F32, nameof(Cast), $"only F32 is cast to {Type}", inputs);
        ShapeException.ThrowUnless(!inputs[0].DType.IsCompact() || Type == DType.F32, nameof(Cast), $"{inputs[0].DType} is cast to F32 only", inputs);
        TensorType result = inputs[0] with { DType = Type };
        Rules.RequireBlocks(nameof(Cast), inputs, result);
        return [result];
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
    {
        switch (call.DType, Type)
        {
            case (DType.BF16 or DType.F16 or DType.Q8_0 or DType.Q4_0, _):
                new NarrowMatrix(call.InputType(0), call.InputBytes(0)).Widen(0, call.OutputAddress<float>(0), checked((int)call.OutputType(0).Count));
                break;
            case (_, DType.BF16 or DType.F16):
                NarrowMatrix.Round(Type, call.Input<float>(0), call.OutputBytes(0));
                break;
            case (_, DType.Q8_0 or DType.Q4_0):
                QuantizedBlocks.Quantize(Type, call.Input<float>(0)).CopyTo(new Span<byte>(call.OutputBytes(0), checked((int)call.OutputType(0).Bytes)));
                break;
            case (DType.F32, _):
                From<float>(call);
                break;
            case (DType.F64, _):
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
        DType from = call.Inputs[0].DType;
        if (from == DType.F64 || Type == DType.F64 || Type.IsQuantized())
            return null;
        long count = call.Inputs[0].Count;
        return count == 0
            ? Tensors.Launch.Nothing
            : Dispatch.Linear("cast", ElementwiseLaunch.Groups(count), [Slot.In(0), Slot.Out(0)], (uint)count, ElementwiseLaunch.Workgroup, from.ShaderCode(), Type.ShaderCode());
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.InputType(0).DType.CarriesGradient() ? call.GradientAsArrived(0).Cast(call.InputType(0).DType) : null];

    private static void From<T>(CpuCall call) where T : unmanaged, INumberBase<T>
    {
        if (call.OutputType(0).DType == DType.F64)
            TensorPrimitives.ConvertSaturating(call.Input<T>(0), call.Output<double>(0));
        else
            TensorPrimitives.ConvertSaturating(call.Input<T>(0), call.Output<float>(0));
    }
}
