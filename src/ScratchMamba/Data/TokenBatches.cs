using ScratchMamba.Tensors;

namespace ScratchMamba.Data;

/// <summary>Rows of tokens and what follows each of them, both [rows, length] in row-major order.</summary>
/// <param name="Inputs">The tokens that the model reads.</param>
/// <param name="Labels">The token after each.</param>
public sealed record TokenBatch(int[] Inputs, int[] Labels)
{
    /// <summary>The number of the document of each position within its row, where rows hold several: nothing crosses from one to the next. Null for one document a row.</summary>
    public int[]? Documents { get; init; }

    /// <summary>Whether each row goes on where that row of the batch before ended, in the same document. Null where batches have nothing to do with each other.</summary>
    public bool[]? Continues { get; init; }
}

/// <summary>Batches from one long run of tokens: each row is a window at a random place.</summary>
public sealed class TokenBatches
{
    private readonly int[] tokens;
    private readonly int rows, length;
    private readonly ulong seed;

    /// <summary>Batches of <paramref name="rows"/> windows of <paramref name="length"/> tokens.</summary>
    /// <exception cref="ArgumentException">There are fewer tokens than a window needs: <paramref name="length"/> + 1.</exception>
    public TokenBatches(int[] tokens, int rows, int length, ulong seed)
    {
        if (tokens.Length < length + 1)
            throw new ArgumentException($"The data has {tokens.Length} tokens; windows of length {length} need at least {length + 1}. Give more data, or a shorter length.");
        this.tokens = tokens;
        this.rows = rows;
        this.length = length;
        this.seed = seed;
    }

    /// <summary>Whether each row continues the same row of the batch before, from a random place on, and from the beginning after the last window; otherwise it is a window at a random place.</summary>
    public bool Continues { get; init; }

    /// <summary>The batch of a step: always the same one for the same seed and step, whatever was drawn before.</summary>
    public TokenBatch this[long step]
    {
        get
        {
            var random = new Philox(seed, Continues ? 0 : (ulong)step);
            var inputs = new int[rows * length];
            var labels = new int[rows * length];
            for (int row = 0; row < rows; row++)
            {
                int windows = tokens.Length - length, start = random.Next(windows);
                if (Continues)
                    start = (int)((start + step * length) % windows);
                tokens.AsSpan(start, length).CopyTo(inputs.AsSpan(row * length));
                tokens.AsSpan(start + 1, length).CopyTo(labels.AsSpan(row * length));
            }
            return new TokenBatch(inputs, labels);
        }
    }
}
