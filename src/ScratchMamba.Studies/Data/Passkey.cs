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
public sealed class TextPasskey : Passkey
{
    // {v} is what is hidden.
    private sealed record Form(string Before, string Filling, string Told, string After);

    private static readonly Form Asked = new(
        "There is an important piece of information hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz you about it.\n\n",
        "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n", "The passkey is {v}. Remember it. {v} is the passkey.\n", "\nWhat is the passkey? The passkey is");

    private static readonly Form[] Others =
    [
        new("Somewhere in these lines stands a code. You will have to give it back at the end, so keep it in your head.\n\n", "Rain fell on the roof. A dog slept near the door. Nobody spoke. Time went by.\n", "Here is the access code: {v}. Never lose it. {v} opens the door.\n", "\nNow give the access code. The access code is"),
        new("Below is a long tale. One number in it matters, all else does not. Learn it by heart.\n\n", "The wheel turns. Leaves fall in the wind. Snow is cold. We walk on.\n", "The magic number was {v}. Learn it. {v} was the magic number.\n", "\nWhat was the magic number? The magic number was"),
        new("Remember the secret that one of the following sentences tells. There will be a question.\n\n", "Bread is baked in the morning. Milk is white. Cats like both. So it goes on and on.\n", "My secret word is {v}. Tell nobody. {v} is my secret word.\n", "\nWhat is my secret word? My secret word is"),
        new("This text has a token in it and much that says nothing. Look for the token, for you are asked.\n\n", "Ships sail by. The harbour is wide. Gulls cry. Waves come in and go out again.\n", "A token is {v}. Note it down. {v} is a token.\n", "\nWhich token did you read? It is"),
    ];

    private const int LongestPiece = 20;

    private static readonly string[] Sentences =
        ["passkey", "pass key", "remember it", .. ((Form[])[Asked, .. Others]).SelectMany(form => (form.Before + form.Filling).Split(['.', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))];

    // Of the hidden line and the question any so long has one of the words above in it.
    private static readonly HashSet<string> Pieces =
        [.. Enumerable.Range(0, Asked.Before.Length + 2 * Asked.Filling.Length - LongestPiece + 1).Select(i => (Asked.Before + Asked.Filling + Asked.Filling).Substring(i, LongestPiece))];

    private readonly Tokenizer tokenizer;
    private readonly string told;
    private readonly int[] before, filling, after;

    /// <summary>The paper's prompt.</summary>
    /// <param name="tokenizer">What makes tokens of it.</param>
    /// <param name="announces">Whether the first sentence says what is to come.</param>
    public TextPasskey(Tokenizer tokenizer, bool announces = true) : this(tokenizer, Asked, announces)
    {
    }

    private TextPasskey(Tokenizer tokenizer, Form form, bool announces) =>
        (this.tokenizer, told, before, filling, after) = (tokenizer, form.Told, announces ? Encode(tokenizer, form.Before) : [], Encode(tokenizer, form.Filling), Encode(tokenizer, form.After));

    /// <summary>Prompts of the same kind in four other wordings, which take turns: to choose a checkpoint by.</summary>
    internal static Passkey InOtherWords(Tokenizer tokenizer) => new Turns([.. Others.Select(form => new TextPasskey(tokenizer, form, announces: true))]);

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

    private int[] Needle(string key) => Encode(tokenizer, told.Replace("{v}", key));

    private static int[] Encode(Tokenizer tokenizer, string text) => tokenizer.Encode(Encoding.UTF8.GetBytes(text));

    private sealed class Turns(TextPasskey[] forms) : Passkey
    {
        public override string Name => "numbers of five digits among sentences, in other words than the passkey";

        public override int AnswerTokens => forms[0].AnswerTokens;

        public override PasskeyPrompt Prompt(ulong seed, ulong number, int length, double depth) => forms[number % (ulong)forms.Length].Prompt(seed, number, length, depth);

        public override string Decode(ReadOnlySpan<int> tokens) => forms[0].Decode(tokens);
    }
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
