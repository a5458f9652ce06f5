using System.Security.Cryptography;
using System.Text;
using ScratchMamba.Data;

namespace ScratchMamba.Studies.Data;

/// <summary>Text, as lines and as the words in it, without any line that has to do with the passkeys that models are asked for: what is learned from it was not learned from them.</summary>
public sealed class Prose
{
    private const int ShortestWord = 3, LongestWord = 10, LeastWords = 16;

    private static readonly Lazy<Prose> Embedded = new(() => new Prose("this project's text", TextCorpus.FromBytes(TextCorpus.ReadDefault()).Training));

    /// <summary>The lines and words of a text.</summary>
    /// <param name="name">What it is.</param>
    /// <param name="text">UTF-8 text.</param>
    /// <exception cref="ArgumentException">It has too few words to make sentences of.</exception>
    public Prose(string name, ReadOnlySpan<byte> text)
    {
        var lines = new List<byte[]>();
        var words = new SortedSet<string>(StringComparer.Ordinal);
        foreach (Range range in text.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> line = text[range];
            string read = Encoding.UTF8.GetString(line);
            if (TextPasskey.IsSpokenOf(read))
                continue;
            lines.Add([.. line, (byte)'\n']);
            foreach (string word in read.Split((char[])[' ', '.', ',', ':', ';', '(', ')'], StringSplitOptions.RemoveEmptyEntries))
            {
                if (word.Length is >= ShortestWord and <= LongestWord && word.All(char.IsAsciiLetterLower))
                    words.Add(word);
            }
        }
        Name = $"{name}, {text.Length:#,0} bytes, SHA-256 {Convert.ToHexStringLower(SHA256.HashData(text))[..8]}";
        Lines = [.. lines];
        Words = [.. words];
        if (Words.Length < LeastWords)
            throw new ArgumentException($"{name} has {Words.Length} words of {ShortestWord} to {LongestWord} small letters; {LeastWords} are needed to make sentences of.");
    }

    /// <summary>The text that is always there, as far as it is not held out.</summary>
    public static Prose Default => Embedded.Value;

    /// <summary>What it is, with its length and the beginning of its hash.</summary>
    public string Name { get; }

    /// <summary>Its lines, each with its end.</summary>
    internal byte[][] Lines { get; }

    /// <summary>The words in small letters, each once.</summary>
    internal string[] Words { get; }
}
