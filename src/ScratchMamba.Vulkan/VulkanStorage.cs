using ScratchMamba.Tensors;

namespace ScratchMamba.Vulkan;

/// <summary>A tensor's memory on a Vulkan device.</summary>
internal sealed class VulkanStorage(long bytes, MemoryRange range, long padding) : Storage(bytes)
{
    private VulkanStorage? whole;
    private ulong lastUse = range.LastUse, lastWrite = range.LastUse;
    private bool isGone;

    /// <summary>All of it, with the padding on both sides that tests ask for.</summary>
    public MemoryRange Range => range;

    public MemoryBlock Block => Whole.Range.Block;

    /// <summary>Where the data starts in the block.</summary>
    public long Offset { get; private set; } = range.Offset + padding;

    public ulong Address => Block.Address + (ulong)Offset;

    /// <summary>What this is a part of, or itself: what is known of its uses is known of all parts together.</summary>
    public VulkanStorage Whole => whole ?? this;

    /// <summary>The last submission that reads or writes this memory.</summary>
    public ulong LastUse => Whole.lastUse;

    /// <summary>The last submission that writes it.</summary>
    public ulong LastWrite => Whole.lastWrite;

    /// <summary>Whether the memory went back, and may hold something else by now.</summary>
    public bool IsGone
    {
        get => Whole.isGone;
        set => isGone = value;
    }

    /// <summary>Says that the commands of a submission access this memory.</summary>
    public void Touch(ulong submission, bool writes)
    {
        Whole.lastUse = submission;
        if (writes)
            Whole.lastWrite = submission;
    }

    public Access Access(bool writes) => Block.Access(Offset, Bytes, writes);

    protected internal override void Place(Storage whole, long offset)
    {
        this.whole = (VulkanStorage)whole;
        Offset = this.whole.Offset + offset;
    }
}
