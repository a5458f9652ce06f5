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
    public ulong LastUse { get; private set; } = range.LastUse;

    /// <summary>The last submission that writes it.</summary>
    public ulong LastWrite { get; private set; } = range.LastUse;

    /// <summary>Whether the memory went back, and may hold something else by now.</summary>
    public bool IsGone { get; set; }

    /// <summary>Says that the commands of a submission access this memory.</summary>
    public void Touch(ulong submission, bool writes)
    {
        LastUse = submission;
        if (writes)
            LastWrite = submission;
    }

    public Access Access(bool writes) => Block.Access(Offset, Bytes, writes);
}
