using ScratchMamba.Tensors;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// Multi-query associative recall: distinct keys, each followed by its value, and then the same keys in another order, each followed by the value to be recalled.
/// Documents have 1 + 4 · pairs tokens. Source: Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models" (2023), without its filling between queries.
/// </summary>
/// <example>
/// Keys k0…, values v0…; 3 pairs out of 8 keys and 8 values, seed 1, document 0:
/// <code>
/// &lt;s&gt; k1 v5 k0 v1 k4 v4 k1 v5* k0 v1* k4 v4*
/// </code>
/// </example>
/// <param name="pairs">How many pairs a document has.</param>
/// <param name="keys">How many keys there are; at least as many.</param>
/// <param name="values">How many values there are.</param>
public sealed class AssociativeRecall(int pairs, int keys = 128, int values = 32) : StudyData
{
    /// <inheritdoc/>
    public override string Name => $"associative recall, {pairs} pairs, {keys} keys, {values} values";

    /// <inheritdoc/>
    public override int VocabularySize => 1 + keys + values;

    /// <inheritdoc/>
    public override double ChanceLoss => Math.Log(values);

    /// <inheritdoc/>
    public override string Show(int id) => id == 0 ? "<s>" : id <= keys ? $"k{id - 1}" : $"v{id - 1 - keys}";

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pairs, keys);
        var random = new Philox(seed, number);
        int[] order = [.. Enumerable.Range(0, keys)];
        random.Shuffle<int>(order);
        int[] chosen = order[..pairs], value = [.. chosen.Select(_ => random.Next(values))], asked = [.. Enumerable.Range(0, pairs)];
        random.Shuffle<int>(asked);
        yield return new MarkedToken(0);
        for (int i = 0; i < pairs; i++)
        {
            yield return new MarkedToken(1 + chosen[i]);
            yield return new MarkedToken(1 + keys + value[i]);
        }
        for (int i = 0; i < pairs; i++)
        {
            yield return new MarkedToken(1 + chosen[asked[i]]);
            yield return new MarkedToken(1 + keys + value[asked[i]], 2 * (pairs + i - asked[i]));
        }
    }
}
