using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Vulkan;

/// <summary>Chooses the kernels that run operations on one device: none that computes wrongly there, and the fastest where several were measured.</summary>
internal sealed class KernelSelection(VulkanBackend backend, KernelFile file)
{
    private readonly Dictionary<(Type Operation, DType Type), bool> faulty = [];

    /// <summary>What is known of the device's kernels.</summary>
    public KernelFile File => file;

    /// <summary>What measures kernels wherever an operation comes; null while nobody asked for that.</summary>
    public KernelTuner? Tuner { get; set; }

    /// <summary>What runs an operation, or nothing where it has no shader.</summary>
    public Launch? LaunchOf(IPrimitive operation, TensorType[] inputs, TensorType[] outputs)
    {
        LaunchCall call = Plan(operation, inputs, outputs);
        return (operation is ITunable tunable ? file.Chosen(tunable, call) : null) ?? operation.Launch(call);
    }

    /// <summary>
    /// What an operation may plan its launch from: what the device has, but for matrix units where its kernels for them compute wrongly. That is found out when the operation is first run,
    /// once for each build, device and driver, and for each type of its first input.
    /// </summary>
    public LaunchCall Plan(IPrimitive operation, TensorType[] inputs, TensorType[] outputs)
    {
        DeviceTraits device = backend.Traits;
        return new LaunchCall(inputs, outputs, KernelTest.UsesMatrixUnits(device) && IsFaulty(operation, inputs) ? KernelTest.Plain(device) : device);
    }

    private bool IsFaulty(IPrimitive operation, TensorType[] inputs)
    {
        var key = (operation.GetType(), inputs.Length == 0 ? default : inputs[0].DType);
        if (!faulty.TryGetValue(key, out bool isFaulty))
        {
            // While it is being tested it is taken for right.
            faulty[key] = false;
            faulty[key] = isFaulty = FaultOf(operation, key.Item2) is not null;
        }
        return isFaulty;
    }

    private string? FaultOf(IPrimitive operation, DType type)
    {
        SelfTest[] tests = [.. operation.SelfTests.Where(test => test.Inputs[0].Type.DType == type)];
        if (tests.Length == 0)
            return null;
        string family = $"{operation.Name}-{type}";
        if (!file.Verdicts.TryGetValue(family, out string? fault))
        {
            file.Verdicts[family] = fault = backend.Untraced(() => KernelTest.Fault(backend, tests));
            file.Save();
        }
        if (fault is not null)
            backend.Notice?.Invoke($"{backend.Name}: {family} does without matrix units, for which its kernels compute wrongly with this driver: {fault}.");
        return fault;
    }
}
