namespace ScratchMamba.Tokenizers;

/// <summary>How a tokenizer changes text before it is divided.</summary>
internal enum Normalization
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>To Unicode's form C.</summary>
    Composed,
}

/// <summary>What a byte-pair tokenizer is made of, as <c>tokenizer.json</c> and GGUF describe it.</summary>
internal sealed record BpeModel
{
    /// <summary>The character that stands for a space where tokens are written as text.</summary>
    public const char SpaceMark = '▁';

    /// <summary>How every token of the vocabulary is written, by its id; null where an id has none, or only an added token.</summary>
    public required string?[] Tokens { get; init; }

    /// <summary>The pairs that become one token, the first to be merged first.</summary>
    public required IReadOnlyList<(string Left, string Right)> Merges { get; init; }

    /// <summary>The tokens that stand in text as they are.</summary>
    public IReadOnlyList<AddedToken> Added { get; init; } = [];

    /// <summary>How text is changed first.</summary>
    public Normalization Normalization { get; init; }

    /// <summary>The patterns that divide text into words, each dividing what the one before has left.</summary>
    public IReadOnlyList<string> Patterns { get; init; } = [WordPattern.Gpt2];

    /// <summary>
    /// Whether tokens are written in <see cref="ByteAlphabet"/>; otherwise they are text in which <see cref="SpaceMark"/> is a space and <c>&lt;0x0A&gt;</c> a byte.
    /// </summary>
    public bool IsByteLevel { get; init; } = true;

    /// <summary>Whether a space is put before text: before every stretch between added tokens, unless it begins with one.</summary>
    public bool AddsPrefixSpace { get; init; }

    /// <summary>Whether the space is put before the first stretch only.</summary>
    public bool PrefixesFirstOnly { get; init; }

    /// <summary>Whether a character without a token is written as its bytes' tokens.</summary>
    public bool HasByteFallback { get; init; }

    /// <summary>Whether a word that is a token is not merged together from its parts.</summary>
    public bool IgnoresMerges { get; init; }

    /// <summary>The token of what has none; null to leave it out.</summary>
    public int? Unknown { get; init; }

    /// <summary>Whether unknown characters beside each other are one token.</summary>
    public bool FusesUnknown { get; init; }

    /// <summary>The tokens that a prompt begins with.</summary>
    public IReadOnlyList<int> PromptStart { get; init; } = [];

    /// <summary>The token that ends a text.</summary>
    public int? EndOfText { get; init; }

    /// <summary>How a token is written; null where the id has none.</summary>
    public string? NameOf(int token) => Tokens[token] ?? Added.FirstOrDefault(added => added.Id == token)?.Content;
}
