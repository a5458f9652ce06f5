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
}

/// <summary>Sizes and names of <see cref="DType"/> values.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this DType type) => type == DType.F64 ? 8 : 4;

    /// <summary>Whether elements are floating-point numbers, and so can carry a gradient.</summary>
    public static bool IsFloating(this DType type) => type != DType.I32;

    /// <summary>The <see cref="DType"/> of a managed element type.</summary>
    /// <exception cref="NotSupportedException"><typeparamref name="T"/> is none of float, double and int.</exception>
    public static DType Of<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DType.F32
        : typeof(T) == typeof(double) ? DType.F64
        : typeof(T) == typeof(int) ? DType.I32
        : throw new NotSupportedException($"Tensors hold float, double or int elements, not {typeof(T).Name}.");
}
