using ScratchMamba.Tensors;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>What is known of one Vulkan device of this machine.</summary>
public sealed record VulkanDeviceInfo
{
    /// <summary>Its number, counted from 0 in the loader's order.</summary>
    public required int Index { get; init; }

    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>What it is: discrete GPU, integrated GPU, virtual GPU, CPU or other.</summary>
    public required string Type { get; init; }

    /// <summary>The driver's name and version.</summary>
    public required string Driver { get; init; }

    /// <summary>The version of Vulkan that the driver implements.</summary>
    public required string ApiVersion { get; init; }

    /// <summary>Bytes of memory that is local to the device.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>What operations plan their launches from.</summary>
    public required DeviceTraits Traits { get; init; }

    /// <summary>Why the device cannot be used; empty where it can.</summary>
    public required IReadOnlyList<string> Missing { get; init; }

    /// <summary>Which of several kernels was measured to be the fastest here, with this driver: its name, for each operation with the types of its inputs.</summary>
    public IReadOnlyDictionary<string, string> ChosenKernels => KernelFile.Load(CacheFolder.OfUser, Limits.CacheKey).Choices;

    /// <summary>Whether the device can be used.</summary>
    public bool IsUsable => Missing.Count == 0;

    /// <summary>The index and the name, for messages.</summary>
    public override string ToString() => $"vulkan:{Index} ({Name})";

    internal PhysicalDevice Handle { get; init; }

    internal PhysicalDeviceType Kind { get; init; }

    /// <summary>Whether its memory is that of the host.</summary>
    public bool SharesMemory => Kind is PhysicalDeviceType.Cpu or PhysicalDeviceType.IntegratedGpu;

    internal uint QueueFamily { get; init; }

    internal DeviceLimits Limits { get; init; }
}

/// <summary>Numbers of a device that the backend needs and operations do not.</summary>
internal readonly record struct DeviceLimits
{
    public ulong MaxAllocationBytes { get; init; }

    public ulong MaxBufferBytes { get; init; }

    public uint MinSubgroupSize { get; init; }

    public uint MaxSubgroupSize { get; init; }

    public uint MaxWorkgroupSubgroups { get; init; }

    public bool CanRequireSubgroupSize { get; init; }

    public float TimestampPeriod { get; init; }

    public bool HasMemoryModel { get; init; }

    public bool HasMemoryBudget { get; init; }

    public bool IsPortabilitySubset { get; init; }

    /// <summary>Tells a device and driver version apart from all others.</summary>
    public string CacheKey { get; init; }
}
