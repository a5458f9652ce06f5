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
}
