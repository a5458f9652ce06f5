namespace ScratchMamba.Generation;

/// <summary>What has been read and written so far, as far as penalties of repetition need to know: of a size that is bounded by the vocabulary.</summary>
public sealed class TokenHistory
{
    private readonly HashSet<int> seen = [];
    private readonly Dictionary<int, int> written = [];

    /// <summary>The tokens of the prompt and of the continuation.</summary>
    public IReadOnlySet<int> Seen => seen;

    /// <summary>How often each token stands in the continuation.</summary>
    public IReadOnlyDictionary<int, int> Written => written;

    internal TokenHistory Copy() => Of(seen, written);

    internal static TokenHistory Of(IEnumerable<int> seen, IEnumerable<KeyValuePair<int, int>> written)
    {
        var history = new TokenHistory();
        history.seen.UnionWith(seen);
        foreach ((int token, int count) in written)
            history.written[token] = count;
        return history;
    }

    /// <summary>Counts a prompt.</summary>
    public void Read(ReadOnlySpan<int> prompt)
    {
        foreach (int token in prompt)
            seen.Add(token);
    }

    /// <summary>Counts a token of the continuation.</summary>
    public void Write(int token)
    {
        seen.Add(token);
        written[token] = written.GetValueOrDefault(token) + 1;
    }
}
