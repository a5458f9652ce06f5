using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>An open device with its queue.</summary>
internal sealed unsafe class VulkanDevice : IDisposable
{
    private readonly VulkanInstance instance;

    public VulkanDevice(VulkanInstance instance, VulkanDeviceInfo info)
    {
        this.instance = instance;
        Info = info;
        Vk = instance.Vk;
        Handle = Create();
        Vk.Load(Handle);
        Queue queue;
        Vk.GetDeviceQueue(Handle, info.QueueFamily, 0, &queue);
        Queue = queue;
    }

    public Vk Vk { get; }

    public VulkanDeviceInfo Info { get; }

    public Device Handle { get; }

    public Queue Queue { get; }

    /// <summary>Whether the device was lost: nothing more can be asked of it.</summary>
    public bool IsLost { get; set; }

    /// <summary>Throws unless a call succeeded and was used rightly.</summary>
    public void Check(Result result, string what)
    {
        if (IsLost)
            result = Result.ErrorDeviceLost;
        IsLost |= result == Result.ErrorDeviceLost;
        VulkanException.ThrowUnless(result, Info.ToString(), what);
        instance.ThrowIfMisused();
    }

    public void ThrowIfMisused() => instance.ThrowIfMisused();

    public (CommandPool Pool, CommandBuffer Buffer) MakeCommandBuffer(CommandPoolCreateFlags flags)
    {
        var poolInfo = new CommandPoolCreateInfo { QueueFamilyIndex = Info.QueueFamily, Flags = flags };
        CommandPool pool;
        Check(Vk.CreateCommandPool(Handle, &poolInfo, null, &pool), "making a command pool");
        var bufferInfo = new CommandBufferAllocateInfo { CommandPool = pool, Level = CommandBufferLevel.Primary, CommandBufferCount = 1 };
        CommandBuffer buffer;
        Check(Vk.AllocateCommandBuffers(Handle, &bufferInfo, &buffer), "making a command buffer");
        return (pool, buffer);
    }

    public void Dispose()
    {
        Vk.DestroyDevice(Handle, null);
        instance.Dispose();
    }

    private Device Create()
    {
        var v13 = new PhysicalDeviceVulkan13Features
        {
            Synchronization2 = true,
            Maintenance4 = true,
            SubgroupSizeControl = true,
            ComputeFullSubgroups = true,
        };
        var v12 = new PhysicalDeviceVulkan12Features
        {
            PNext = &v13,
            BufferDeviceAddress = true,
            TimelineSemaphore = true,
            ScalarBlockLayout = true,
            ShaderFloat16 = Info.Traits.HalfMatrixSide > 0,
            VulkanMemoryModel = Info.Limits.HasMemoryModel,
            VulkanMemoryModelDeviceScope = Info.Limits.HasMemoryModel,
        };
        var brain = new PhysicalDeviceShaderBfloat16FeaturesKHR { PNext = &v12, ShaderBFloat16Type = true, ShaderBFloat16CooperativeMatrix = true };
        bool hasBrain = Info.Traits.HasMatrixUnits, hasUnits = hasBrain || Info.Traits.HalfMatrixSide > 0;
        var matrices = new PhysicalDeviceCooperativeMatrixFeaturesKHR { PNext = hasBrain ? &brain : &v12, CooperativeMatrix = true };
        var features = new PhysicalDeviceFeatures2 { PNext = hasUnits ? &matrices : &v12 };
        features.Features.ShaderInt64 = true;
        float priority = 1;
        var queue = new DeviceQueueCreateInfo { QueueFamilyIndex = Info.QueueFamily, QueueCount = 1, PQueuePriorities = &priority };
        var names = new List<string>();
        if (Info.Limits.HasMemoryBudget)
            names.Add("VK_EXT_memory_budget");
        if (Info.Limits.IsPortabilitySubset)
            names.Add("VK_KHR_portability_subset");
        if (hasUnits)
            names.Add("VK_KHR_cooperative_matrix");
        if (hasBrain)
            names.Add("VK_KHR_shader_bfloat16");
        using var extensions = new NameList([.. names]);
        var info = new DeviceCreateInfo
        {
            PNext = &features,
            QueueCreateInfoCount = 1,
            PQueueCreateInfos = &queue,
            EnabledExtensionCount = extensions.Count,
            PpEnabledExtensionNames = extensions.Pointer,
        };
        Device device;
        Check(Vk.CreateDevice(Info.Handle, &info, null, &device), "opening the device");
        return device;
    }
}
