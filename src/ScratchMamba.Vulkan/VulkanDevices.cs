namespace ScratchMamba.Vulkan;

/// <summary>The Vulkan devices of this machine.</summary>
public static class VulkanDevices
{
    /// <summary>What to say where there is none: which package brings one.</summary>
    public static string NoDevice => VulkanInstance.NoDevice;

    /// <summary>All devices, also those that cannot be used.</summary>
    /// <exception cref="VulkanUnavailableException">There is no loader; the message says what to install.</exception>
    public static IReadOnlyList<VulkanDeviceInfo> List()
    {
        using var instance = new VulkanInstance();
        return List(instance);
    }

    internal static VulkanDeviceInfo[] List(VulkanInstance instance) => [.. instance.Devices().Select((device, index) => DeviceProbe.Look(instance.Vk, device, index))];

    /// <summary>The device that a user means: by number, by a part of its name, or the best one where nothing is said.</summary>
    /// <exception cref="VulkanUnavailableException">There is no such device, or it cannot be used; the message says why.</exception>
    internal static VulkanDeviceInfo Select(IReadOnlyList<VulkanDeviceInfo> devices, string? wish)
    {
        if (devices.Count == 0)
            throw new VulkanUnavailableException(VulkanInstance.NoDevice);
        string list = string.Join("; ", devices);
        if (string.IsNullOrEmpty(wish))
        {
            return devices.Where(device => device.IsUsable).OrderBy(Rank).ThenByDescending(device => device.MemoryBytes).FirstOrDefault()
                ?? throw new VulkanUnavailableException("No Vulkan device can be used. " + string.Join("; ", devices.Select(Reason)));
        }
        VulkanDeviceInfo? found = int.TryParse(wish, out int index)
            ? devices.FirstOrDefault(device => device.Index == index)
            : devices.FirstOrDefault(device => device.Name.Contains(wish, StringComparison.OrdinalIgnoreCase));
        if (found is null)
            throw new VulkanUnavailableException($"There is no Vulkan device '{wish}'; the devices are: {list}.");
        return found.IsUsable ? found : throw new VulkanUnavailableException($"{Reason(found)}.");
    }

    private static string Reason(VulkanDeviceInfo device) => $"{device} lacks {string.Join(", ", device.Missing)}";

    private static int Rank(VulkanDeviceInfo device) => device.Type switch
    {
        "discrete GPU" => 0,
        "virtual GPU" => 1,
        "integrated GPU" => 2,
        "CPU" => 4,
        _ => 3,
    };
}
