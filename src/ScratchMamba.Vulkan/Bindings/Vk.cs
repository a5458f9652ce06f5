using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;

namespace ScratchMamba.Vulkan.Bindings;

/// <summary>The functions of Vulkan that are used, found at run time: a machine without a loader can still run the rest of the program.</summary>
internal sealed unsafe partial class Vk
{
    private static readonly string[] LoaderNames =
        OperatingSystem.IsWindows() ? ["vulkan-1.dll"]
        : OperatingSystem.IsMacOS() ? ["libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib"]
        : ["libvulkan.so.1", "libvulkan.so"];

    private readonly delegate* unmanaged<Instance, byte*, nint> getInstanceProcAddr;

    private Vk(nint loader)
    {
        getInstanceProcAddr = (delegate* unmanaged<Instance, byte*, nint>)NativeLibrary.GetExport(loader, "vkGetInstanceProcAddr");
        LoadGlobal(name => Find(default, name));
    }

    /// <summary>The functions that need no instance, or null where there is no loader.</summary>
    public static Vk? Open()
    {
        foreach (string name in LoaderNames)
        {
            if (NativeLibrary.TryLoad(name, Assembly.GetExecutingAssembly(), null, out nint loader))
                return new Vk(loader);
        }
        return null;
    }

    /// <summary>Finds the functions of an instance.</summary>
    public void Load(Instance instance) => LoadInstance(name => Find(instance, name));

    /// <summary>Finds the functions of a device.</summary>
    public void Load(Device device) => LoadDevice(name =>
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
            return (nint)GetDeviceProcAddr(device, text);
    });

    private nint Find(Instance instance, string name)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
            return getInstanceProcAddr(instance, text);
    }
}

/// <summary>A truth value of 32 bits.</summary>
internal readonly record struct Bool32(uint Value)
{
    public static implicit operator bool(Bool32 value) => value.Value != 0;

    public static implicit operator Bool32(bool value) => new(value ? 1u : 0u);
}
