using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>A Vulkan device or its driver could not do what was asked; the message names the device and what it was.</summary>
public class VulkanException(string message) : Exception(message)
{
    internal static void ThrowUnless(Result result, string device, string what)
    {
        if (result == Result.Success)
            return;
        throw result == Result.ErrorDeviceLost ? new DeviceLostException(device, what) : new VulkanException($"{device}: {what} failed with {result}.");
    }
}

/// <summary>There is no Vulkan loader, or no device that can be used; the message says what to install.</summary>
public sealed class VulkanUnavailableException(string message) : VulkanException(message);

/// <summary>The device stopped working, or was taken away: everything that lived on it is gone.</summary>
public sealed class DeviceLostException(string device, string what) : VulkanException(
    $"{device} was lost during {what}. Its driver reset it or it was removed: what was computed on it is gone. Start again from the last checkpoint; if it happens again, update the driver or use --device cpu.");
