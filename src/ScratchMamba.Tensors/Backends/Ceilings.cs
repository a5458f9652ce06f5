namespace ScratchMamba.Tensors.Backends;

/// <summary>What a device can do at best in a second.</summary>
/// <param name="Flops">Floating-point operations in float32.</param>
/// <param name="RoundedFlops">The same where operands may be rounded to 16 bits: those of matrix units, where there are any.</param>
/// <param name="Bandwidth">Bytes of memory read or written.</param>
public readonly record struct Ceilings(double Flops, double RoundedFlops, double Bandwidth)
{
    /// <summary>The least seconds that work can take: its arithmetic or its bytes, whichever is longer.</summary>
    public double Seconds(Work work, double bytes) => Math.Max(work.Flops / Flops + work.RoundedFlops / RoundedFlops, bytes / Bandwidth);
}
