namespace ScratchMamba.Tensors.Operations;

/// <summary>A tensor every element of which is <paramref name="Value"/>; it has no inputs.</summary>
public readonly record struct Full(TensorType Type, double Value) : IPrimitive
{
    private readonly record struct Scalars(uint Count, uint Value);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Full), inputs, 0);
        Rules.RequireBlocks(nameof(Full), [Type], Type);
        ShapeException.ThrowUnless(!Type.DType.IsQuantized() || Value == 0, nameof(Full), $"{Type.DType} is filled with zeros only", [Type]);
        return [Type];
    }

    /// <inheritdoc/>
    public unsafe void Compute(CpuCall call)
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
            case DType.Q8_0 or DType.Q4_0:
                new Span<byte>(call.OutputBytes(0), checked((int)Type.Bytes)).Clear();
                break;
            default:
                call.Output<int>(0).Fill(checked((int)Value));
                break;
        }
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (Type.DType == DType.F64)
            return null;
        long words = (Type.Bytes + sizeof(uint) - 1) / sizeof(uint);
        return words == 0
            ? Tensors.Launch.Nothing
            : Dispatch.Linear("full", ElementwiseLaunch.Groups(words), [Slot.Out(0)], new Scalars((uint)words, Word(Type.DType, Value)), ElementwiseLaunch.Workgroup);
    }

    /// <summary>A word that holds a number of four bytes once, or one of two bytes twice.</summary>
    internal static uint Word(DType type, double value) => type switch
    {
        DType.F32 => BitConverter.SingleToUInt32Bits((float)value),
        DType.BF16 => 0x10001u * ((BFloat16)(float)value).Bits,
        DType.F16 => 0x10001u * BitConverter.HalfToUInt16Bits((Half)value),
        DType.Q8_0 or DType.Q4_0 => 0,
        _ => (uint)checked((int)value),
    };
}
