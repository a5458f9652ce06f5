using ScratchMamba.Tensors;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// Selective copying: symbols at random places among blanks, then a mark, and the symbols again in their order without the blanks. Documents have context + 1 + symbols tokens.
/// Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023).
/// </summary>
/// <example>
/// Blank is <c>_</c>, the mark <c>|</c>; 3 symbols of an alphabet of 8 in a context of 10, seed 1, document 0:
/// <code>
/// s4 _ s5 s7 _ _ _ _ _ _ | s4* s5* s7*
/// </code>
/// </example>
/// <param name="context">Symbols and blanks together.</param>
/// <param name="symbols">How many symbols are to be copied.</param>
/// <param name="alphabet">How many symbols there are.</param>
public sealed class SelectiveCopying(int context, int symbols = 16, int alphabet = 16) : StudyData
{
    private const int Blank = 0, Mark = 1, First = 2;

    /// <inheritdoc/>
    public override string Name => $"selective copying, {symbols} symbols of {alphabet} in {context} tokens";

    /// <inheritdoc/>
    public override int VocabularySize => First + alphabet;

    /// <inheritdoc/>
    public override double ChanceLoss => Math.Log(alphabet);

    /// <inheritdoc/>
    public override string Show(int id) => id switch { Blank => "_", Mark => "|", _ => $"s{id - First}" };

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(symbols, context);
        var random = new Philox(seed, number);
        int[] places = [.. Enumerable.Range(0, context)];
        random.Shuffle<int>(places);
        int[] chosen = [.. places[..symbols].Order()], symbol = [.. chosen.Select(_ => First + random.Next(alphabet))];
        for (int position = 0, next = 0; position < context; position++)
            yield return new MarkedToken(next < symbols && chosen[next] == position ? symbol[next++] : Blank);
        yield return new MarkedToken(Mark);
        for (int i = 0; i < symbols; i++)
            yield return new MarkedToken(symbol[i], context + 1 + i - chosen[i]);
    }
}
