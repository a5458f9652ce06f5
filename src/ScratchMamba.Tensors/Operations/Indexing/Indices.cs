using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

/// <summary>Checks shared by the operations that read indices.</summary>
internal static class Indices
{
    /// <summary>Throws at the first index outside [0, <paramref name="bound"/>).</summary>
    public static void RequireInRange(string operation, ReadOnlySpan<int> indices, int bound)
    {
        if (indices.IsEmpty || (TensorPrimitives.Min(indices) >= 0 && TensorPrimitives.Max(indices) < bound))
            return;
        int position = 0;
        while ((uint)indices[position] < (uint)bound)
            position++;
        throw new ArgumentOutOfRangeException(
            nameof(indices), indices[position], $"{operation}: index {indices[position]}, number {position} of {indices.Length}, is not one of the {bound} rows.");
    }
}
