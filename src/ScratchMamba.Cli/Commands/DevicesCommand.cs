using System.CommandLine;
using System.Text.Json;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Cli.Commands;

/// <summary>devices: what can compute here.</summary>
internal static class DevicesCommand
{
    public static Verb Create()
    {
        var json = new Option<bool>("--json") { Description = "Write JSON." };
        var verb = new Verb("devices", "List the devices that can compute, and why others cannot.", "scratchmamba devices", json);
        verb.SetAction(parsed =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            IReadOnlyList<VulkanDeviceInfo> devices = [];
            string? problem = null;
            try
            {
                devices = VulkanDevices.List();
                problem = devices.Count == 0 ? VulkanDevices.NoDevice : null;
            }
            catch (VulkanUnavailableException fault)
            {
                problem = fault.Message;
            }
            if (parsed.GetValue(json))
                WriteJson(devices, problem, output);
            else
                WriteText(devices, problem, output);
            return CommandLine.Done;
        });
        return verb;
    }

    private static void WriteText(IReadOnlyList<VulkanDeviceInfo> devices, string? problem, TextWriter output)
    {
        output.WriteLine($"{"cpu",-10} this processor, {Environment.ProcessorCount} threads");
        foreach (VulkanDeviceInfo device in devices)
        {
            output.WriteLine($"{$"vulkan:{device.Index}",-10} {device.Name} ({device.Type}), {device.MemoryBytes / 1e9:0.0} GB, {device.Driver}, Vulkan {device.ApiVersion}, "
                + $"subgroups of {device.Traits.SubgroupSize}, {device.Traits.SharedMemoryBytes / 1024} KiB shared memory{(device.Traits.HasMatrixUnits ? ", bfloat16 matrix units" : "")}{(device.Traits.HalfMatrixSide > 0 ? ", float16 matrix units" : "")}");
            if (device.ChosenKernels is { Count: > 0 } chosen)
                output.WriteLine($"{"",-10} kernels chosen by measurement for {chosen.Count} products (bench --tune)");
            if (!device.IsUsable)
                output.WriteLine($"{"",-10} cannot be used: it lacks {string.Join(", ", device.Missing)}");
        }
        if (problem is not null)
            output.WriteLine($"{"vulkan",-10} {problem}");
    }

    private static void WriteJson(IReadOnlyList<VulkanDeviceInfo> devices, string? problem, TextWriter output)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteStartArray("devices");
            json.WriteStartObject();
            json.WriteString("device", "cpu");
            json.WriteString("type", "CPU");
            json.WriteNumber("threads", Environment.ProcessorCount);
            json.WriteBoolean("usable", true);
            json.WriteEndObject();
            foreach (VulkanDeviceInfo device in devices)
                Write(json, device);
            json.WriteEndArray();
            if (problem is not null)
                json.WriteString("vulkan", problem);
            json.WriteEndObject();
        }
        output.WriteLine(System.Text.Encoding.UTF8.GetString(buffer.ToArray()));
    }

    private static void Write(Utf8JsonWriter json, VulkanDeviceInfo device)
    {
        json.WriteStartObject();
        json.WriteString("device", $"vulkan:{device.Index}");
        json.WriteString("name", device.Name);
        json.WriteString("type", device.Type);
        json.WriteString("driver", device.Driver);
        json.WriteString("apiVersion", device.ApiVersion);
        json.WriteNumber("memoryBytes", device.MemoryBytes);
        json.WriteNumber("subgroupSize", device.Traits.SubgroupSize);
        json.WriteNumber("sharedMemoryBytes", device.Traits.SharedMemoryBytes);
        json.WriteNumber("workgroupInvocations", device.Traits.WorkgroupInvocations);
        json.WriteBoolean("matrixUnits", device.Traits.HasMatrixUnits);
        json.WriteBoolean("halfMatrixUnits", device.Traits.HalfMatrixSide > 0);
        json.WriteStartObject("chosenKernels");
        foreach ((string operation, string kernel) in device.ChosenKernels)
            json.WriteString(operation, kernel);
        json.WriteEndObject();
        json.WriteBoolean("usable", device.IsUsable);
        json.WriteStartArray("missing");
        foreach (string feature in device.Missing)
            json.WriteStringValue(feature);
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
