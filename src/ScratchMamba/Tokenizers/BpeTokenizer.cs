using System.Buffers;
using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// Byte-pair encoding as GPT-2, GPT-NeoX and Llama have it: text is divided at added tokens, normalised, divided into words, and the bytes or characters of each
/// word are merged to tokens. Read from a <c>tokenizer.json</c> or a GGUF file, or made by <see cref="BpeTrainer"/>. Safe to use from several threads.
/// </summary>
public sealed class BpeTokenizer : Tokenizer
{
    // Words of text repeat; remembering these saves merging most of them again. Bounded, because what is remembered comes from the outside.
    private const int MostRemembered = 1 << 16, LongestRemembered = 64;

    private readonly ConcurrentDictionary<byte[], int[]> words = new(WordComparer.Instance);
    private readonly ConcurrentDictionary<byte[], int[]>.AlternateLookup<ReadOnlySpan<byte>> remembered;
    private readonly byte[]?[] bytes;
    private readonly Dictionary<byte[], int> whole = new(WordComparer.Instance);
    private readonly Dictionary<byte[], int>.AlternateLookup<ReadOnlySpan<byte>> tokenOf;
    private readonly int[] tokenOfByte = new int[256];
    private readonly BpeMerges merges;
    private readonly AddedTokens addedToText, addedToNormalized;
    private readonly WordPattern[] patterns;
    private int rememberedCount;

    /// <summary>A tokenizer of these parts.</summary>
    /// <exception cref="InvalidDataException">They contradict each other: a merge of tokens that are none, a token that is written in characters that stand for no byte.</exception>
    internal BpeTokenizer(BpeModel model)
    {
        Model = model;
        remembered = words.GetAlternateLookup<ReadOnlySpan<byte>>();
        tokenOf = whole.GetAlternateLookup<ReadOnlySpan<byte>>();
        bytes = new byte[]?[model.Tokens.Length];
        Array.Fill(tokenOfByte, -1);
        ReadTokens();
        foreach (AddedToken token in model.Added)
            bytes[token.Id] = Encoding.UTF8.GetBytes(token.Content);
        merges = new BpeMerges(MergesById());
        addedToText = new AddedTokens(model.Added.Where(token => !token.IsNormalized).Select(token => (bytes[token.Id]!, token)));
        addedToNormalized = new AddedTokens(model.Added.Where(token => token.IsNormalized).Select(token => (Normalized(bytes[token.Id], isFirst: false), token)));
        patterns = [.. model.Patterns.Select(pattern => new WordPattern(pattern))];
    }

    /// <inheritdoc/>
    public override int VocabularySize => bytes.Length;

    /// <inheritdoc/>
    public override int? EndOfText => Model.EndOfText;

    /// <inheritdoc/>
    public override IReadOnlyList<int> PromptStart => Model.PromptStart;

    internal BpeModel Model { get; }

    /// <summary>Reads a <c>tokenizer.json</c>, and from a <c>tokenizer_config.json</c> beside it which token ends a text.</summary>
    /// <exception cref="CheckpointException">It cannot be read, is damaged, or has a part that is not supported; the message says which.</exception>
    public static BpeTokenizer Load(string path) => TokenizerJson.Read(path);

    /// <summary>Writes a <c>tokenizer.json</c> that is read as the same tokenizer, here and by Hugging Face's tokenizers; whole or not at all.</summary>
    /// <exception cref="CheckpointException">It cannot be written.</exception>
    public void Save(string path) => TokenizerJsonWriter.Write(path, Model);

    /// <inheritdoc/>
    /// <remarks>Bytes that are not UTF-8 are encoded like any others and come back the same.</remarks>
    public override int[] Encode(ReadOnlySpan<byte> text)
    {
        var tokens = new List<int>(text.Length / 3);
        var parts = new List<(int Token, Range Place)>();
        addedToText.Divide(text, (token, place) => parts.Add((token, place)));
        var inner = new List<(int Token, Range Place)>();
        foreach ((int token, Range place) in parts)
        {
            if (token >= 0)
            {
                tokens.Add(token);
                continue;
            }
            byte[] normalized = Normalized(text[place], place.Start.Value == 0);
            inner.Clear();
            addedToNormalized.Divide(normalized, (token, place) => inner.Add((token, place)));
            foreach ((int innerToken, Range innerPlace) in inner)
            {
                if (innerToken >= 0)
                    tokens.Add(innerToken);
                else
                    EncodeWords(WithPrefix(normalized, innerPlace), tokens);
            }
        }
        return [.. tokens];
    }

    /// <inheritdoc/>
    public override ReadOnlyMemory<byte> Decode(int token) => (uint)token < (uint)bytes.Length
        ? bytes[token]
        : throw new ArgumentOutOfRangeException(nameof(token), token, $"A token of this vocabulary is between 0 and {bytes.Length - 1}.");

    /// <inheritdoc/>
    public override byte[] Decode(ReadOnlySpan<int> tokens)
    {
        byte[] text = base.Decode(tokens);
        return !Model.IsByteLevel && Model.AddsPrefixSpace && text is [(byte)' ', ..] ? text[1..] : text;
    }

    private void ReadTokens()
    {
        for (int id = 0; id < bytes.Length; id++)
        {
            if (Model.Tokens[id] is not { } token)
                continue;
            byte[] written = Encoding.UTF8.GetBytes(token);
            // A token in characters that stand for no bytes is one that is added to text as it is.
            byte[] meant = Model.IsByteLevel ? ByteAlphabet.Decode(token) ?? written
                : ByteOf(token) is { } value ? [value]
                : Encoding.UTF8.GetBytes(token.Replace(BpeModel.SpaceMark, ' '));
            bytes[id] = meant;
            if (!Model.IsByteLevel && ByteOf(token) is { } fallback)
                tokenOfByte[fallback] = id;
            else if (Model.IsByteLevel && meant.Length == 1 && token.Length == 1)
                tokenOfByte[meant[0]] = id;
            byte[] key = Model.IsByteLevel ? meant : written;
            // Two ids that are written alike cannot both be meant; an added token may repeat one.
            whole.TryAdd(key, id);
        }
    }

    private List<(int, int, int)> MergesById()
    {
        var ids = new Dictionary<string, int>(Model.Tokens.Length, StringComparer.Ordinal);
        for (int id = 0; id < Model.Tokens.Length; id++)
        {
            if (Model.Tokens[id] is { } token)
                ids.TryAdd(token, id);
        }
        var pairs = new List<(int, int, int)>(Model.Merges.Count);
        foreach ((string left, string right) in Model.Merges)
            pairs.Add((IdOf(left), IdOf(right), IdOf(left + right)));
        return pairs;

        int IdOf(string token) => ids.TryGetValue(token, out int id) ? id
            : throw new InvalidDataException($"merge {pairs.Count}: '{token}' is not in the vocabulary");
    }

    private static byte? ByteOf(string token) => token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
        && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, null, out byte value) ? value : null;

    private byte[] Normalized(ReadOnlySpan<byte> text, bool isFirst)
    {
        byte[] result = Model.Normalization == Normalization.Composed ? Composition.Compose(text) : text.ToArray();
        if (Model.IsByteLevel)
            return result;
        ReadOnlySpan<byte> mark = "▁"u8;
        var marked = new ArrayBufferWriter<byte>(result.Length + 3);
        if (isFirst ? Model.AddsPrefixSpace : Model.AddsPrefixSpace && !Model.PrefixesFirstOnly)
            marked.Write(mark);
        for (ReadOnlySpan<byte> rest = result; !rest.IsEmpty;)
        {
            int space = rest.IndexOf((byte)' ');
            marked.Write(space < 0 ? rest : rest[..space]);
            if (space < 0)
                break;
            marked.Write(mark);
            rest = rest[(space + 1)..];
        }
        return marked.WrittenSpan.ToArray();
    }

    private ReadOnlySpan<byte> WithPrefix(byte[] text, Range place)
    {
        ReadOnlySpan<byte> part = text.AsSpan(place);
        return Model.IsByteLevel && Model.AddsPrefixSpace && part[0] != ' ' ? (byte[])[(byte)' ', .. part] : part;
    }

    private void EncodeWords(ReadOnlySpan<byte> text, List<int> tokens)
    {
        var places = new List<Range>(text.Length / 4 + 1);
        WordPattern.Divide(text, patterns, places.Add);
        foreach (Range place in places)
            EncodeWord(text[place], tokens);
    }

    private void EncodeWord(ReadOnlySpan<byte> word, List<int> tokens)
    {
        bool isShort = word.Length <= LongestRemembered;
        if (isShort && remembered.TryGetValue(word, out int[]? known))
        {
            tokens.AddRange(known);
            return;
        }
        int[] encoded = Model.IgnoresMerges && tokenOf.TryGetValue(word, out int token) ? [token] : merges.Apply([.. Symbols(word)]);
        tokens.AddRange(encoded);
        if (isShort && rememberedCount < MostRemembered && remembered.TryAdd(word, encoded))
            Interlocked.Increment(ref rememberedCount);
    }

    private List<int> Symbols(ReadOnlySpan<byte> word)
    {
        var symbols = new List<int>(word.Length);
        bool wasUnknown = false;
        while (!word.IsEmpty)
        {
            int length = 1;
            if (!Model.IsByteLevel)
                Rune.DecodeFromUtf8(word, out _, out length);
            ReadOnlySpan<byte> character = word[..length];
            word = word[length..];
            bool isKnown = true;
            int id = Model.IsByteLevel ? tokenOfByte[character[0]] : tokenOf.TryGetValue(character, out int found) ? found : -1;
            if (id >= 0)
                symbols.Add(id);
            else if (Model.HasByteFallback && Fallback(character) is { } fallback)
                symbols.AddRange(fallback);
            else
                isKnown = false;
            if (!isKnown && Model.Unknown is { } unknown && !(wasUnknown && Model.FusesUnknown))
                symbols.Add(unknown);
            wasUnknown = !isKnown;
        }
        return symbols;
    }

    private int[]? Fallback(ReadOnlySpan<byte> character)
    {
        var ids = new int[character.Length];
        for (int i = 0; i < ids.Length; i++)
            ids[i] = tokenOfByte[character[i]];
        return ids.Contains(-1) ? null : ids;
    }

    private sealed class WordComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
    {
        public static readonly WordComparer Instance = new();

        public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

        public int GetHashCode(byte[] word) => GetHashCode(word.AsSpan());

        public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();

        public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

        public int GetHashCode(ReadOnlySpan<byte> word)
        {
            var hash = default(HashCode);
            hash.AddBytes(word);
            return hash.ToHashCode();
        }
    }
}
