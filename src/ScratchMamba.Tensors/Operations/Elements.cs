namespace ScratchMamba.Tensors.Operations;

/// <summary>How shaders that take four elements at a time read and write tensors: see <c>elements.glsl</c>.</summary>
internal static class Elements
{
    /// <summary>The code of rows that are no whole quads, which are read number by number.</summary>
    public const uint Ragged = 4;

    /// <summary>The codes of tensors whose rows have <paramref name="columns"/> elements; null where numbers of 16 bits would share a word with the next row, or are not for shaders.</summary>
    public static uint[]? Codes(int columns, params ReadOnlySpan<DType> types)
    {
        var codes = new uint[types.Length];
        for (int i = 0; i < codes.Length; i++)
        {
            if (types[i] == DType.F64 || (types[i].IsNarrow() && columns % 4 != 0))
                return null;
            codes[i] = columns % 4 != 0 ? Ragged : types[i].ShaderCode();
        }
        return codes;
    }
}
