using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// Divides text into words: the matches of a regular expression, and what lies between them. Tokens never cross from one word to the next.
/// </summary>
/// <remarks>
/// .NET's expressions know characters of 16 bits only. The text is therefore matched by a stand-in that has one such character for each code point: itself, or,
/// beyond U+FFFF, one of the same category. A byte that is not UTF-8 stands as U+FFFD.
/// </remarks>
internal sealed partial class WordPattern
{
    /// <summary>The pattern of GPT-2, which byte-level tokenizers divide text by unless they say otherwise.</summary>
    public const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    // Longer than any sensible pattern takes for a gigabyte; a pattern from a file may be exponential.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    // In the order of UnicodeCategory. Categories that have no character beyond U+FFFF have one nevertheless.
    private static readonly char[] StandIns =
    [
        'Ω', 'ω', 'ǅ', 'ʰ', 'ƻ', '\u0300', '\u0903', '\u0488', '٠', 'Ⅰ', '²', '\u00A0', '\u2028', '\u2029', '\u0080',
        '\u2060', '\uFFFD', '\uE000', '‿', '–', '⁅', '⁆', '«', '»', '†', '×', '€', '˂', '©', '\u0378',
    ];

    private readonly Regex expression;

    /// <summary>A pattern.</summary>
    /// <exception cref="ArgumentException">It is not a regular expression that .NET knows.</exception>
    public WordPattern(string pattern)
    {
        Text = pattern;
        expression = pattern == Gpt2 ? Gpt2Expression() : new Regex(pattern, RegexOptions.CultureInvariant, Patience);
    }

    /// <summary>The regular expression.</summary>
    public string Text { get; }

    /// <summary>Calls <paramref name="word"/> with the place of each word in the text, in order.</summary>
    public static void Divide(ReadOnlySpan<byte> text, ReadOnlySpan<WordPattern> patterns, Action<Range> word)
    {
        char[] standIns = ArrayPool<char>.Shared.Rent(text.Length);
        int count = 0;
        for (ReadOnlySpan<byte> rest = text; !rest.IsEmpty;)
        {
            standIns[count++] = StandIn(rest, out int length);
            rest = rest[length..];
        }
        var cursor = new Cursor(text, word);
        Divide(standIns.AsSpan(0, count), patterns, ref cursor);
        ArrayPool<char>.Shared.Return(standIns);
    }

    private static void Divide(ReadOnlySpan<char> text, ReadOnlySpan<WordPattern> patterns, ref Cursor cursor)
    {
        if (patterns.IsEmpty)
        {
            cursor.Take(text.Length);
            return;
        }
        int end = 0;
        foreach (ValueMatch match in patterns[0].expression.EnumerateMatches(text))
        {
            if (match.Length == 0)
                continue;
            if (match.Index > end)
                Divide(text[end..match.Index], patterns[1..], ref cursor);
            end = match.Index + match.Length;
            Divide(text[match.Index..end], patterns[1..], ref cursor);
        }
        if (end < text.Length)
            Divide(text[end..], patterns[1..], ref cursor);
    }

    private static char StandIn(ReadOnlySpan<byte> text, out int length)
    {
        if (text[0] < 0x80)
        {
            length = 1;
            return (char)text[0];
        }
        Rune.DecodeFromUtf8(text, out Rune rune, out length);
        return rune.IsBmp ? (char)rune.Value : StandIns[(int)CharUnicodeInfo.GetUnicodeCategory(rune.Value)];
    }

    [GeneratedRegex(Gpt2, RegexOptions.CultureInvariant)]
    private static partial Regex Gpt2Expression();

    /// <summary>Follows in the bytes what is taken of the stand-in.</summary>
    private ref struct Cursor(ReadOnlySpan<byte> text, Action<Range> word)
    {
        private readonly ReadOnlySpan<byte> text = text;
        private int position;

        public void Take(int characters)
        {
            int start = position;
            for (; characters > 0; characters--)
            {
                if (text[position] < 0x80)
                {
                    position++;
                    continue;
                }
                Rune.DecodeFromUtf8(text[position..], out _, out int length);
                position += length;
            }
            word(start..position);
        }
    }
}
