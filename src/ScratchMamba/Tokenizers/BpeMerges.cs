namespace ScratchMamba.Tokenizers;

/// <summary>Byte-pair encoding of one word: of all neighbours the pair that comes first in the list of merges becomes one token, the leftmost of equals, until none is left.</summary>
internal sealed class BpeMerges
{
    // The rank in the upper half, the merged token in the lower.
    private readonly Dictionary<ulong, ulong> merges;

    public BpeMerges(IReadOnlyList<(int Left, int Right, int Merged)> pairs)
    {
        merges = new Dictionary<ulong, ulong>(pairs.Count);
        for (int rank = 0; rank < pairs.Count; rank++)
            merges[Key(pairs[rank].Left, pairs[rank].Right)] = (ulong)rank << 32 | (uint)pairs[rank].Merged;
    }

    /// <summary>A pair as one number, which sorts as the pair does.</summary>
    public static ulong Key(int left, int right) => (ulong)(uint)left << 32 | (uint)right;

    /// <summary>Merges the symbols of a word; takes n log n steps for n of them.</summary>
    public int[] Apply(ReadOnlySpan<int> word)
    {
        int[] symbols = word.ToArray(), next = new int[symbols.Length], previous = new int[symbols.Length];
        // By rank, then by place: a rank has fewer than 2³¹ values, and so has a place.
        var queue = new PriorityQueue<int, ulong>();
        for (int i = 0; i < symbols.Length; i++)
        {
            next[i] = i + 1;
            previous[i] = i - 1;
            Push(i, i + 1);
        }
        int left = symbols.Length;
        while (queue.TryDequeue(out int at, out ulong priority))
        {
            // What was queued before a neighbour changed is out of date.
            if (symbols[at] < 0 || next[at] >= symbols.Length || !merges.TryGetValue(Key(symbols[at], symbols[next[at]]), out ulong merge) || merge >> 32 != priority >> 32)
                continue;
            int gone = next[at];
            symbols[at] = (int)(uint)merge;
            symbols[gone] = -1;
            next[at] = next[gone];
            if (next[at] < symbols.Length)
            {
                previous[next[at]] = at;
                Push(at, next[at]);
            }
            if (previous[at] >= 0)
                Push(previous[at], at);
            left--;
        }
        var result = new int[left];
        for (int i = 0, count = 0; i < symbols.Length; i = next[i])
            result[count++] = symbols[i];
        return result;

        void Push(int first, int second)
        {
            if (second < symbols.Length && merges.TryGetValue(Key(symbols[first], symbols[second]), out ulong merge))
                queue.Enqueue(first, merge >> 32 << 32 | (uint)first);
        }
    }
}
