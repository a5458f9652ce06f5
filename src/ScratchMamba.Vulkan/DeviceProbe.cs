using ScratchMamba.Tensors;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>Finds out what a physical device is and whether it has what the backend needs.</summary>
internal static unsafe class DeviceProbe
{
    public static VulkanDeviceInfo Look(Vk vk, PhysicalDevice device, int index)
    {
        PhysicalDeviceProperties basics;
        vk.GetPhysicalDeviceProperties(device, &basics);
        var missing = new List<string>();
        bool isRecent = basics.ApiVersion >= VulkanInstance.Version13;
        if (!isRecent)
            missing.Add($"Vulkan 1.3 (the driver has {Version(basics.ApiVersion)})");

        var v13 = new PhysicalDeviceVulkan13Properties();
        var driver = new PhysicalDeviceDriverProperties { PNext = &v13 };
        var v11 = new PhysicalDeviceVulkan11Properties { PNext = &driver };
        var properties = new PhysicalDeviceProperties2 { PNext = &v11 };
        if (isRecent)
            vk.GetPhysicalDeviceProperties2(device, &properties);
        bool hasMemoryModel = isRecent && CheckFeatures(vk, device, missing);
        int family = QueueFamily(vk, device);
        if (family < 0)
            missing.Add("a queue for compute shaders");
        const SubgroupFeatureFlags subgroups = SubgroupFeatureFlags.ArithmeticBit | SubgroupFeatureFlags.ShuffleBit;
        if (isRecent && (!v11.SubgroupSupportedStages.HasFlag(ShaderStageFlags.ComputeBit) || !v11.SubgroupSupportedOperations.HasFlag(subgroups)))
            missing.Add("arithmetic and shuffles of subgroups in compute shaders");
        HashSet<string> extensions = Extensions(vk, device);
        return new VulkanDeviceInfo
        {
            Index = index,
            Handle = device,
            Kind = basics.DeviceType,
            QueueFamily = (uint)Math.Max(0, family),
            Name = VulkanInstance.Text(basics.DeviceName, 256),
            Type = basics.DeviceType switch
            {
                PhysicalDeviceType.DiscreteGpu => "discrete GPU",
                PhysicalDeviceType.IntegratedGpu => "integrated GPU",
                PhysicalDeviceType.VirtualGpu => "virtual GPU",
                PhysicalDeviceType.Cpu => "CPU",
                _ => "other",
            },
            Driver = isRecent ? $"{VulkanInstance.Text(driver.DriverName, 256)} {VulkanInstance.Text(driver.DriverInfo, 256)}".Trim() : "unknown",
            ApiVersion = Version(basics.ApiVersion),
            MemoryBytes = (long)LocalBytes(vk, device),
            Missing = missing,
            Traits = new DeviceTraits
            {
                SubgroupSize = (int)Math.Max(1, v11.SubgroupSize),
                SharedMemoryBytes = (int)Math.Min(int.MaxValue, basics.Limits.MaxComputeSharedMemorySize),
                WorkgroupInvocations = (int)Math.Min(int.MaxValue, basics.Limits.MaxComputeWorkGroupInvocations),
                IsCpu = basics.DeviceType == PhysicalDeviceType.Cpu,
                HasMatrixUnits = hasMemoryModel && MatrixSide(vk, device, extensions, ComponentTypeKHR.Bfloat16Khr) == 16,
                HalfMatrixSide = hasMemoryModel ? MatrixSide(vk, device, extensions, ComponentTypeKHR.Float16Khr) : 0,
                HasHalfSums = hasMemoryModel && MatrixSide(vk, device, extensions, ComponentTypeKHR.Float16Khr, ComponentTypeKHR.Float16Khr) == 16,
            },
            Limits = new DeviceLimits
            {
                MaxAllocationBytes = v11.MaxMemoryAllocationSize,
                MaxBufferBytes = v13.MaxBufferSize,
                MinSubgroupSize = v13.MinSubgroupSize,
                MaxSubgroupSize = v13.MaxSubgroupSize,
                MaxWorkgroupSubgroups = v13.MaxComputeWorkgroupSubgroups,
                CanRequireSubgroupSize = v13.RequiredSubgroupSizeStages.HasFlag(ShaderStageFlags.ComputeBit),
                TimestampPeriod = basics.Limits.TimestampPeriod,
                HasMemoryModel = hasMemoryModel,
                HasMemoryBudget = extensions.Contains("VK_EXT_memory_budget"),
                IsPortabilitySubset = extensions.Contains("VK_KHR_portability_subset"),
                CacheKey = $"{Convert.ToHexString(new ReadOnlySpan<byte>(v11.DeviceUUID, 16))}-{Convert.ToHexString(new ReadOnlySpan<byte>(basics.PipelineCacheUUID, 16))}-{basics.DriverVersion:x}",
            },
        };
    }

    private static bool CheckFeatures(Vk vk, PhysicalDevice device, List<string> missing)
    {
        var v13 = new PhysicalDeviceVulkan13Features();
        var v12 = new PhysicalDeviceVulkan12Features { PNext = &v13 };
        var features = new PhysicalDeviceFeatures2 { PNext = &v12 };
        vk.GetPhysicalDeviceFeatures2(device, &features);
        Need(v12.BufferDeviceAddress, "bufferDeviceAddress");
        Need(v12.TimelineSemaphore, "timelineSemaphore");
        Need(v12.ScalarBlockLayout, "scalarBlockLayout");
        Need(v13.Synchronization2, "synchronization2");
        Need(v13.Maintenance4, "maintenance4");
        Need(v13.SubgroupSizeControl, "subgroupSizeControl");
        Need(v13.ComputeFullSubgroups, "computeFullSubgroups");
        Need(features.Features.ShaderInt64, "shaderInt64");
        return v12.VulkanMemoryModel && v12.VulkanMemoryModelDeviceScope;

        void Need(bool has, string name)
        {
            if (!has)
                missing.Add(name);
        }
    }

    private static int MatrixSide(Vk vk, PhysicalDevice device, HashSet<string> extensions, ComponentTypeKHR type, ComponentTypeKHR sums = ComponentTypeKHR.Float32Khr)
    {
        bool isBrain = type == ComponentTypeKHR.Bfloat16Khr;
        if (!extensions.Contains("VK_KHR_cooperative_matrix") || (isBrain && !extensions.Contains("VK_KHR_shader_bfloat16")) || vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR == null)
            return 0;
        var brain = new PhysicalDeviceShaderBfloat16FeaturesKHR();
        var v12 = new PhysicalDeviceVulkan12Features { PNext = isBrain ? &brain : null };
        var matrices = new PhysicalDeviceCooperativeMatrixFeaturesKHR { PNext = &v12 };
        var features = new PhysicalDeviceFeatures2 { PNext = &matrices };
        vk.GetPhysicalDeviceFeatures2(device, &features);
        if (!matrices.CooperativeMatrix || !(isBrain ? brain.ShaderBFloat16Type && brain.ShaderBFloat16CooperativeMatrix : (bool)v12.ShaderFloat16))
            return 0;
        uint count = 0;
        if (vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(device, &count, null) != Result.Success)
            return 0;
        var shapes = new CooperativeMatrixPropertiesKHR[count];
        Array.Fill(shapes, new CooperativeMatrixPropertiesKHR());
        fixed (CooperativeMatrixPropertiesKHR* first = shapes)
            _ = vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(device, &count, first);
        return Has(16) ? 16 : Has(8) ? 8 : 0;

        bool Has(int side) => Array.Exists(shapes, shape => shape.Scope == ScopeKHR.SubgroupKhr && shape.CType == sums && shape.ResultType == sums
            && shape.AType == type && shape.BType == type && shape.MSize == side && shape.NSize == side && shape.KSize == side);
    }

    private static int QueueFamily(Vk vk, PhysicalDevice device)
    {
        uint count = 0;
        vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, null);
        var families = new QueueFamilyProperties[count];
        fixed (QueueFamilyProperties* first = families)
            vk.GetPhysicalDeviceQueueFamilyProperties(device, &count, first);
        return Array.FindIndex(families, family => family.QueueFlags.HasFlag(QueueFlags.ComputeBit));
    }

    private static ulong LocalBytes(Vk vk, PhysicalDevice device)
    {
        var properties = new PhysicalDeviceMemoryProperties2();
        vk.GetPhysicalDeviceMemoryProperties2(device, &properties);
        ulong bytes = 0;
        for (int i = 0; i < properties.MemoryProperties.MemoryHeapCount; i++)
        {
            if (properties.MemoryProperties.MemoryHeaps[i].Flags.HasFlag(MemoryHeapFlags.DeviceLocalBit))
                bytes += properties.MemoryProperties.MemoryHeaps[i].Size;
        }
        return bytes;
    }

    private static HashSet<string> Extensions(Vk vk, PhysicalDevice device)
    {
        uint count = 0;
        _ = vk.EnumerateDeviceExtensionProperties(device, null, &count, null);
        var found = new ExtensionProperties[count];
        var names = new HashSet<string>();
        fixed (ExtensionProperties* first = found)
        {
            _ = vk.EnumerateDeviceExtensionProperties(device, null, &count, first);
            for (int i = 0; i < count; i++)
                names.Add(VulkanInstance.Text(first[i].ExtensionName, 256));
        }
        return names;
    }

    private static string Version(uint version) => $"{version >> 22 & 0x7F}.{version >> 12 & 0x3FF}.{version & 0xFFF}";
}
