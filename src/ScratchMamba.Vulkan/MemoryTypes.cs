using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>Which of a device's memories hold what.</summary>
internal sealed unsafe class MemoryTypes
{
    private const MemoryPropertyFlags Mappable = MemoryPropertyFlags.HostVisibleBit | MemoryPropertyFlags.HostCoherentBit;

    private readonly VulkanDevice device;

    public MemoryTypes(VulkanDevice device)
    {
        this.device = device;
        var properties = new PhysicalDeviceMemoryProperties2();
        device.Vk.GetPhysicalDeviceMemoryProperties2(device.Info.Handle, &properties);
        PhysicalDeviceMemoryProperties memory = properties.MemoryProperties;
        // The device and the host share their memory: tensors are read and written in place.
        bool isShared = device.Info.Kind is PhysicalDeviceType.Cpu or PhysicalDeviceType.IntegratedGpu;
        int shared = isShared ? Find(memory, MemoryPropertyFlags.DeviceLocalBit | Mappable | MemoryPropertyFlags.HostCachedBit) : -1;
        IsUnified = shared >= 0;
        Tensors = IsUnified ? shared : Find(memory, MemoryPropertyFlags.DeviceLocalBit);
        int cached = Find(memory, Mappable | MemoryPropertyFlags.HostCachedBit);
        Staging = cached >= 0 ? cached : Find(memory, Mappable);
        TensorHeap = (int)memory.MemoryTypes[Tensors].HeapIndex;
        HeapBytes = (long)memory.MemoryHeaps[TensorHeap].Size;
    }

    /// <summary>Whether the host sees the tensors' memory, and reads it as fast as its own.</summary>
    public bool IsUnified { get; }

    public int Tensors { get; }

    public int Staging { get; }

    public int TensorHeap { get; }

    public long HeapBytes { get; }

    /// <summary>What the system would let this process take for tensors now; other processes change it.</summary>
    public long AvailableBytes()
    {
        if (!device.Info.Limits.HasMemoryBudget)
            return long.MaxValue;
        var budget = new PhysicalDeviceMemoryBudgetPropertiesEXT();
        var properties = new PhysicalDeviceMemoryProperties2 { PNext = &budget };
        device.Vk.GetPhysicalDeviceMemoryProperties2(device.Info.Handle, &properties);
        return (long)budget.HeapBudget[TensorHeap] - (long)budget.HeapUsage[TensorHeap];
    }

    private static int Find(in PhysicalDeviceMemoryProperties memory, MemoryPropertyFlags wanted)
    {
        for (int i = 0; i < memory.MemoryTypeCount; i++)
        {
            if ((memory.MemoryTypes[i].PropertyFlags & wanted) == wanted)
                return i;
        }
        return -1;
    }
}
