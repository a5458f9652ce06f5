namespace ScratchMamba.Tensors;

/// <summary>What is known of a tensor without its data: the type of its elements and its shape.</summary>
public readonly record struct TensorType(DType DType, Shape Shape)
{
    /// <summary>The number of elements.</summary>
    public long Count => Shape.Count;

    /// <summary>The size of the data in bytes.</summary>
    public long Bytes => DType.IsQuantized() ? QuantizedBlocks.Bytes(DType, Count) : checked(Count * DType.Size());

    /// <summary>For example <c>F32 [2, 3]</c>.</summary>
    public override string ToString() => $"{DType} {Shape}";
}
