using System.Text;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// Prompts of <see cref="TextPasskey"/>, each with its answer, one after another: learning from them is learning the task that they pose. Lengths are log-uniform, depths and numbers uniform.
/// Scored are the answer, whose distance is that of the number's second mention, and the digits of that mention, which stand 20 bytes behind the first.
/// </summary>
/// <example>
/// Nothing hidden in anything, seed 1, document 0:
/// <code>
/// T h e ␣ p a s s k e y ␣ i s ␣ 3 3 7 4 3 . ␣ R e m e m b e r ␣ i t . ␣ 3* 3* 7* 4* 3* ␣ i s ␣ t h e ␣ p a s s k e y . ⏎
/// </code>
/// </example>
public sealed class PasskeyDocuments : TokenizedDocuments
{
    // The hidden line has the number, with the space before it, at these bytes for the first and the second time.
    private const int FirstMention = 14, SecondMention = 34, Spaced = 6;

    private readonly TextPasskey passkey;
    private readonly int shortest, longest;

    /// <summary>Prompts from the shortest possible on.</summary>
    /// <param name="longest">The most tokens that a prompt may have; 0 for the hidden line and the question only.</param>
    /// <param name="tokenizer">What makes tokens of them; bytes by default.</param>
    /// <exception cref="ArgumentOutOfRangeException">No prompt is so short.</exception>
    public PasskeyDocuments(int longest, Tokenizer? tokenizer = null) : base(tokenizer ?? new ByteTokenizer())
    {
        passkey = new TextPasskey(Tokenizer, announces: longest > 0);
        shortest = passkey.Least;
        this.longest = longest == 0 ? shortest : longest;
        ArgumentOutOfRangeException.ThrowIfLessThan(this.longest, shortest, nameof(longest));
    }

    /// <inheritdoc/>
    public override string Name => longest == shortest ? $"passkeys hidden in nothing{(Tokenizer is ByteTokenizer ? "" : $", {Unit}")}" : $"passkeys, prompts of {shortest} to {longest} {Unit} one after another";

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number, long start)
    {
        var random = new Philox(seed, number);
        for (ulong index = 0; ; index++)
        {
            int length = (int)(shortest * Math.Exp(random.NextDouble() * Math.Log((double)longest / shortest)));
            double depth = random.NextDouble();
            ulong key = random.NextUInt64();
            string value = TextPasskey.KeyOf(key, index);
            int[] answer = Tokenizer.Encode(Encoding.ASCII.GetBytes($" {value}\n\n"));
            int end = passkey.TokensOf(length, value), whole = end + answer.Length;
            if (start >= whole)
            {
                start -= whole;
                continue;
            }
            PasskeyPrompt prompt = passkey.Prompt(key, index, length, depth);
            int told = end - prompt.Distance;
            int first = Within(prompt.Tokens.AsSpan(told), FirstMention, FirstMention + Spaced).Start.Value, repeated = Within(prompt.Tokens.AsSpan(told), SecondMention, SecondMention + Spaced).Start.Value;
            Range digits = Within(prompt.Tokens.AsSpan(told), SecondMention + (Tokenizer is ByteTokenizer ? 1 : 0), SecondMention + Spaced);
            for (int i = (int)start; i < end; i++)
                yield return new MarkedToken(prompt.Tokens[i], i >= told + digits.Start.Value && i < told + digits.End.Value ? repeated - first : MarkedToken.NotScored);
            int scored = Within(answer, 0, Spaced).End.Value, distance = end - told - repeated;
            for (int i = Math.Max(0, (int)start - end); i < answer.Length; i++)
                yield return new MarkedToken(answer[i], i < scored ? distance : MarkedToken.NotScored);
            start = 0;
        }
    }
}
