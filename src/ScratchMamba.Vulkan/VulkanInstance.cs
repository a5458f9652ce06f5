using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>The connection to the loader. With SCRATCHMAMBA_VULKAN_VALIDATION=1 the Khronos validation layer watches every call, and what it says becomes an exception.</summary>
internal sealed unsafe class VulkanInstance : IDisposable
{
    public const uint Version13 = (1u << 22) | (3u << 12);

    private const string ValidationLayer = "VK_LAYER_KHRONOS_validation";

    private static string Remedy =>
        OperatingSystem.IsWindows() ? "Install your GPU's driver; it brings Vulkan."
        : OperatingSystem.IsMacOS() ? "Install MoltenVK (brew install molten-vk)."
        : "Install your GPU's driver, or a driver for the processor: libvulkan1 and mesa-vulkan-drivers on Debian and Ubuntu, vulkan-loader and mesa-vulkan-drivers on Fedora.";

    private readonly ConcurrentQueue<string> messages = new();
    private readonly GCHandle self;
    private DebugUtilsMessengerEXT messenger;

    public VulkanInstance()
    {
        Vk = Vk.Open() ?? throw new VulkanUnavailableException($"There is no Vulkan loader on this machine. {Remedy}");
        uint version = 0;
        if (Vk.EnumerateInstanceVersion == null || Vk.EnumerateInstanceVersion(&version) != Result.Success || version < Version13)
            throw new VulkanUnavailableException($"The Vulkan loader is older than version 1.3. {Remedy}");
        bool validates = Environment.GetEnvironmentVariable("SCRATCHMAMBA_VULKAN_VALIDATION") == "1";
        self = GCHandle.Alloc(this);
        Handle = Create(validates);
        Vk.Load(Handle);
        if (validates)
            Listen();
    }

    public Vk Vk { get; }

    public Instance Handle { get; }

    public static string NoDevice => $"The Vulkan loader found no device. {Remedy}";

    public PhysicalDevice[] Devices()
    {
        uint count = 0;
        Result result = Vk.EnumeratePhysicalDevices(Handle, &count, null);
        if (result != Result.Success || count == 0)
            return [];
        var devices = new PhysicalDevice[count];
        fixed (PhysicalDevice* first = devices)
            _ = Vk.EnumeratePhysicalDevices(Handle, &count, first);
        return devices;
    }

    /// <summary>Throws what the validation layer has said since the last call.</summary>
    public void ThrowIfMisused()
    {
        if (messages.TryDequeue(out string? message))
            throw new VulkanException("Validation: " + message);
    }

    public void Dispose()
    {
        if (messenger != default)
            Vk.DestroyDebugUtilsMessengerEXT(Handle, messenger, null);
        Vk.DestroyInstance(Handle, null);
        self.Free();
    }

    internal static string Text(byte* text, int capacity)
    {
        var bytes = new ReadOnlySpan<byte>(text, capacity);
        int end = bytes.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
    }

    private Instance Create(bool validates)
    {
        string[] layers = validates ? [ValidationLayer] : [];
        var extensions = new List<string>();
        if (validates)
            extensions.Add("VK_EXT_debug_utils");
        const string Portability = "VK_KHR_portability_enumeration";
        bool isPortable = HasExtension(Portability);
        if (isPortable)
            extensions.Add(Portability);
        using var layerNames = new NameList(layers);
        using var extensionNames = new NameList([.. extensions]);
        ValidationFeatureEnableEXT synchronization = ValidationFeatureEnableEXT.SynchronizationValidationExt;
        var validation = new ValidationFeaturesEXT { EnabledValidationFeatureCount = 1, PEnabledValidationFeatures = &synchronization };
        var application = new ApplicationInfo { ApiVersion = Version13 };
        var info = new InstanceCreateInfo
        {
            PNext = validates ? &validation : null,
            Flags = isPortable ? (InstanceCreateFlags)1 : default,
            PApplicationInfo = &application,
            EnabledLayerCount = layerNames.Count,
            PpEnabledLayerNames = layerNames.Pointer,
            EnabledExtensionCount = extensionNames.Count,
            PpEnabledExtensionNames = extensionNames.Pointer,
        };
        Instance instance;
        Result result = Vk.CreateInstance(&info, null, &instance);
        return result switch
        {
            Result.Success => instance,
            Result.ErrorLayerNotPresent => throw new VulkanUnavailableException($"SCRATCHMAMBA_VULKAN_VALIDATION is set, but {ValidationLayer} is not installed (vulkan-validationlayers on Debian and Ubuntu)."),
            Result.ErrorIncompatibleDriver => throw new VulkanUnavailableException(NoDevice),
            _ => throw new VulkanUnavailableException($"Vulkan could not be started: {result}. {Remedy}"),
        };
    }

    private bool HasExtension(string name)
    {
        uint count = 0;
        if (Vk.EnumerateInstanceExtensionProperties(null, &count, null) != Result.Success)
            return false;
        var found = new ExtensionProperties[count];
        fixed (ExtensionProperties* first = found)
        {
            _ = Vk.EnumerateInstanceExtensionProperties(null, &count, first);
            for (int i = 0; i < count; i++)
            {
                if (Text(first[i].ExtensionName, 256) == name)
                    return true;
            }
        }
        return false;
    }

    private void Listen()
    {
        var info = new DebugUtilsMessengerCreateInfoEXT
        {
            MessageSeverity = DebugUtilsMessageSeverityFlagsEXT.ErrorBitExt | DebugUtilsMessageSeverityFlagsEXT.WarningBitExt,
            MessageType = DebugUtilsMessageTypeFlagsEXT.ValidationBitExt,
            PfnUserCallback = (delegate* unmanaged<DebugUtilsMessageSeverityFlagsEXT, DebugUtilsMessageTypeFlagsEXT, DebugUtilsMessengerCallbackDataEXT*, void*, uint>)&Hear,
            PUserData = (void*)GCHandle.ToIntPtr(self),
        };
        DebugUtilsMessengerEXT made;
        VulkanException.ThrowUnless(Vk.CreateDebugUtilsMessengerEXT(Handle, &info, null, &made), "Vulkan", "listening to the validation layer");
        messenger = made;
    }

    [UnmanagedCallersOnly]
    private static uint Hear(DebugUtilsMessageSeverityFlagsEXT severity, DebugUtilsMessageTypeFlagsEXT type, DebugUtilsMessengerCallbackDataEXT* data, void* user)
    {
        if (GCHandle.FromIntPtr((nint)user).Target is VulkanInstance instance)
            instance.messages.Enqueue(Marshal.PtrToStringUTF8((nint)data->PMessage) ?? "");
        return 0;
    }
}

/// <summary>Names as a native array of zero-terminated strings.</summary>
internal readonly unsafe ref struct NameList
{
    public NameList(string[] names)
    {
        Count = (uint)names.Length;
        Pointer = (byte**)NativeMemory.AllocZeroed((nuint)(names.Length + 1), (nuint)sizeof(byte*));
        for (int i = 0; i < names.Length; i++)
            Pointer[i] = (byte*)Marshal.StringToCoTaskMemUTF8(names[i]);
    }

    public uint Count { get; }

    public byte** Pointer { get; }

    public void Dispose()
    {
        for (int i = 0; i < Count; i++)
            Marshal.FreeCoTaskMem((nint)Pointer[i]);
        NativeMemory.Free(Pointer);
    }
}
