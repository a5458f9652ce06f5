namespace ScratchMamba.Tensors.Cpu;

/// <summary>A tensor's data in native memory.</summary>
internal sealed unsafe class CpuStorage(long bytes, byte* address) : Storage(bytes)
{
    public byte* Address { get; private set; } = address;

    /// <inheritdoc/>
    protected internal override void Place(Storage whole, long offset) => Address = ((CpuStorage)whole).Address + offset;
}
