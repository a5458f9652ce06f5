using System.Text;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Studies.Data;

/// <summary>
/// Prompts of <see cref="TextPasskey"/> in bytes, each with its answer, one after another: learning from them is learning the task that they pose. Lengths are log-uniform, depths and numbers uniform.
/// Scored are the answer, whose distance is that of the number's second mention, and the digits of that mention, which stand 20 tokens behind the first.
/// </summary>
/// <example>
/// Nothing hidden in anything, seed 1, document 0:
/// <code>
/// T h e ␣ p a s s k e y ␣ i s ␣ 3 3 7 4 3 . ␣ R e m e m b e r ␣ i t . ␣ 3* 3* 7* 4* 3* ␣ i s ␣ t h e ␣ p a s s k e y . ⏎
/// </code>
/// </example>
public sealed class PasskeyDocuments : ByteDocuments
{
    // The hidden line mentions the number a second time from here on, so much later than the first.
    private const int SecondMention = 35, Repeated = 20, Digits = 5;

    private readonly TextPasskey passkey;
    private readonly int shortest, longest;

    /// <summary>Prompts from the shortest possible on.</summary>
    /// <param name="longest">The most tokens that a prompt may have; 0 for the hidden line and the question only.</param>
    /// <exception cref="ArgumentOutOfRangeException">No prompt is so short.</exception>
    public PasskeyDocuments(int longest)
    {
        passkey = new TextPasskey(new ByteTokenizer(), announces: longest > 0);
        shortest = passkey.Least;
        this.longest = longest == 0 ? shortest : longest;
        ArgumentOutOfRangeException.ThrowIfLessThan(this.longest, shortest, nameof(longest));
    }

    /// <inheritdoc/>
    public override string Name => longest == shortest ? "passkeys hidden in nothing" : $"passkeys, prompts of {shortest} to {longest} bytes one after another";

    /// <inheritdoc/>
    public override IEnumerable<MarkedToken> Document(ulong seed, ulong number, long start)
    {
        var random = new Philox(seed, number);
        for (ulong index = 0; ; index++)
        {
            int length = (int)(shortest * Math.Exp(random.NextDouble() * Math.Log((double)longest / shortest)));
            double depth = random.NextDouble();
            ulong key = random.NextUInt64();
            int end = passkey.BytesOf(length), whole = end + Digits + 3;
            if (start >= whole)
            {
                start -= whole;
                continue;
            }
            PasskeyPrompt prompt = passkey.Prompt(key, index, length, depth);
            byte[] answer = Encoding.ASCII.GetBytes($" {prompt.Answer}\n\n");
            int mention = end - prompt.Distance + SecondMention;
            for (int i = (int)start; i < end; i++)
                yield return new MarkedToken(prompt.Tokens[i], i >= mention && i < mention + Digits ? Repeated : MarkedToken.NotScored);
            for (int i = Math.Max(0, (int)start - end); i < answer.Length; i++)
                yield return new MarkedToken(answer[i], i <= Digits ? end + 1 - mention : MarkedToken.NotScored);
            start = 0;
        }
    }
}
