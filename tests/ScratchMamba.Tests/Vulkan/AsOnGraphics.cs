using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>An operation that plans its launch as for a graphics device, so that a driver for the processor runs those kernels too.</summary>
internal readonly record struct AsOnGraphics(IPrimitive Operation) : IPrimitive
{
    public string Name => Operation.Name;

    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Operation.Infer(inputs);

    public void Compute(CpuCall call) => Operation.Compute(call);

    public Launch? Launch(LaunchCall call) => Operation.Launch(new LaunchCall(call.Inputs, call.Outputs, call.Device with { IsCpu = false }));

    public Tensor[]? Definition(ReadOnlySpan<Tensor> inputs) => Operation.Definition(inputs);
}
