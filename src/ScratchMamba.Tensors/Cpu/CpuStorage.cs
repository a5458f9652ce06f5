namespace ScratchMamba.Tensors.Cpu;

/// <summary>A tensor's data in native memory.</summary>
internal sealed unsafe class CpuStorage(long bytes, byte* address) : Storage(bytes)
{
    public byte* Address { get; } = address;
}
