namespace ScratchMamba.Tensors.Operations;

/// <summary>A tensor every element of which is <paramref name="Value"/>; it has no inputs.</summary>
public readonly record struct Full(TensorType Type, double Value) : IPrimitive
{
    private readonly record struct Scalars(uint Count, uint Value);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Full), inputs, 0);
        return [Type];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        switch (Type.DType)
        {
            case DType.F32:
                call.Output<float>(0).Fill((float)Value);
                break;
            case DType.F64:
                call.Output<double>(0).Fill(Value);
                break;
            case DType.BF16:
                call.Output<BFloat16>(0).Fill((BFloat16)(float)Value);
                break;
            case DType.F16:
                call.Output<Half>(0).Fill((Half)Value);
                break;
            default:
                call.Output<int>(0).Fill(checked((int)Value));
                break;
        }
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (!CopyLaunch.Covers(Type.DType))
            return null;
        return Type.Count == 0
            ? Tensors.Launch.Nothing
            : Dispatch.Linear("full", ElementwiseLaunch.Groups(Type.Count), [Slot.Out(0)], new Scalars((uint)Type.Count, Word(Type.DType, Value)), ElementwiseLaunch.Workgroup);
    }

    /// <summary>The bits of a number in an element type of four bytes.</summary>
    internal static uint Word(DType type, double value) => type == DType.F32 ? BitConverter.SingleToUInt32Bits((float)value) : (uint)checked((int)value);
}
