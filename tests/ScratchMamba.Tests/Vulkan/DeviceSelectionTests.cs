using ScratchMamba.Cli;
using ScratchMamba.Tensors;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Which device a wish means, among devices that are made up.</summary>
public class DeviceSelectionTests
{
    private static readonly VulkanDeviceInfo[] Several = [Device(0, "llvmpipe", "CPU"), Device(1, "Iris", "integrated GPU"), Device(2, "GeForce", "discrete GPU", "shaderInt64"), Device(3, "Radeon", "discrete GPU")];

    [Theory, InlineData(null, 3), InlineData("", 3), InlineData("0", 0), InlineData("llvm", 0), InlineData("iris", 1)]
    public void AWishNamesADevice(string? wish, int index) => Assert.Equal(index, VulkanDevices.Select(Several, wish).Index);

    [Theory, InlineData("7", "no Vulkan device '7'"), InlineData("Arc", "vulkan:1 (Iris)"), InlineData("GeForce", "lacks shaderInt64")]
    public void ARefusalSaysWhy(string wish, string words) =>
        Assert.Contains(words, Assert.Throws<VulkanUnavailableException>(() => VulkanDevices.Select(Several, wish)).Message, StringComparison.Ordinal);

    [Fact]
    public void NoDeviceNamesWhatToInstall() =>
        Assert.Contains("Install", Assert.Throws<VulkanUnavailableException>(() => VulkanDevices.Select([], null)).Message, StringComparison.Ordinal);

    [Fact]
    public void NoUsableDeviceSaysWhatIsMissing() =>
        Assert.Contains("GeForce", Assert.Throws<VulkanUnavailableException>(() => VulkanDevices.Select([Several[2]], null)).Message, StringComparison.Ordinal);

    [Theory, InlineData("gpu"), InlineData("vulkan:"), InlineData("vulkan 1"), InlineData("")]
    public void AnUnknownKindOfDeviceIsAMisuse(string device) => Assert.Contains("vulkan:NAME", Assert.Throws<MisuseException>(() => Devices.Open(device)).Message, StringComparison.Ordinal);

    [Fact]
    public void TheDevicesAreListed()
    {
        var output = new StringWriter();
        Assert.Equal(CommandLine.Done, CommandLine.Run(["devices"], output, TextWriter.Null));
        Assert.StartsWith("cpu", output.ToString(), StringComparison.Ordinal);
        output = new StringWriter();
        Assert.Equal(CommandLine.Done, CommandLine.Run(["devices", "--json"], output, TextWriter.Null));
        Assert.True(System.Text.Json.JsonDocument.Parse(output.ToString()).RootElement.GetProperty("devices").GetArrayLength() >= 1);
    }

    private static VulkanDeviceInfo Device(int index, string name, string type, params string[] missing) => new()
    {
        Index = index,
        Name = name,
        Type = type,
        Driver = "driver 1",
        ApiVersion = "1.3.0",
        MemoryBytes = 1 << 30,
        Missing = missing,
        Traits = new DeviceTraits { SubgroupSize = 32, SharedMemoryBytes = 32 << 10, WorkgroupInvocations = 1024 },
    };
}
