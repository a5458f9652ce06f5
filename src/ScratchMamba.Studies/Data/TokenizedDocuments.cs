using System.Security.Cryptography;
using System.Text;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>Data of text, where a document can be begun at any place of it.</summary>
/// <param name="tokenizer">What makes tokens of the text.</param>
public abstract class TokenizedDocuments(Tokenizer tokenizer) : StudyData
{
    /// <summary>What makes tokens of the text.</summary>
    public Tokenizer Tokenizer => tokenizer;

    /// <inheritdoc/>
    public override int VocabularySize => tokenizer.VocabularySize;

    /// <summary>The loss of guessing a digit, which is what is scored, mostly; a token may stand for more of them.</summary>
    public override double ChanceLoss => Math.Log(10);

    /// <inheritdoc/>
    public override string Show(int id) => Encoding.UTF8.GetString(tokenizer.Decode(id).Span).Replace(' ', '␣').Replace('\n', '⏎');

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number) => Document(seed, number, 0);

    /// <inheritdoc/>
    public abstract override IEnumerable<MarkedToken> Document(ulong seed, ulong number, long start);

    /// <summary>What lengths are counted in: bytes, or tokens of a vocabulary, which is told by its size and the beginning of its hash.</summary>
    protected string Unit => UnitOf(tokenizer);

    /// <summary>The same of any tokenizer.</summary>
    internal static string UnitOf(Tokenizer tokenizer)
    {
        if (tokenizer is ByteTokenizer)
            return "bytes";
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (int id = 0; id < tokenizer.VocabularySize; id++)
        {
            hash.AppendData(tokenizer.Decode(id).Span);
            hash.AppendData([0]);
        }
        return $"tokens of {tokenizer.VocabularySize:#,0}, SHA-256 {Convert.ToHexStringLower(hash.GetCurrentHash())[..8]},";
    }

    /// <summary>A text's name with its length and the beginning of its hash: another text of that name is other data.</summary>
    internal static string NameOf(string name, ReadOnlySpan<byte> text) => $"{name}, {text.Length:#,0} bytes, SHA-256 {Convert.ToHexStringLower(SHA256.HashData(text))[..8]}";

    /// <summary>Which of the tokens stand for the bytes from one place of their text to another, and for no others.</summary>
    protected Range Within(ReadOnlySpan<int> tokens, int from, int to)
    {
        int i = 0, at = 0;
        for (; i < tokens.Length && at < from; i++)
            at += tokenizer.Decode(tokens[i]).Length;
        int first = i;
        for (; i < tokens.Length && (at += tokenizer.Decode(tokens[i]).Length) <= to; i++)
        {
        }
        return first..i;
    }
}
