using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Generation;

/// <summary>
/// Texts of any lengths that are continued together: one step of the model takes the last token of each and gives the logits of what follows, for little more than the time of one.
/// Texts join and leave between steps. What comes out for a text does not depend on the others, to the last bit.
/// </summary>
/// <param name="model">The model.</param>
public sealed class SessionBatch(Mamba2Model model) : IDisposable
{
    // Up to twelve rows, products on the CPU add up in the same order whatever their number (asserted by RowTests); beyond, they are computed in tiles. On queued devices other
    // kernels serve other numbers of rows, and so there are always this many.
    private const int MostRows = 8;

    private readonly List<Session> sessions = [];

    // Whose state each row is; null for nobody's any more.
    private readonly List<Session?> stacked = [];
    private Scope? held;
    private Mamba2State? state;

    /// <summary>The texts.</summary>
    public IReadOnlyList<Session> Sessions => sessions;

    /// <summary>How many texts there may be: one where a cure counts positions, or an observer wants to know whose text it sees.</summary>
    public int Capacity => model.StepsAlike ? MostRows : 1;

    private int Rows => model.Backend.IsQueued ? Capacity : sessions.Count;

    /// <summary>Takes a text in. Nothing else may be done with it until it is taken out, but to <see cref="Session.Take"/> a token after each step.</summary>
    /// <exception cref="InvalidOperationException">There is no room, or the text is empty.</exception>
    public void Add(Session session)
    {
        if (sessions.Count == Capacity)
            throw new InvalidOperationException($"A batch has room for {Capacity} texts.");
        if (session.Count == 0)
            throw new InvalidOperationException("A text needs at least one token before another can follow.");
        using var scope = new Scope();
        while (session.Unread.Count > 1)
            session.Advance(session.Unread.Count - 1);
        sessions.Add(session);
    }

    /// <summary>
    /// Takes several texts in, and reads what they have not read yet together, so that weights are read once for all of them. Their states are those that <see cref="Add"/> gives one by one, up to the
    /// rounding of products of more rows.
    /// </summary>
    /// <exception cref="InvalidOperationException">There is no room for all, or one is empty.</exception>
    public void AddTogether(params IReadOnlyList<Session> texts)
    {
        if (sessions.Count + texts.Count > Capacity)
            throw new InvalidOperationException($"A batch has room for {Capacity} texts.");
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        while (model.TakesPadding && texts.Where(text => text.Unread.Count > 1).ToArray() is { Length: > 1 } unread)
        {
            // Those that are less than half as long wait for the next round: most of what is computed is of use.
            int longest = unread.Max(NextPiece);
            Session[] together = [.. unread.Where(text => 2 * NextPiece(text) > longest)];
            if (together.Length == 1)
            {
                together[0].Advance(longest);
                continue;
            }
            int[] lengths = [.. together.Select(NextPiece)], tokens = new int[together.Length * longest];
            for (int row = 0; row < together.Length; row++)
                together[row].Unread.Take(lengths[row]).ToArray().CopyTo(tokens, row * longest);
            using var inner = new Scope();
            Mamba2State before = Mamba2State.Stack([.. together.Select(text => text.State)]);
            Mamba2State after = model.Prefill(model.Backend.Tensor([together.Length, longest], tokens), lengths, before).State;
            for (int row = 0; row < together.Length; row++)
                together[row].MarkRead(lengths[row], after.Rows([row]));
        }
        foreach (Session text in texts)
            Add(text);
        // The last token is left for the step.
        static int NextPiece(Session text) => Math.Min(Session.Piece, text.Unread.Count - 1);
    }

    /// <summary>Gives a text back.</summary>
    public void Remove(Session session)
    {
        sessions.Remove(session);
        if (stacked.IndexOf(session) is not (>= 0 and int row))
            return;
        stacked[row] = null;
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        session.Adopt(state!.Rows([row]));
    }

    /// <summary>The logits of the token that follows each text, in the order of <see cref="Sessions"/>.</summary>
    public double[][] Step()
    {
        if (sessions.Count == 0)
            return [];
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        Stack();
        var tokens = new int[Rows];
        for (int row = 0; row < sessions.Count; row++)
            tokens[row] = sessions[row].Unread.Count == 1 ? sessions[row].Unread[0] : throw new InvalidOperationException("A token of each text must be taken after each step.");
        double[] logits = model.StepInPlace(model.Backend.Tensor([tokens.Length], tokens), state!).ToDoubles();
        foreach (Session session in sessions)
            session.MarkRead();
        return [.. logits.Chunk(model.Config.VocabularySize).Take(sessions.Count)];
    }

    /// <summary>Releases the states of the texts that are still here; the texts themselves are of no use any more.</summary>
    public void Dispose() => held?.Dispose();

    /// <summary>Puts the states of those that have come behind those that were here before.</summary>
    private void Stack()
    {
        if (sessions.SequenceEqual(stacked))
            return;
        int[] kept = [.. stacked.Index().Where(entry => entry.Item is not null).Select(entry => entry.Index)];
        Session[] come = [.. sessions.Where(session => !stacked.Contains(session))];
        var parts = new List<Mamba2State>();
        if (kept.Length > 0)
            parts.Add(state!.Rows(kept));
        parts.AddRange(come.Select(session => session.State));
        if (Rows > sessions.Count)
            parts.Add(model.EmptyState(Rows - sessions.Count));
        state = Mamba2State.Stack(parts);
        Scope next = Scope.Apart();
        next.Own(state.Tensors);
        held?.Dispose();
        held = next;
        // Those that stay come before those that are new, in both lists.
        stacked.Clear();
        stacked.AddRange(sessions);
        foreach (Session session in come)
            session.Release();
    }
}
