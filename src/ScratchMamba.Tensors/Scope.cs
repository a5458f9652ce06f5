namespace ScratchMamba.Tensors;

/// <summary>
/// Owns every tensor made on this thread between its construction and its disposal, and releases their memory then.
/// Scopes nest. What should live longer is named with <see cref="Keep(Tensor)"/>. A tensor made outside every scope lives as long as its backend.
/// </summary>
/// <example><code>
/// using var scope = new Scope();
/// Tensor y = Layer(x);
/// return scope.Keep(y);      // y now belongs to the enclosing scope; everything else is released
/// </code></example>
public sealed class Scope : IDisposable
{
    [ThreadStatic]
    private static Scope? current;

    private readonly Scope? parent;
    private readonly bool sparesPinned, isApart;
    private readonly List<Storage> owned = [];
    private bool disposed;

    /// <summary>Opens a scope inside the current one.</summary>
    public Scope() : this(sparesPinned: false)
    {
    }

    private Scope(bool sparesPinned, bool isApart = false)
    {
        this.sparesPinned = sparesPinned;
        this.isApart = isApart;
        if (isApart)
            return;
        parent = current;
        current = this;
    }

    /// <summary>
    /// A scope for the inside of a function that may be part of a recorded computation: at its end it releases what nobody needs any more,
    /// and hands what the backward pass will read to the enclosing scope.
    /// </summary>
    public static Scope Temporaries() => new(sparesPinned: true);

    /// <summary>
    /// A scope that stands apart from those of the thread: it owns only what is given to it by <see cref="Own"/>, and may be closed at any time.
    /// For objects that hold tensors and live longer than a call.
    /// </summary>
    public static Scope Apart() => new(sparesPinned: false, isApart: true);

    /// <summary>Takes tensors over from whichever scope owns them.</summary>
    public void Own(IEnumerable<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
        {
            tensor.Keep();
            tensor.Storage.Scope = this;
            owned.Add(tensor.Storage);
        }
    }

    /// <summary>Hands a tensor to the enclosing scope, so that it outlives this one and the backward pass.</summary>
    public Tensor Keep(Tensor tensor)
    {
        Storage storage = tensor.Storage;
        storage.Kept |= !sparesPinned;
        if (storage.Scope == this)
            HandOver(storage);
        return tensor;
    }

    /// <summary>Hands tensors to the enclosing scope.</summary>
    public Tensor[] Keep(params Tensor[] tensors)
    {
        foreach (Tensor tensor in tensors)
            Keep(tensor);
        return tensors;
    }

    /// <summary>Releases what the scope owns.</summary>
    /// <exception cref="InvalidOperationException">A scope opened inside this one is still open.</exception>
    public void Dispose()
    {
        if (disposed)
            return;
        if (!isApart)
        {
            if (current != this)
                throw new InvalidOperationException("Scopes close in the reverse order of their opening, on the thread that opened them.");
            current = parent;
        }
        disposed = true;
        foreach (Storage storage in owned)
        {
            if (storage.Scope != this)
                continue;
            if (sparesPinned && storage.Pins > 0)
                HandOver(storage);
            else
                storage.Release();
        }
    }

    internal static void Adopt(Storage storage)
    {
        storage.Scope = current;
        current?.owned.Add(storage);
    }

    private void HandOver(Storage storage)
    {
        storage.Scope = parent;
        parent?.owned.Add(storage);
    }
}
