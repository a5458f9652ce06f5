using ScratchMamba.Tensors;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>What a cure carries from token to token beside the state.</summary>
public sealed class CureMemory
{
    internal CureMemory(long position, params Tensor[] tensors)
    {
        Position = position;
        Tensors = tensors;
    }

    /// <summary>How many tokens the layer has read since the cure began.</summary>
    public long Position { get; private set; }

    /// <summary>For a window the last inserts, Δ [B, r, H], x [B, r, H, P] and B [B, r, G, N], oldest first; for staggered states the second one, [B, H, P, N].</summary>
    public IReadOnlyList<Tensor> Tensors { get; }

    internal void MoveTo(long position) => Position = position;
}
