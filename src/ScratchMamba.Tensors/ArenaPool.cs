namespace ScratchMamba.Tensors;

/// <summary>Memory for captured programs that run one after the other: what one lends, a later one has again.</summary>
internal sealed class ArenaPool : IDisposable
{
    private readonly List<Storage> all = [], free = [];

    /// <summary>The smallest that is free and large enough, or a new one.</summary>
    public Storage Take(Backend backend, TensorType type)
    {
        if (free.Where(arena => arena.Bytes >= type.Count * type.DType.Size()).MinBy(arena => arena.Bytes) is { } found)
        {
            free.Remove(found);
            return found;
        }
        Storage made = backend.Take(type);
        all.Add(made);
        return made;
    }

    /// <summary>Takes arenas back.</summary>
    public void GiveBack(IEnumerable<Storage> arenas) => free.AddRange(arenas);

    /// <summary>Releases all of it.</summary>
    public void Dispose()
    {
        foreach (Storage arena in all)
            arena.Backend.Return(arena);
        all.Clear();
        free.Clear();
    }
}
