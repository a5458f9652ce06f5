using System.Text;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// Turns the bytes of a growing text into characters as they become complete: half a character waits for its other half,
/// and bytes that can never become one come out as U+FFFD.
/// </summary>
public sealed class Utf8Decoder
{
    private readonly Decoder decoder = Encoding.UTF8.GetDecoder();

    /// <summary>The characters that these bytes complete.</summary>
    public string Append(ReadOnlySpan<byte> bytes) => Convert(bytes, flush: false);

    /// <summary>What is left at the end of the text.</summary>
    public string Finish() => Convert([], flush: true);

    private string Convert(ReadOnlySpan<byte> bytes, bool flush)
    {
        var characters = new char[decoder.GetCharCount(bytes, flush)];
        int count = decoder.GetChars(bytes, characters, flush);
        return new string(characters, 0, count);
    }
}
