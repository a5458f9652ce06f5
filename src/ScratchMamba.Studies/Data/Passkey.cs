using System.Text;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>A prompt that hides something and asks for it at its end.</summary>
/// <param name="Tokens">The prompt.</param>
/// <param name="Answer">What the continuation must contain, as text.</param>
/// <param name="Distance">How many tokens before the prompt's end the hidden thing begins.</param>
public sealed record PasskeyPrompt(int[] Tokens, string Answer, int Distance);

/// <summary>Makes prompts of any length that hide something at any depth; each a pure function of a seed and its number.</summary>
public abstract class Passkey
{
    /// <summary>The prompts, as a report names them.</summary>
    public abstract string Name { get; }

    /// <summary>How many tokens the model may write in answer.</summary>
    public abstract int AnswerTokens { get; }

    /// <summary>A prompt of at most <paramref name="length"/> tokens; as many as whole pieces of filling allow.</summary>
    /// <param name="seed">The prompts' seed.</param>
    /// <param name="number">Which of the seed's prompts.</param>
    /// <param name="length">The most tokens it may have.</param>
    /// <param name="depth">Where the hidden thing stands: 0 at the beginning, 1 at the end.</param>
    /// <exception cref="ArgumentException">The length has no room for what is hidden and the question.</exception>
    public abstract PasskeyPrompt Prompt(ulong seed, ulong number, int length, double depth);

    /// <summary>A continuation as text.</summary>
    public abstract string Decode(ReadOnlySpan<int> tokens);

    /// <summary>Whether a continuation is right: it contains the answer.</summary>
    public bool Accepts(PasskeyPrompt prompt, ReadOnlySpan<int> continuation) => Decode(continuation).Contains(prompt.Answer, StringComparison.Ordinal);

    /// <summary>The piece of filling that gives way to what is hidden: number ⌊depth · (pieces − 1)⌋.</summary>
    private protected static int Place(double depth, int pieces, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(depth);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(depth, 1);
        return pieces >= 1 ? (int)(depth * (pieces - 1)) : throw new ArgumentException($"A prompt of {length} tokens has no room for what is to be hidden; choose a longer one.", nameof(length));
    }
}

/// <summary>
/// The passkey prompt of the paper (section 4.2 of its specification): a number of five digits in one line among a hundred that say nothing.
/// </summary>
/// <example>
/// Seed 1, prompt 0, at most 500 bytes, depth 0.5:
/// <code>
/// There is an important piece of information hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz you about it.
///
/// The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.
/// The passkey is 89025. Remember it. 89025 is the passkey.
/// The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.
///
/// What is the passkey? The passkey is
/// </code>
/// </example>
/// <param name="tokenizer">What makes tokens of it.</param>
/// <param name="announces">Whether the first sentence says what is to come.</param>
public sealed class TextPasskey(Tokenizer tokenizer, bool announces = true) : Passkey
{
    private const string Before = "There is an important piece of information hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz you about it.\n\n";
    private const string Filling = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n";
    private const string After = "\nWhat is the passkey? The passkey is";

    private const int LongestPiece = 20;

    private static readonly string[] Sentences =
        ["passkey", "pass key", "remember it", .. (Before + Filling).Split(['.', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)];

    // Of the hidden line and the question any so long has one of the words above in it.
    private static readonly HashSet<string> Pieces = [.. Enumerable.Range(0, Before.Length + 2 * Filling.Length - LongestPiece + 1).Select(i => (Before + Filling + Filling).Substring(i, LongestPiece))];

    private readonly int[] before = announces ? Encode(tokenizer, Before) : [], filling = Encode(tokenizer, Filling), after = Encode(tokenizer, After);

    /// <inheritdoc/>
    public override string Name => "passkey of five digits among sentences";

    /// <inheritdoc/>
    public override int AnswerTokens => " 00000".Length;

    /// <inheritdoc/>
    public override PasskeyPrompt Prompt(ulong seed, ulong number, int length, double depth)
    {
        string key = KeyOf(seed, number);
        int[] needle = Needle(key);
        int pieces = (length - before.Length - after.Length) / filling.Length, place = Place(depth, pieces, length);
        var tokens = new List<int>(length);
        tokens.AddRange(before);
        int start = 0;
        for (int piece = 0; piece < pieces; piece++)
        {
            if (piece == place)
                start = tokens.Count;
            tokens.AddRange(piece == place ? needle : filling);
        }
        tokens.AddRange(after);
        return new PasskeyPrompt([.. tokens], key, tokens.Count - start);
    }

    /// <summary>Whether a line has to do with these prompts: it says passkey, or has one of their sentences or twenty of their letters in it.</summary>
    internal static bool IsSpokenOf(string line)
    {
        HashSet<string>.AlternateLookup<ReadOnlySpan<char>> pieces = Pieces.GetAlternateLookup<ReadOnlySpan<char>>();
        for (int i = 0; i + LongestPiece <= line.Length; i++)
        {
            if (pieces.Contains(line.AsSpan(i, LongestPiece)))
                return true;
        }
        return Sentences.Any(sentence => line.Contains(sentence, StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>The shortest prompt that has room for what is hidden.</summary>
    internal int Least => before.Length + filling.Length + after.Length;

    /// <summary>How many tokens a prompt of at most <paramref name="length"/> has.</summary>
    internal int TokensOf(int length, string key) => before.Length + after.Length + ((length - before.Length - after.Length) / filling.Length - 1) * filling.Length + Needle(key).Length;

    /// <summary>What a prompt hides.</summary>
    internal static string KeyOf(ulong seed, ulong number) => new Philox(seed, number).Next(100_000).ToString("00000");

    /// <inheritdoc/>
    public override string Decode(ReadOnlySpan<int> tokens) => Encoding.UTF8.GetString(tokenizer.Decode(tokens));

    private int[] Needle(string key) => Encode(tokenizer, $"The passkey is {key}. Remember it. {key} is the passkey.\n");

    private static int[] Encode(Tokenizer tokenizer, string text) => tokenizer.Encode(Encoding.UTF8.GetBytes(text));
}

/// <summary>
/// The passkey in the language of streaming recall: four pairs repeated, another pair once among them, and its key at the end.
/// </summary>
/// <example>
/// 8 keys, 8 values, seed 1, prompt 0, 24 tokens, depth 0.5:
/// <code>
/// &lt;s&gt; k1 v5 k0 v1 k4 v4 k2 v5 k1 v5 k5 v7 k4 v4 k2 v5 k1 v5 k0 v1 k4 v4 k5
/// </code>
/// </example>
public sealed class RecallPasskey(StreamingRecall data) : Passkey
{
    private const int Fillings = 4;

    /// <inheritdoc/>
    public override string Name => $"one pair among {Fillings} that are repeated, {data.Keys} keys, {data.Values} values";

    /// <inheritdoc/>
    public override int AnswerTokens => 1;

    /// <inheritdoc/>
    public override PasskeyPrompt Prompt(ulong seed, ulong number, int length, double depth)
    {
        var random = new Philox(seed, number);
        int[] keys = [.. Enumerable.Range(0, data.Keys)];
        random.Shuffle<int>(keys);
        int[] values = [.. Enumerable.Range(0, Fillings + 1).Select(_ => random.Next(data.Values))];
        int pieces = (length - 2) / 2, place = Place(depth, pieces, length);
        var tokens = new List<int>(length) { StreamingRecall.Start };
        for (int piece = 0; piece < pieces; piece++)
        {
            int pair = piece == place ? Fillings : piece % Fillings;
            tokens.Add(StreamingRecall.KeyToken(keys[pair]));
            tokens.Add(data.ValueToken(values[pair]));
        }
        tokens.Add(StreamingRecall.KeyToken(keys[Fillings]));
        return new PasskeyPrompt([.. tokens], data.Show(data.ValueToken(values[Fillings])), tokens.Count - (1 + 2 * place));
    }

    /// <inheritdoc/>
    public override string Decode(ReadOnlySpan<int> tokens)
    {
        string text = "";
        foreach (int token in tokens)
            text += (text.Length > 0 ? " " : "") + data.Show(token);
        return text;
    }
}
