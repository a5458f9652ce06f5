using ScratchMamba.Tensors;

namespace ScratchMamba.Vulkan;

/// <summary>A tensor's memory on a Vulkan device.</summary>
internal sealed class VulkanStorage(long bytes, MemoryRange range, long padding) : Storage(bytes)
{
    /// <summary>All of it, with the padding on both sides that tests ask for.</summary>
    public MemoryRange Range => range;

    public MemoryBlock Block => range.Block;

    /// <summary>Where the data starts in the block.</summary>
    public long Offset { get; } = range.Offset + padding;

    public ulong Address => Block.Address + (ulong)Offset;

    /// <summary>The last submission that reads or writes this memory.</summary>
    public ulong LastUse { get; set; } = range.LastUse;

    /// <summary>The last submission that writes it.</summary>
    public ulong LastWrite { get; set; } = range.LastUse;

    public Access Access(bool writes) => Block.Access(Offset, Bytes, writes);
}
