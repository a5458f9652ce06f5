using System.Text;
using ScratchMamba.Data;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>Text, as lines and as the words in it, without any line that has to do with the passkeys that models are asked for: what is learned from it was not learned from them.</summary>
public sealed class Prose
{
    private const int ShortestWord = 3, LongestWord = 10, LeastWords = 16;

    private static readonly Lazy<Prose> Embedded = new(() => Embed(new ByteTokenizer()));

    /// <summary>The lines and words of a text.</summary>
    /// <param name="name">What it is.</param>
    /// <param name="text">UTF-8 text.</param>
    /// <param name="tokenizer">What makes tokens of it; bytes by default.</param>
    /// <exception cref="ArgumentException">It has too few words to make sentences of.</exception>
    public Prose(string name, ReadOnlySpan<byte> text, Tokenizer? tokenizer = null)
    {
        Tokenizer = tokenizer ?? new ByteTokenizer();
        var lines = new List<int[]>();
        var words = new SortedSet<string>(StringComparer.Ordinal);
        foreach (Range range in text.Split((byte)'\n'))
        {
            string read = Encoding.UTF8.GetString(text[range]);
            if (TextPasskey.IsSpokenOf(read))
                continue;
            lines.Add(Tokenizer.Encode([.. text[range], (byte)'\n']));
            foreach (string word in read.Split((char[])[' ', '.', ',', ':', ';', '(', ')'], StringSplitOptions.RemoveEmptyEntries))
            {
                if (word.Length is >= ShortestWord and <= LongestWord && word.All(char.IsAsciiLetterLower))
                    words.Add(word);
            }
        }
        Name = TokenizedDocuments.NameOf(name, text);
        Lines = [.. lines];
        Words = [.. words];
        if (Words.Length < LeastWords)
            throw new ArgumentException($"{name} has {Words.Length} words of {ShortestWord} to {LongestWord} small letters; {LeastWords} are needed to make sentences of.");
    }

    /// <summary>The text that is always there, as far as it is not held out.</summary>
    public static Prose Default => Embedded.Value;

    /// <summary>The same in tokens.</summary>
    public static Prose Embed(Tokenizer tokenizer) => new("this project's text", TextCorpus.FromBytes(TextCorpus.ReadDefault()).Training, tokenizer);

    /// <summary>What makes tokens of it.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>What it is, with its length and the beginning of its hash.</summary>
    public string Name { get; }

    /// <summary>Its lines in tokens, each with its end.</summary>
    internal int[][] Lines { get; }

    /// <summary>The words in small letters, each once.</summary>
    internal string[] Words { get; }
}
