using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Vulkan;

/// <summary>Whether the kernels for matrix units compute what the plain ones do.</summary>
internal static class KernelTest
{
    /// <summary>The first disagreement, in words; null where there is none.</summary>
    public static string? Fault(VulkanBackend backend, IEnumerable<SelfTest> tests)
    {
        foreach (SelfTest test in tests)
        {
            try
            {
                if (Disagreement(backend, test) is { } fault)
                    return fault;
            }
            catch (VulkanException fault)
            {
                return $"{test.Operation}: {fault.Message}";
            }
        }
        return null;
    }

    /// <summary>Whether a device has matrix units of any kind.</summary>
    public static bool UsesMatrixUnits(DeviceTraits device) => device.HasMatrixUnits || device.HalfMatrixSide != 0;

    /// <summary>A device without matrix units.</summary>
    public static DeviceTraits Plain(DeviceTraits device) => device with { HasMatrixUnits = false, HalfMatrixSide = 0, HasHalfSums = false };

    private static string? Disagreement(VulkanBackend backend, SelfTest test)
    {
        using var scope = new Scope();
        using Differentiation.Mode paused = Differentiation.Pause();
        DeviceTraits full = backend.Traits;
        backend.Traits = Plain(full);
        Tensor[] inputs, expected;
        try
        {
            inputs = [.. test.Inputs.Select((input, i) => (backend.Uniform(input.Type.Shape, seed: 1, stream: (ulong)i) * (float)input.Scale).Cast(input.Type.DType))];
            expected = Tensor.Run(test.Operation, backend, inputs);
        }
        finally
        {
            backend.Traits = full;
        }
        double error = Tensor.Run(test.Operation, backend, inputs).Zip(expected, (a, b) => RelativeError.Of(a.ToDoubles(), b.ToDoubles())).Max();
        return error <= SelfTest.Tolerance ? null : $"{test.Operation} of {string.Join(", ", Tensor.TypesOf(inputs))} differs by {error:g3}";
    }
}
