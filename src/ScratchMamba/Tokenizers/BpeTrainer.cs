using System.Runtime.InteropServices;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// Learns a byte-level vocabulary: starts from the 256 bytes and, again and again, makes one token of the pair of neighbours that is most frequent within the words of a text,
/// of equals the pair with the smaller ids. Source: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016).
/// </summary>
public static class BpeTrainer
{
    /// <summary>Learns a tokenizer like GPT-NeoX's: its pattern divides text into words, and nothing is normalised.</summary>
    /// <param name="text">UTF-8 text.</param>
    /// <param name="vocabularySize">The number of tokens, the special ones and the bytes included. There are fewer where the text does not give as many.</param>
    /// <param name="leastFrequency">Pairs that are seen less often than this are not made tokens.</param>
    /// <param name="special">Tokens that stand for no text, which have the first ids.</param>
    /// <exception cref="ArgumentException">The vocabulary is too small for the special tokens and the bytes, or two special tokens are the same.</exception>
    public static BpeTokenizer Train(ReadOnlySpan<byte> text, int vocabularySize, int leastFrequency = 2, params ReadOnlySpan<string> special)
    {
        if (vocabularySize < 256 + special.Length)
            throw new ArgumentException($"The vocabulary must have at least {256 + special.Length} tokens: the bytes, and {special.Length} special ones.", nameof(vocabularySize));
        var added = new AddedToken[special.Length];
        for (int i = 0; i < added.Length; i++)
        {
            if (special[i].Length == 0 || special[..i].Contains(special[i]))
                throw new ArgumentException($"The special token '{special[i]}' is empty or given twice.", nameof(special));
            added[i] = new AddedToken(i, special[i], IsSpecial: true);
        }
        var training = new Training(text, special);
        training.Run(vocabularySize, leastFrequency);
        return new BpeTokenizer(new BpeModel { Tokens = [.. training.Tokens], Merges = training.Merges, Added = added, EndOfText = added.Length > 0 ? 0 : null });
    }

    private sealed class Training
    {
        private readonly List<(List<int> Symbols, long Count)> words = [];
        private readonly Dictionary<ulong, long> counts = [];
        private readonly Dictionary<ulong, List<int>> places = [];
        private readonly Dictionary<string, int> ids = new(StringComparer.Ordinal);
        private readonly PriorityQueue<(ulong Pair, long Count), (long, ulong)> queue = new();

        public Training(ReadOnlySpan<byte> text, ReadOnlySpan<string> special)
        {
            foreach (string token in special)
                Add(token);
            foreach (char character in Enumerable.Range(0, 256).Select(value => ByteAlphabet.CharacterOf((byte)value)).Order())
                Add(character.ToString());
            CountWords(text);
        }

        public List<string> Tokens { get; } = [];

        public List<(string, string)> Merges { get; } = [];

        public void Run(int vocabularySize, int leastFrequency)
        {
            for (int word = 0; word < words.Count; word++)
            {
                (List<int> symbols, long count) = words[word];
                for (int i = 1; i < symbols.Count; i++)
                    Change(BpeMerges.Key(symbols[i - 1], symbols[i]), count, word);
            }
            foreach ((ulong pair, long count) in counts)
                Enqueue(pair, count);
            while (Tokens.Count < vocabularySize && queue.TryDequeue(out (ulong Pair, long Count) top, out _))
            {
                long count = counts[top.Pair];
                if (count != top.Count)
                {
                    // Queued before other merges took some of its places.
                    Enqueue(top.Pair, count);
                    continue;
                }
                if (count < Math.Max(1, leastFrequency))
                    break;
                Merge(top.Pair);
            }
        }

        private void Merge(ulong pair)
        {
            int left = (int)(pair >> 32), right = (int)(uint)pair;
            Merges.Add((Tokens[left], Tokens[right]));
            int merged = Add(Tokens[left] + Tokens[right]);
            var grown = new HashSet<ulong>();
            if (!places.Remove(pair, out List<int>? here))
                return;
            foreach (int word in here)
            {
                (List<int> symbols, long count) = words[word];
                for (int i = 0; i + 1 < symbols.Count; i++)
                {
                    if (symbols[i] != left || symbols[i + 1] != right)
                        continue;
                    if (i > 0)
                    {
                        Change(BpeMerges.Key(symbols[i - 1], left), -count, word);
                        Grow(BpeMerges.Key(symbols[i - 1], merged));
                    }
                    symbols[i] = merged;
                    symbols.RemoveAt(i + 1);
                    if (i + 1 < symbols.Count)
                    {
                        Change(BpeMerges.Key(right, symbols[i + 1]), -count, word);
                        Grow(BpeMerges.Key(merged, symbols[i + 1]));
                    }

                    void Grow(ulong next)
                    {
                        Change(next, count, word);
                        grown.Add(next);
                    }
                }
            }
            foreach (ulong next in grown)
                Enqueue(next, counts[next]);
        }

        private void Change(ulong pair, long by, int word)
        {
            CollectionsMarshal.GetValueRefOrAddDefault(counts, pair, out _) += by;
            if (by < 0)
                return;
            ref List<int>? list = ref CollectionsMarshal.GetValueRefOrAddDefault(places, pair, out _);
            list ??= [];
            // Words come one after another, so that a word's second place would be the last one listed.
            if (list.Count == 0 || list[^1] != word)
                list.Add(word);
        }

        private void Enqueue(ulong pair, long count)
        {
            if (count > 0)
                queue.Enqueue((pair, count), (-count, pair));
        }

        private int Add(string token)
        {
            if (ids.TryAdd(token, Tokens.Count))
                Tokens.Add(token);
            return ids[token];
        }

        private void CountWords(ReadOnlySpan<byte> text)
        {
            var seen = new Dictionary<string, int>(StringComparer.Ordinal);
            var ranges = new List<Range>();
            WordPattern.Divide(text, [new WordPattern(WordPattern.Gpt2)], ranges.Add);
            Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> lookup = seen.GetAlternateLookup<ReadOnlySpan<char>>();
            var written = new char[64];
            foreach (Range range in ranges)
            {
                ReadOnlySpan<byte> word = text[range];
                if (written.Length < word.Length)
                    written = new char[2 * word.Length];
                for (int i = 0; i < word.Length; i++)
                    written[i] = ByteAlphabet.CharacterOf(word[i]);
                ReadOnlySpan<char> key = written.AsSpan(0, word.Length);
                if (!lookup.TryGetValue(key, out int index))
                {
                    lookup[key] = index = words.Count;
                    var symbols = new List<int>(word.Length);
                    foreach (char character in key)
                        symbols.Add(ids[character.ToString()]);
                    words.Add((symbols, 0));
                }
                words[index] = words[index] with { Count = words[index].Count + 1 };
            }
        }
    }
}
