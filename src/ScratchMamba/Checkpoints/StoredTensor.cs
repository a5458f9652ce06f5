using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>The type of a stored tensor's elements; the names are those of the safetensors format.</summary>
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
}

/// <summary>What a checkpoint says of one tensor: its name, the type of its elements as stored, and its shape.</summary>
public sealed record StoredTensor(string Name, StoredType Type, Shape Shape)
{
    /// <summary>The number of elements.</summary>
    public long Count => Shape.Count;

    /// <summary>The size of the stored elements in bytes.</summary>
    public long Bytes => checked(Count * SizeOf(Type));

    /// <summary>Bytes of one stored element.</summary>
    public static int SizeOf(StoredType type) => type switch
    {
        StoredType.F64 or StoredType.I64 => 8,
        StoredType.F32 or StoredType.I32 => 4,
        _ => 2,
    };
}
