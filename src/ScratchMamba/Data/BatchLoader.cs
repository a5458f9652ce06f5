namespace ScratchMamba.Data;

/// <summary>Makes the next batch while the current one is computed with.</summary>
/// <param name="batches">The batches, each a pure function of its number; called on other threads.</param>
public sealed class BatchLoader(Func<long, TokenBatch> batches)
{
    private long ahead = -1;
    private Task<TokenBatch>? next;

    /// <summary>A batch by its number; the one after it is begun.</summary>
    public TokenBatch this[long number]
    {
        get
        {
            TokenBatch batch = number == ahead ? next!.GetAwaiter().GetResult() : batches(number);
            ahead = number + 1;
            next = Task.Run(() => batches(number + 1));
            return batch;
        }
    }
}
