namespace ScratchMamba.Tensors;

/// <summary>A block of a backend's memory that holds one tensor's data. Owned by the <see cref="Scope"/> it was made in.</summary>
public abstract class Storage(long bytes)
{
    /// <summary>The size in bytes.</summary>
    public long Bytes { get; } = bytes;

    /// <summary>The outermost backend that made this storage; set once, when it is made.</summary>
    internal Backend Backend { get; set; } = null!;

    /// <summary>The scope that will release this storage; null when it lives as long as its backend.</summary>
    internal Scope? Scope { get; set; }

    /// <summary>How many recorded operations, or gradients on their way, still need the data.</summary>
    internal int Pins { get; set; }

    /// <summary>Whether the data must outlive the backward pass, because somebody said so.</summary>
    internal bool Kept { get; set; }

    /// <summary>Whether the memory has gone back to the backend.</summary>
    internal bool Released { get; set; }

    /// <summary>How often the data has been overwritten in place.</summary>
    internal int Version { get; set; }

    /// <summary>The program that owns the memory; null where nobody captured.</summary>
    internal CapturedProgram? Program { get; set; }

    /// <summary>Makes a promised storage (<see cref="Backend.Promise"/>) a part of <paramref name="whole"/>, which starts at a byte of it. Others may be placed there too.</summary>
    protected internal abstract void Place(Storage whole, long offset);

    internal void Release()
    {
        if (Released)
            return;
        Released = true;
        Backend.Return(this);
    }
}
