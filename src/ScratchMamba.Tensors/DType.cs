namespace ScratchMamba.Tensors;

/// <summary>The type of a tensor's elements.</summary>
public enum DType
{
    /// <summary>IEEE 754 binary32: what models are trained in.</summary>
    F32,

    /// <summary>IEEE 754 binary64: for oracles and gradient checks, on the CPU.</summary>
    F64,

    /// <summary>32-bit signed integers: tokens, labels, sequence indices. They carry no gradient.</summary>
    I32,

    /// <summary>The upper half of binary32: weights are held in it, and activations of mixed precision, for half the memory and twice the speed of reading; operations compute in F32.</summary>
    BF16,

    /// <summary>IEEE 754 binary16: for weights as <see cref="BF16"/>, with three bits more of precision and a smaller range, from 6e-8 to 65,504.</summary>
    F16,

#pragma warning disable CA1707 // The names are GGML's.
    /// <summary>Blocks of 32 numbers that share a scale, with 8 bits for each: for weights. See <see cref="QuantizedBlocks"/>.</summary>
    Q8_0,

    /// <summary>Blocks of 32 numbers that share a scale, with 4 bits for each: for weights. See <see cref="QuantizedBlocks"/>.</summary>
    Q4_0,
#pragma warning restore CA1707
}

/// <summary>Sizes and names of <see cref="DType"/> values.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    /// <exception cref="NotSupportedException">Elements are held in blocks: see <see cref="TensorType.Bytes"/>.</exception>
    public static int Size(this DType type) => type switch
    {
        DType.F64 => 8,
        DType.BF16 or DType.F16 => 2,
        DType.Q8_0 or DType.Q4_0 => throw new NotSupportedException($"{type} holds blocks of {QuantizedBlocks.Length} numbers, which only Gather, Cast and matrix products read; cast to F32 first."),
        _ => 4,
    };

    /// <summary>Whether operations compute with elements of this type as floating-point numbers, so that they can carry a gradient.</summary>
    public static bool IsFloating(this DType type) => type is DType.F32 or DType.F64;

    /// <summary>Whether gradients pass through tensors of this type: all but integers and quantised ones. Those of 16 bits hold the activations of mixed precision.</summary>
    public static bool CarriesGradient(this DType type) => type != DType.I32 && !type.IsQuantized();

    /// <summary>Whether elements are floating-point numbers of 16 bits: held and moved as such, computed with in float32.</summary>
    public static bool IsNarrow(this DType type) => type is DType.BF16 or DType.F16;

    /// <summary>Whether elements are held in blocks that share a scale.</summary>
    public static bool IsQuantized(this DType type) => type is DType.Q8_0 or DType.Q4_0;

    /// <summary>Whether elements are floating-point numbers in fewer bits than operations compute with, of 16 bits or quantised, as weights are held.</summary>
    public static bool IsCompact(this DType type) => type.IsNarrow() || type.IsQuantized();

    /// <summary>The number that shaders know the type by: see <c>narrow.glsl</c>.</summary>
    internal static uint ShaderCode(this DType type) => type switch
    {
        DType.F32 => 0,
        DType.I32 => 1,
        DType.BF16 => 2,
        DType.F16 => 3,
        DType.Q8_0 => 4,
        DType.Q4_0 => 5,
        _ => throw new NotSupportedException($"No shader reads {type}."),
    };

    /// <summary>The <see cref="DType"/> of a managed element type.</summary>
    /// <exception cref="NotSupportedException"><typeparamref name="T"/> is none of float, double, int, <see cref="BFloat16"/> and Half.</exception>
    public static DType Of<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DType.F32
        : typeof(T) == typeof(double) ? DType.F64
        : typeof(T) == typeof(int) ? DType.I32
        : typeof(T) == typeof(BFloat16) ? DType.BF16
        : typeof(T) == typeof(Half) ? DType.F16
        : throw new NotSupportedException($"Tensors hold float, double, int, BFloat16 or Half elements, not {typeof(T).Name}.");
}
