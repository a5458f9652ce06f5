using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// Natural text: a document begins at a random place of it, and where the text ends goes on with its beginning, as the published evaluation repeats what is too short. Every token but the first is scored.
/// </summary>
/// <example>
/// The bytes of "to be or not to be", seed 1, document 0:
/// <code>
/// b e* t* o* ␣* b* e* ␣* o* r* ␣* n* o* t* ␣* t* o* ␣* b* e* t* o* ␣* b*
/// </code>
/// </example>
/// <param name="name">What the text is.</param>
/// <param name="text">UTF-8 text.</param>
/// <param name="tokenizer">What makes tokens of it.</param>
public sealed class TextDocuments(string name, ReadOnlySpan<byte> text, Tokenizer tokenizer) : TokenizedDocuments(tokenizer)
{
    private readonly int[] tokens = tokenizer.Encode(text) is { Length: > 0 } some ? some : throw new ArgumentException($"{name} has no text.");

    /// <inheritdoc/>
    public override string Name { get; } = NameOf(name, text) + (tokenizer is ByteTokenizer ? "" : $", in {UnitOf(tokenizer)}");

    /// <inheritdoc/>
    public override double ChanceLoss => Math.Log(VocabularySize);

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number, long start)
    {
        int first = new Philox(seed, number).Next(tokens.Length);
        for (long i = start; ; i++)
            yield return new MarkedToken(tokens[(first + i) % tokens.Length], i == 0 ? MarkedToken.NotScored : 0);
    }
}
