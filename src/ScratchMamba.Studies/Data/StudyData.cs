using ScratchMamba.Data;

namespace ScratchMamba.Studies.Data;

/// <summary>A token of a study's data, and what is known about it.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Distance">
/// How many tokens back stands what determines it; 0 where it is scored although no single place determines it; negative where it is not scored.
/// </param>
public readonly record struct MarkedToken(int Id, int Distance = MarkedToken.NotScored)
{
    /// <summary>The distance of a token that no measurement looks at.</summary>
    public const int NotScored = -1;

    /// <summary>Whether measurements look at the prediction of this token.</summary>
    public bool IsScored => Distance >= 0;
}

/// <summary>
/// Documents made of tokens, each a pure function of a seed and its number. They are read as streams, in memory that does not grow with their length:
/// a document of a million tokens costs what one of a hundred does.
/// </summary>
public abstract class StudyData
{
    /// <summary>The data with its settings, as a report names it.</summary>
    public abstract string Name { get; }

    /// <summary>The number of token ids.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>The loss, in nats, of one who knows what kind of token is scored and guesses which.</summary>
    public abstract double ChanceLoss { get; }

    /// <summary>The tokens of a document, from the first; endless unless the class says otherwise.</summary>
    public abstract IEnumerable<MarkedToken> Document(ulong seed, ulong number);

    /// <summary>The same from a later place on. Here what lies before is made all the same; where that can be left out, a class does.</summary>
    public virtual IEnumerable<MarkedToken> Document(ulong seed, ulong number, long start) => start == 0 ? Document(seed, number) : Document(seed, number).Skip(checked((int)start));

    /// <summary>A token as text.</summary>
    public abstract string Show(int id);

    /// <summary>The beginning of a document as text; <c>*</c> follows the tokens that are scored.</summary>
    public string Print(ulong seed, ulong number, int count) =>
        string.Join(' ', Document(seed, number).Take(count).Select(token => Show(token.Id) + (token.IsScored ? "*" : "")));

    /// <summary>
    /// The batch of a training step: row r holds the first <paramref name="length"/> tokens of document number <paramref name="step"/> · rows + r, labelled with what follows each; or a later
    /// stretch of it, where several steps continue the same documents.
    /// A document that ends before is filled up with token 0, which nothing is learned from.
    /// </summary>
    /// <param name="seed">The documents' seed.</param>
    /// <param name="step">The number of the step.</param>
    /// <param name="rows">The number of documents.</param>
    /// <param name="length">Tokens of a row.</param>
    /// <param name="segments">
    /// How many steps continue the same document before there is a new one; rows begin theirs at different steps, so that every batch has beginnings and ends: see <see cref="Begins"/>.
    /// </param>
    /// <param name="scoredOnly">Whether only scored tokens have labels.</param>
    public TokenBatch Batch(ulong seed, long step, int rows, int length, int segments = 1, bool scoredOnly = false)
    {
        var inputs = new int[rows * length];
        var labels = new int[rows * length];
        Array.Fill(labels, Ignored);
        if ((long)rows * length < Many)
        {
            for (int row = 0; row < rows; row++)
                Make(row);
        }
        else
        {
            Parallel.For(0, rows, Make);
        }
        return new TokenBatch(inputs, labels) { Continues = segments > 1 ? [.. Enumerable.Range(0, rows).Select(row => !Begins(step, row, segments))] : null };

        void Make(int row)
        {
            long shifted = step + row % segments, chain = shifted / segments;
            int segment = (int)(chain == 0 ? step : shifted % segments), i = row * length, end = i + length;
            foreach (MarkedToken token in Document(seed, checked((ulong)(chain * rows + row)), (long)segment * length))
            {
                if (i > row * length && (token.IsScored || !scoredOnly))
                    labels[i - 1] = token.Id;
                if (i == end)
                    break;
                inputs[i++] = token.Id;
            }
        }
    }

    /// <summary>Whether a row of a batch begins a document, where several steps continue the same.</summary>
    public static bool Begins(long step, int row, int segments) => step == 0 || (step + row % segments) % segments == 0;

    private const int Ignored = -100;

    // From here on a graphics card would wait for one thread that makes them.
    private const int Many = 1 << 16;
}
