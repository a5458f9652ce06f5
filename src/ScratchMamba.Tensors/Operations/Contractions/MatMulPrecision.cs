namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// How exactly a product of float32 matrices has to be computed. It is a permission: a device without matrix units computes in float32 whatever is said. Sums are always float32,
/// gradients are computed as the product was.
/// </summary>
public enum MatMulPrecision
{
    /// <summary>Products and sums in float32.</summary>
    Full,

    /// <summary>Each operand as the sum of two bfloat16 numbers, three products of which are taken: relative error about 1e-5, several times as fast as float32.</summary>
    Bfloat16x3,

    /// <summary>
    /// Operands rounded to bfloat16: relative error about 2e-3, as mixed-precision training has it. A model with this precision holds its activations in BF16 between the operations of a
    /// sequence, so that products read them as they lie in memory; weights, their gradients, step sizes, decays and carried states stay float32.
    /// </summary>
    Bfloat16,

    /// <summary>
    /// The same with float16: operands and activations with three more bits of precision, relative error about 3e-4, but numbers beyond 65,504 overflow and below 6e-8 vanish. Gradients are
    /// therefore made times a large factor in training. Products of float32 operands are not rounded.
    /// </summary>
    Float16,
}

/// <summary>What precisions mean for the tensors between operations.</summary>
public static class MatMulPrecisions
{
    /// <summary>The type that activations are held in: one of 16 bits where the precision has one and <paramref name="weights"/> lose nothing by it that they have not lost, otherwise that of the rest.</summary>
    /// <param name="precision">How exactly products are computed.</param>
    /// <param name="rest">The type of what is never rounded.</param>
    /// <param name="weights">The type of the matrices that multiply them.</param>
    public static DType Activations(this MatMulPrecision precision, DType rest, DType weights)
    {
        DType narrow = precision switch
        {
            MatMulPrecision.Bfloat16 => DType.BF16,
            MatMulPrecision.Float16 => DType.F16,
            _ => rest,
        };
        return rest == DType.F32 && (weights == DType.F32 || weights == narrow) ? narrow : rest;
    }
}
