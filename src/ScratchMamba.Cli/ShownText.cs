using System.Text;
using ScratchMamba.Generation;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli;

/// <summary>How the tokens of one text become what is shown: no half characters, nothing from a stop string on.</summary>
internal sealed class ShownText(Tokenizer tokenizer, string[] stops, bool ignoresEnd = false)
{
    // Characters have at most four bytes, and so begin in one of the last few tokens.
    private const int MostTokensOfACharacter = 8;

    private readonly Utf8Decoder decoder = new();
    private readonly StopStrings stopping = new(stops);

    /// <summary>The token that ends the text; null for none.</summary>
    public int? End => ignoresEnd ? null : tokenizer.EndOfText;

    /// <summary>What follows a prompt, whole.</summary>
    public static string After(string prompt, Tokenizer tokenizer, Func<int[], IEnumerable<int>> continued)
    {
        using var text = new StringWriter();
        var shown = new ShownText(tokenizer, []);
        shown.Write(continued([.. tokenizer.PromptStart, .. tokenizer.Encode(Encoding.UTF8.GetBytes(prompt))]), text);
        return text + shown.Finish();
    }

    /// <summary>Begins after tokens that were shown before, of which the last may be half a character.</summary>
    public void Follow(IEnumerable<int> tokens)
    {
        foreach (int token in tokens.TakeLast(MostTokensOfACharacter))
            decoder.Append(BytesOf(token));
    }

    /// <summary>Writes tokens as they come, up to the end of the text.</summary>
    public void Write(IEnumerable<int> tokens, TextWriter output)
    {
        foreach (int token in tokens)
        {
            if (token == End)
                break;
            output.Write(Shown(stopping.Append(decoder.Append(BytesOf(token)))));
            output.Flush();
            if (stopping.IsStopped)
                break;
        }
    }

    /// <summary>What is left at the end of the text.</summary>
    public string Finish() => Shown(stopping.Append(decoder.Finish()) + stopping.Finish());

    /// <summary>What is left but for half a character.</summary>
    public string FinishStops() => Shown(stopping.Finish());

    /// <summary>A vocabulary may be padded with tokens that mean nothing.</summary>
    private ReadOnlySpan<byte> BytesOf(int token) => token < tokenizer.VocabularySize ? tokenizer.Decode(token).Span : "\uFFFD"u8;

    /// <summary>A model may write any byte; one that would move a terminal's cursor or change its colours is shown as U+FFFD.</summary>
    private static string Shown(string text) => string.Concat(text.Select(c => char.IsControl(c) && c is not ('\n' or '\t' or '\r') ? '\uFFFD' : c));
}
