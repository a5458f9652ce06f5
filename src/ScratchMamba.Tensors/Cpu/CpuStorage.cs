namespace ScratchMamba.Tensors.Cpu;

/// <summary>A tensor's data in native memory.</summary>
internal sealed unsafe class CpuStorage(long bytes, byte* address) : Storage(bytes)
{
    public byte* Address { get; private set; } = address;

    /// <summary>The data as panels for products (<see cref="CpuBackend.PanelsOf"/>), until it is written.</summary>
    public Tensor? Panels { get; set; }

    /// <summary>How many products would have been faster with <see cref="Panels"/> since the data was written.</summary>
    public int Products { get; set; }

    /// <inheritdoc/>
    protected internal override void Place(Storage whole, long offset) => Address = ((CpuStorage)whole).Address + offset;
}
