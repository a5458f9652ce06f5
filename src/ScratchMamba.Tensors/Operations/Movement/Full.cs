namespace ScratchMamba.Tensors.Operations;

/// <summary>A tensor every element of which is <paramref name="Value"/>; it has no inputs.</summary>
public readonly record struct Full(TensorType Type, double Value) : IPrimitive
{
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
            default:
                call.Output<int>(0).Fill(checked((int)Value));
                break;
        }
    }
}
