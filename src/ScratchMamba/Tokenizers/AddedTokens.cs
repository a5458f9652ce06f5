using System.Buffers;
using System.Globalization;
using System.Text;

namespace ScratchMamba.Tokenizers;

/// <summary>A token that stands in text as it is, outside of the merges.</summary>
/// <param name="Id">The token's id.</param>
/// <param name="Content">Its text.</param>
/// <param name="IsSpecial">Whether it steers the model rather than being text.</param>
/// <param name="TakesSpaceBefore">Whether white space before it belongs to it (<c>lstrip</c>).</param>
/// <param name="TakesSpaceAfter">Whether white space after it belongs to it (<c>rstrip</c>).</param>
/// <param name="IsWholeWord">Whether it is found only where no letter or digit touches it (<c>single_word</c>).</param>
/// <param name="IsNormalized">Whether it is looked for in the text after normalisation rather than before.</param>
internal sealed record AddedToken(
    int Id, string Content, bool IsSpecial = false, bool TakesSpaceBefore = false, bool TakesSpaceAfter = false, bool IsWholeWord = false, bool IsNormalized = false);

/// <summary>Finds added tokens in text: the leftmost, of those the longest, then on from its end.</summary>
internal sealed class AddedTokens
{
    private readonly (byte[] Content, AddedToken Token)[][] byFirstByte = new (byte[], AddedToken)[256][];
    private readonly SearchValues<byte> firstBytes;

    public AddedTokens(IEnumerable<(byte[] Content, AddedToken Token)> tokens)
    {
        foreach (var group in tokens.Where(entry => entry.Content.Length > 0).GroupBy(entry => entry.Content[0]))
            byFirstByte[group.Key] = [.. group.OrderByDescending(entry => entry.Content.Length)];
        firstBytes = SearchValues.Create([.. Enumerable.Range(0, 256).Where(value => byFirstByte[value] is not null).Select(value => (byte)value)]);
    }

    /// <summary>Calls back with every part of the text in order: an added token's id, or −1 and a stretch that holds none.</summary>
    public void Divide(ReadOnlySpan<byte> text, Action<int, Range> part)
    {
        int taken = 0, position = 0;
        while (position < text.Length)
        {
            int skip = text[position..].IndexOfAny(firstBytes);
            if (skip < 0)
                break;
            position += skip;
            if (Longest(text[position..]) is not { } found)
            {
                position++;
                continue;
            }
            AddedToken token = found.Token;
            int start = position, end = position += found.Content.Length;
            if (token.IsWholeWord && (EndsInWord(text[..start]) || BeginsWithWord(text[end..])))
                continue;
            if (token.TakesSpaceBefore)
                start = Math.Max(taken, start - SpaceAtEnd(text[..start]));
            if (token.TakesSpaceAfter)
                end += SpaceAtStart(text[end..]);
            if (start > taken)
                part(-1, taken..start);
            part(token.Id, start..end);
            // Not beyond the white space that belongs to the token: what is found there counts once more, as it does in Hugging Face's tokenizers.
            taken = end;
        }
        if (taken < text.Length)
            part(-1, taken..text.Length);
    }

    private (byte[] Content, AddedToken Token)? Longest(ReadOnlySpan<byte> text)
    {
        foreach ((byte[] Content, AddedToken Token) entry in byFirstByte[text[0]])
        {
            if (text.StartsWith(entry.Content))
                return entry;
        }
        return null;
    }

    private static int SpaceAtStart(ReadOnlySpan<byte> text)
    {
        int count = 0;
        while (Rune.DecodeFromUtf8(text[count..], out Rune rune, out int length) == OperationStatus.Done && Rune.IsWhiteSpace(rune))
            count += length;
        return count;
    }

    private static int SpaceAtEnd(ReadOnlySpan<byte> text)
    {
        int count = 0;
        while (Rune.DecodeLastFromUtf8(text[..^count], out Rune rune, out int length) == OperationStatus.Done && Rune.IsWhiteSpace(rune))
            count += length;
        return count;
    }

    private static bool BeginsWithWord(ReadOnlySpan<byte> text) => Rune.DecodeFromUtf8(text, out Rune rune, out _) == OperationStatus.Done && IsWord(rune);

    private static bool EndsInWord(ReadOnlySpan<byte> text) => Rune.DecodeLastFromUtf8(text, out Rune rune, out _) == OperationStatus.Done && IsWord(rune);

    private static bool IsWord(Rune rune) => Rune.IsLetter(rune) || rune.Value is 0x200C or 0x200D || Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
        or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation;
}
