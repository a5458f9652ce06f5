using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>The type of a stored tensor's elements; the names are those of the safetensors format and of GGML.</summary>
public enum StoredType
{
    /// <summary>IEEE 754 binary64.</summary>
    F64,

    /// <summary>IEEE 754 binary32.</summary>
    F32,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>The upper half of binary32.</summary>
    BF16,

    /// <summary>64-bit signed integers.</summary>
    I64,

    /// <summary>32-bit signed integers.</summary>
    I32,

#pragma warning disable CA1707 // The names are GGML's.
    /// <summary>Blocks of 32: a scale and 8 bits for each.</summary>
    Q8_0,

    /// <summary>Blocks of 32: a scale and 4 bits for each.</summary>
    Q4_0,

    /// <summary>Blocks of 256: two scales, eight pairs of smaller ones, and 4 bits for each.</summary>
    Q4_K,

    /// <summary>Blocks of 256: a scale, sixteen smaller ones, and 6 bits for each.</summary>
    Q6_K,
#pragma warning restore CA1707
}

/// <summary>Sizes of <see cref="StoredType"/> values.</summary>
public static class StoredTypes
{
    /// <summary>How many elements are stored together; 1 unless the type is quantised.</summary>
    public static int BlockElements(this StoredType type) => type switch
    {
        StoredType.Q8_0 or StoredType.Q4_0 => 32,
        StoredType.Q4_K or StoredType.Q6_K => 256,
        _ => 1,
    };

    /// <summary>The bytes of what is stored together.</summary>
    public static int BlockBytes(this StoredType type) => type switch
    {
        StoredType.F64 or StoredType.I64 => 8,
        StoredType.F32 or StoredType.I32 => 4,
        StoredType.Q8_0 => 2 + 32,
        StoredType.Q4_0 => 2 + 16,
        StoredType.Q4_K => 2 + 2 + 12 + 128,
        StoredType.Q6_K => 128 + 64 + 16 + 2,
        _ => 2,
    };
}

/// <summary>What a checkpoint says of one tensor: its name, the type of its elements as stored, and its shape. Rows of quantised types are whole blocks.</summary>
public sealed record StoredTensor(string Name, StoredType Type, Shape Shape)
{
    /// <summary>The number of elements.</summary>
    public long Count => Shape.Count;

    /// <summary>The size of the stored elements in bytes.</summary>
    public long Bytes => checked(Count / Type.BlockElements() * Type.BlockBytes());
}
