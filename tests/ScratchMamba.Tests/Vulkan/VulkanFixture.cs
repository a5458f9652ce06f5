using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>
/// One device for all tests: compiling shaders takes most of the time on a driver for the processor. SCRATCHMAMBA_VULKAN_DEVICE chooses it, by number or name.
/// Without a device the tests are skipped, unless SCRATCHMAMBA_REQUIRE_VULKAN=1.
/// </summary>
public sealed class VulkanFixture : IDisposable
{
    private readonly SentinelBackend? backend;
    private readonly string? absence;

    public VulkanFixture()
    {
        try
        {
            backend = new SentinelBackend(DeviceName);
        }
        catch (VulkanUnavailableException reason) when (Environment.GetEnvironmentVariable("SCRATCHMAMBA_REQUIRE_VULKAN") != "1")
        {
            absence = reason.Message;
        }
    }

    public static string? DeviceName => Environment.GetEnvironmentVariable("SCRATCHMAMBA_VULKAN_DEVICE");

    internal SentinelBackend Backend
    {
        get
        {
            Assert.SkipWhen(absence is not null, $"Not run: {absence}");
            return backend!;
        }
    }

    public void Dispose() => backend?.Dispose();
}

[CollectionDefinition(nameof(VulkanCollection))]
public sealed class VulkanCollection : ICollectionFixture<VulkanFixture>;
