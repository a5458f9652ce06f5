using System.Text;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// A prompt that repeats itself without end: nothing new comes, so that whatever changes in a state is the state's own doing. What repeats is scored from its second time on.
/// </summary>
/// <example>
/// A pair of streaming recall with 4 keys and 4 values (first a write, then nothing but reads of it), seed 1, document 0:
/// <code>
/// &lt;s&gt; k3 v3 k3 v3* k3 v3* k3 v3*
/// </code>
/// </example>
public sealed class RepeatedTokens : StudyData
{
    private readonly Func<Philox, int[]> draw;
    private readonly int[] before;
    private readonly int firstScored;
    private readonly Func<int, string> show;

    private RepeatedTokens(string name, int vocabulary, int[] before, Func<Philox, int[]> draw, int firstScored, double chance, Func<int, string> show)
    {
        (Name, VocabularySize, this.before, this.draw, this.firstScored, ChanceLoss, this.show) = (name, vocabulary, before, draw, firstScored, chance, show);
    }

    /// <summary>The "newlines" prompt: one newline after the other.</summary>
    public static RepeatedTokens Newlines(Tokenizer tokenizer)
    {
        int[] unit = tokenizer.Encode("\n"u8);
        return new RepeatedTokens(
            "newlines", tokenizer.VocabularySize, [], _ => unit, 0, Math.Log(tokenizer.VocabularySize), id => Encoding.UTF8.GetString(tokenizer.Decode(id).Span).Replace("\n", "⏎"));
    }

    /// <summary>One random pair of streaming recall, again and again; its value is scored.</summary>
    public static RepeatedTokens Pair(StreamingRecall data) => new(
        $"one pair repeated, of {data.Name}", data.VocabularySize, [StreamingRecall.Start],
        random => [StreamingRecall.KeyToken(random.Next(data.Keys)), data.ValueToken(random.Next(data.Values))], 1, data.ChanceLoss, data.Show);

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override int VocabularySize { get; }

    /// <inheritdoc/>
    public override double ChanceLoss { get; }

    /// <inheritdoc/>
    public override string Show(int id) => show(id);

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number)
    {
        int[] unit = draw(new Philox(seed, number));
        foreach (int id in before)
            yield return new MarkedToken(id);
        foreach (int id in unit)
            yield return new MarkedToken(id);
        while (true)
        {
            for (int i = 0; i < unit.Length; i++)
                yield return new MarkedToken(unit[i], i >= firstScored ? unit.Length : MarkedToken.NotScored);
        }
    }
}
