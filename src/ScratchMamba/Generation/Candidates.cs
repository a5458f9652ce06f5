namespace ScratchMamba.Generation;

/// <summary>The tokens that may come next, with weights in proportion to their probabilities.</summary>
internal sealed class Candidates
{
    private readonly int[] tokens;
    private readonly double[] weights;
    private int count;

    // How many at the front are known to be the largest of all, largest first; of equals the smaller token first.
    private int sorted;

    /// <summary>All tokens, weighed as <c>exp((logit − largest) / temperature)</c>: the most probable weighs 1.</summary>
    public Candidates(ReadOnlySpan<double> logits, double largest, double temperature)
    {
        count = logits.Length;
        tokens = new int[count];
        weights = new double[count];
        for (int i = 0; i < count; i++)
        {
            tokens[i] = i;
            weights[i] = Math.Exp((logits[i] - largest) / temperature);
        }
    }

    /// <summary>Keeps the <paramref name="most"/> heaviest.</summary>
    public void KeepLargest(int most)
    {
        if (most >= count)
            return;
        Sort(most);
        count = most;
    }

    /// <summary>Keeps the fewest of the heaviest that have at least this share of all weight.</summary>
    public void KeepMass(double share)
    {
        double wanted = share * Total(), sum = 0;
        for (int i = 0; i < count; i++)
        {
            if (i == sorted)
                Sort((int)Math.Min(count, Math.Max(256, 8L * sorted)));
            sum += weights[i];
            if (sum >= wanted)
                count = i + 1;
        }
        sorted = Math.Min(sorted, count);
    }

    /// <summary>Keeps those that weigh at least this fraction of the heaviest.</summary>
    public void KeepLikely(double fraction)
    {
        double least = fraction * weights.AsSpan(0, count).ToArray().Max();
        int kept = 0, keptSorted = 0;
        for (int i = 0; i < count; i++)
        {
            if (weights[i] < least)
                continue;
            (tokens[kept], weights[kept]) = (tokens[i], weights[i]);
            kept++;
            if (i < sorted)
                keptSorted++;
        }
        count = kept;
        sorted = keptSorted;
    }

    /// <summary>Keeps the fewest, those with |−log p − H| smallest first, that have at least this share of all weight.</summary>
    public void KeepTypical(double share)
    {
        double total = Total(), entropy = 0;
        for (int i = 0; i < count; i++)
        {
            double p = weights[i] / total;
            entropy -= p > 0 ? p * Math.Log(p) : 0;
        }
        var distances = new double[count];
        for (int i = 0; i < count; i++)
            distances[i] = Math.Abs(-Math.Log(weights[i] / total) - entropy);
        int[] order = [.. Enumerable.Range(0, count).OrderBy(i => distances[i]).ThenBy(i => tokens[i])];
        double sum = 0;
        int kept = 0;
        while (kept < count && sum < share * total)
            sum += weights[order[kept++]];
        (int, double)[] typical = [.. order.Take(kept).Select(i => (tokens[i], weights[i]))];
        for (int i = 0; i < kept; i++)
            (tokens[i], weights[i]) = typical[i];
        count = kept;
        sorted = 0;
    }

    /// <summary>The token in whose part of the weight a number from [0, 1) falls.</summary>
    public int Draw(double uniform)
    {
        double left = uniform * Total();
        int last = 0;
        for (int i = 0; i < count; i++)
        {
            if (weights[i] == 0)
                continue;
            last = i;
            left -= weights[i];
            if (left < 0)
                break;
        }
        return tokens[last];
    }

    private double Total()
    {
        double total = 0;
        for (int i = 0; i < count; i++)
            total += weights[i];
        return total;
    }

    /// <summary>Brings the <paramref name="most"/> heaviest to the front, in order.</summary>
    private void Sort(int most)
    {
        if (sorted >= most)
            return;
        int[] order = most > count / 4 ? [.. Enumerable.Range(0, count)] : Largest(most);
        order.AsSpan().Sort(Compare);
        var taken = new bool[count];
        int[] heldTokens = tokens[..count];
        double[] heldWeights = weights[..count];
        int next = 0;
        foreach (int i in order)
            Put(i);
        for (int i = 0; i < count; i++)
        {
            if (!taken[i])
                Put(i);
        }
        sorted = order.Length;

        void Put(int i)
        {
            taken[i] = true;
            (tokens[next], weights[next]) = (heldTokens[i], heldWeights[i]);
            next++;
        }
    }

    private int[] Largest(int most)
    {
        // The least of those held is the one to give way.
        var heap = new PriorityQueue<int, int>(most, Comparer<int>.Create((a, b) => Compare(b, a)));
        for (int i = 0; i < count; i++)
        {
            if (heap.Count < most)
                heap.Enqueue(i, i);
            else if (Compare(i, heap.Peek()) < 0)
                heap.DequeueEnqueue(i, i);
        }
        return [.. heap.UnorderedItems.Select(item => item.Element)];
    }

    private int Compare(int a, int b)
    {
        int byWeight = weights[b].CompareTo(weights[a]);
        return byWeight != 0 ? byWeight : tokens[a].CompareTo(tokens[b]);
    }
}
