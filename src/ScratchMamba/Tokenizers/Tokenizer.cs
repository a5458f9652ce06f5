using System.Buffers;

namespace ScratchMamba.Tokenizers;

/// <summary>Turns text into token ids and back.</summary>
public abstract class Tokenizer
{
    /// <summary>The number of token ids.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>The token that a model writes to end a text; null where there is none.</summary>
    public virtual int? EndOfText => null;

    /// <summary>The tokens that every prompt begins with, such as one that says "beginning of text". <see cref="Encode"/> does not add them.</summary>
    public virtual IReadOnlyList<int> PromptStart => [];

    /// <summary>The token ids of UTF-8 text.</summary>
    public abstract int[] Encode(ReadOnlySpan<byte> text);

    /// <summary>The bytes that a token stands for.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such token.</exception>
    public abstract ReadOnlyMemory<byte> Decode(int token);

    /// <summary>The bytes that tokens stand for together: the text, if they encode one.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One of them is no token.</exception>
    public virtual byte[] Decode(ReadOnlySpan<int> tokens)
    {
        var text = new ArrayBufferWriter<byte>();
        foreach (int token in tokens)
            text.Write(Decode(token).Span);
        return text.WrittenSpan.ToArray();
    }
}

/// <summary>Every byte is a token: nothing to train, nothing to load, and every text has an encoding.</summary>
public sealed class ByteTokenizer : Tokenizer
{
    private static readonly byte[] Bytes = [.. Enumerable.Range(0, 256).Select(value => (byte)value)];

    /// <inheritdoc/>
    public override int VocabularySize => 256;

    /// <inheritdoc/>
    public override int[] Encode(ReadOnlySpan<byte> text)
    {
        var tokens = new int[text.Length];
        for (int i = 0; i < tokens.Length; i++)
            tokens[i] = text[i];
        return tokens;
    }

    /// <inheritdoc/>
    public override ReadOnlyMemory<byte> Decode(int token) => (uint)token < 256
        ? Bytes.AsMemory(token, 1)
        : throw new ArgumentOutOfRangeException(nameof(token), token, "A byte token is between 0 and 255.");
}
