using ScratchMamba.Tensors;

namespace ScratchMamba.Studies.Data;

/// <summary>Which key a read asks for.</summary>
public enum ReadDistance
{
    /// <summary>Each key that has been written is as likely as any other: who retains is rewarded.</summary>
    Uniform,

    /// <summary>The r-th most recent key has the probability log((r + 1) / r) / log(n + 1) among n: who remembers what is recent is rewarded.</summary>
    LogUniform,
}

/// <summary>
/// Streaming recall: after a first token come pairs of a key and a value. A <em>write</em> draws both anew; a <em>read</em> takes a key that was written before, and the value is the one
/// that was written last. Only the values of reads are scored; their distance is that of the last mention of the pair.
/// </summary>
/// <example>
/// Keys k0…, values v0…; 4 keys, 4 values, seed 7, document 0:
/// <code>
/// &lt;s&gt; k3 v3 k1 v3 k0 v0 k1 v3* k0 v1 k1 v3* k3 v2 k3 v2*
/// </code>
/// </example>
/// <param name="keys">How many keys there are.</param>
/// <param name="values">How many values there are.</param>
/// <param name="writes">The probability that a pair is a write.</param>
/// <param name="reads">Which key a read asks for.</param>
public sealed class StreamingRecall(int keys = 128, int values = 32, double writes = 0.5, ReadDistance reads = ReadDistance.Uniform) : StudyData
{
    /// <summary>The token that every document begins with.</summary>
    public const int Start = 0;

    /// <inheritdoc/>
    public override string Name => $"streaming recall, {keys} keys, {values} values, writes {writes:0.##}, reads {(reads == ReadDistance.Uniform ? "uniform" : "log-uniform")}";

    /// <summary>How many keys there are.</summary>
    public int Keys => keys;

    /// <summary>How many values there are.</summary>
    public int Values => values;

    /// <inheritdoc/>
    public override int VocabularySize => 1 + keys + values;

    /// <inheritdoc/>
    public override double ChanceLoss => Math.Log(values);

    /// <summary>The token of a key.</summary>
    public static int KeyToken(int key) => 1 + key;

    /// <summary>The token of a value.</summary>
    public int ValueToken(int value) => 1 + keys + value;

    /// <inheritdoc/>
    public override string Show(int id) => id == Start ? "<s>" : id <= keys ? $"k{id - 1}" : $"v{id - 1 - keys}";

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number)
    {
        var random = new Philox(seed, number);
        var current = new int[keys];
        var mentioned = new long[keys];
        // The keys that have been written, the most recent first.
        var known = new List<int>(keys);
        yield return new MarkedToken(Start);
        for (long position = 1; ; position += 2)
        {
            bool isWrite = known.Count == 0 || random.NextDouble() < writes;
            int rank = isWrite ? -1 : Rank(random, known.Count), key = isWrite ? random.Next(keys) : known[rank];
            int distance = MarkedToken.NotScored;
            if (isWrite)
            {
                current[key] = random.Next(values);
                rank = known.IndexOf(key);
            }
            else
            {
                distance = (int)Math.Min(int.MaxValue, position - mentioned[key]);
            }
            if (rank >= 0)
                known.RemoveAt(rank);
            known.Insert(0, key);
            mentioned[key] = position;
            yield return new MarkedToken(KeyToken(key));
            yield return new MarkedToken(ValueToken(current[key]), distance);
        }
    }

    private int Rank(Philox random, int known) => reads == ReadDistance.Uniform
        ? random.Next(known)
        : Math.Min(known, (int)Math.Exp(random.NextDouble() * Math.Log(known + 1))) - 1;
}
