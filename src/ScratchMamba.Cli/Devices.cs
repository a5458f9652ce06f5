using System.CommandLine;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Cli;

/// <summary>Opens what --device names.</summary>
internal static class Devices
{
    // Of a whole operation of a real model; single operations of moderate size stay below 1e-5.
    private const double LockstepTolerance = 1e-4;

    /// <summary>What the options of a command name, with as many threads as they say.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="option">The option that names the device.</param>
    /// <param name="lockstep">Whether to run every operation on the CPU as well, and to compare.</param>
    public static Backend Open(ParseResult parsed, Option<string> option, bool lockstep = false)
    {
        Backend backend = Open(parsed.GetValue(option)!, lockstep, parsed.GetValue(CommonOptions.Threads));
        (backend as VulkanBackend)?.Notice = parsed.InvocationConfiguration.Error.WriteLine;
        return backend;
    }

    /// <summary>cpu; or vulkan, vulkan:NUMBER, vulkan:NAME.</summary>
    /// <param name="device">The device as the user names it.</param>
    /// <param name="lockstep">Whether to run every operation on the CPU as well, and to compare.</param>
    /// <param name="threads">How many threads compute on the CPU; 0 for one per core.</param>
    public static Backend Open(string device, bool lockstep = false, int threads = 0)
    {
        if (device == "cpu")
            return lockstep ? throw new MisuseException("--lockstep compares a device with the CPU; name one, such as --device vulkan.") : new CpuBackend(threads);
        (string kind, string? wish) = device.IndexOf(':') is >= 0 and int colon ? (device[..colon], device[(colon + 1)..]) : (device, null);
        if (kind != "vulkan" || wish == "")
            throw new MisuseException($"There is no device '{device}'; the devices are: cpu, vulkan, vulkan:NUMBER, vulkan:NAME (see 'scratchmamba devices').");
        var vulkan = new VulkanBackend(wish);
        return lockstep ? new LockstepBackend(new CpuBackend(threads), vulkan, LockstepTolerance) : vulkan;
    }
}
