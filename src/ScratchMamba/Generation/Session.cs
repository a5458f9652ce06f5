using System.Runtime.InteropServices;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Generation;

/// <summary>
/// A text in the making: what a model has read and written so far, in memory of a size that does not grow. It can be copied (<see cref="Fork"/>), which is also how to come back to
/// a place, and saved to a file (<see cref="SessionFile"/>); what follows is, to the last bit, what would have followed.
/// </summary>
public sealed class Session : IDisposable
{
    // What is read is taken in pieces, so that its length does not matter for memory.
    internal const int Piece = 512;

    private const int MostRemembered = 1024;

    private readonly List<int> unread = [], last = [];
    private Scope home = Scope.Apart();

    /// <summary>A text of which nothing is written yet.</summary>
    public Session(Mamba2Model model) : this(model, new TokenHistory())
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        Adopt(model.EmptyState(1));
    }

    private Session(Mamba2Model model, TokenHistory history)
    {
        Model = model;
        History = history;
    }

    /// <summary>The model.</summary>
    public Mamba2Model Model { get; }

    /// <summary>How many tokens there are, read or written.</summary>
    public long Count { get; private set; }

    /// <summary>How many tokens have been drawn: the position in the draws of a sampler's seed.</summary>
    public long Drawn { get; private set; }

    /// <summary>The last tokens of the text, at most a thousand or two.</summary>
    public IReadOnlyList<int> LastTokens => last;

    /// <summary>Which tokens there were, as far as penalties of repetition need to know.</summary>
    public TokenHistory History { get; }

    /// <summary>The tokens that <see cref="State"/> does not know of yet.</summary>
    internal IReadOnlyList<int> Unread => unread;

    /// <summary>The model's state, whose tensors are overwritten. Not to be used while a <see cref="SessionBatch"/> has the text.</summary>
    internal Mamba2State State { get; private set; } = null!;

    /// <summary>
    /// Continues the text with given tokens. How they are divided among calls makes no difference to the last bit.
    /// </summary>
    /// <exception cref="ArgumentException">One of them is outside the vocabulary; nothing is read.</exception>
    public void Read(ReadOnlySpan<int> tokens)
    {
        CheckTokens(Model, tokens);
        while (!tokens.IsEmpty)
        {
            ReadOnlySpan<int> part = tokens[..Math.Min(tokens.Length, Piece)];
            History.Read(part);
            Append(part);
            // One token stays, for the logits of what follows it.
            while (unread.Count > Piece)
            {
                using var scope = new Scope();
                Advance();
            }
            tokens = tokens[part.Length..];
        }
    }

    /// <summary>Draws the token that follows, and makes it part of the text.</summary>
    /// <exception cref="InvalidOperationException">Nothing has been read.</exception>
    public int Next(Sampler sampler)
    {
        using var scope = new Scope();
        return Take(sampler, Logits().ToDoubles());
    }

    /// <summary>Another text that begins as this one does.</summary>
    public Session Fork()
    {
        var fork = new Session(Model, History.Copy()) { Count = Count, Drawn = Drawn };
        fork.unread.AddRange(unread);
        fork.last.AddRange(last);
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        fork.Adopt(State.Copy());
        return fork;
    }

    /// <summary>Releases the state.</summary>
    public void Dispose() => Release();

    /// <summary>Throws unless a model can read tokens.</summary>
    internal static void CheckTokens(Mamba2Model model, ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)model.Config.VocabularySize)
                throw new ArgumentException($"The prompt's token {token} is outside the model's vocabulary of {model.Config.VocabularySize}.");
        }
    }

    /// <summary>Reads what is unread; gives the logits of what follows, [1, vocabulary], in the scope of the caller.</summary>
    internal Tensor Logits()
    {
        Tensor? logits = null;
        while (unread.Count > 0)
            logits = Advance();
        return logits ?? throw new InvalidOperationException("A text needs at least one token before another can follow.");
    }

    /// <summary>Reads one piece of what is unread, of at most <paramref name="most"/> tokens; gives the logits of what follows it, [1, vocabulary], in the scope of the caller.</summary>
    internal Tensor Advance(int most = Piece)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        ReadOnlySpan<int> tokens = CollectionsMarshal.AsSpan(unread)[..Math.Min(unread.Count, Math.Min(most, Piece))];
        Tensor logits;
        if (tokens.Length == 1)
        {
            logits = Model.StepInPlace(Model.Backend.Tensor([1], tokens), State);
        }
        else
        {
            (logits, Mamba2State after) = Model.Prefill(Model.Backend.Tensor([1, tokens.Length], tokens), State);
            State.CopyFrom(after);
        }
        unread.RemoveRange(0, tokens.Length);
        return scope.Keep(logits);
    }

    /// <summary>Chooses the token that follows from logits, such as a <see cref="SessionBatch"/> gives, and makes it part of the text.</summary>
    public int Take(Sampler sampler, ReadOnlySpan<double> logits)
    {
        int token = sampler.Next(logits, Drawn, history: History);
        Write(token);
        return token;
    }

    /// <summary>Makes a drawn token part of the text.</summary>
    internal void Write(int token)
    {
        History.Write(token);
        Drawn++;
        Append([token]);
    }

    /// <summary>Says that the state knows of all tokens, because somebody else has given them to it.</summary>
    internal void MarkRead() => unread.Clear();

    /// <summary>The same of the first tokens that were unread, with the state after them.</summary>
    internal void MarkRead(int count, Mamba2State after)
    {
        State.CopyFrom(after);
        unread.RemoveRange(0, count);
    }

    /// <summary>What a file says.</summary>
    internal static Session Restore(Mamba2Model model, Mamba2State state, TokenHistory history, long count, long drawn, int[] last, int[] unread)
    {
        var session = new Session(model, history) { Count = count, Drawn = drawn };
        session.last.AddRange(last);
        session.unread.AddRange(unread);
        session.Adopt(state);
        return session;
    }

    /// <summary>Makes a state the text's own.</summary>
    internal void Adopt(Mamba2State state)
    {
        Release();
        home = Scope.Apart();
        home.Own(state.Tensors);
        State = state;
    }

    /// <summary>Releases the state, which is somebody else's from now on.</summary>
    internal void Release() => home.Dispose();

    private void Append(ReadOnlySpan<int> tokens)
    {
        unread.AddRange(tokens);
        last.AddRange(tokens);
        if (last.Count > 2 * MostRemembered)
            last.RemoveRange(0, last.Count - MostRemembered);
        Count += tokens.Length;
    }
}
