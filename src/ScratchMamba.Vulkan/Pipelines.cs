using System.Reflection;
using ScratchMamba.Tensors;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>Makes pipelines from the embedded shaders, once for each shader and values of its constants. All share one layout: push constants and nothing else.</summary>
internal sealed unsafe class Pipelines : IDisposable
{
    private readonly VulkanDevice device;
    private readonly Vk vk;
    private readonly Dictionary<Key, Pipeline> made = [];
    private readonly PipelineCacheFile cache;

    public Pipelines(VulkanDevice device, string? cacheFolder)
    {
        cache = new PipelineCacheFile(device, cacheFolder);
        this.device = device;
        vk = device.Vk;
        var push = new PushConstantRange { StageFlags = ShaderStageFlags.ComputeBit, Size = Tensors.Dispatch.MaxPushBytes };
        var info = new PipelineLayoutCreateInfo { PushConstantRangeCount = 1, PPushConstantRanges = &push };
        PipelineLayout layout;
        device.Check(vk.CreatePipelineLayout(device.Handle, &info, null, &layout), "making a pipeline layout");
        Layout = layout;
    }

    public PipelineLayout Layout { get; }

    public Pipeline Get(Dispatch dispatch)
    {
        var key = new Key(dispatch.Shader, dispatch.Constants);
        if (!made.TryGetValue(key, out Pipeline pipeline))
        {
            pipeline = Make(dispatch);
            made.Add(key, pipeline);
        }
        return pipeline;
    }

    public void Dispose()
    {
        if (made.Count > 0)
            cache.Save();
        cache.Dispose();
        foreach (Pipeline pipeline in made.Values)
            vk.DestroyPipeline(device.Handle, pipeline, null);
        vk.DestroyPipelineLayout(device.Handle, Layout, null);
    }

    private Pipeline Make(Dispatch dispatch)
    {
        byte[] code = Shaders.Read(dispatch.Shader);
        SpirvModule.Read(dispatch.Shader, code).ThrowUnlessFits(dispatch, device.Info.Traits);
        uint[] constants = [.. dispatch.Constants];
        var entries = new SpecializationMapEntry[constants.Length];
        for (int i = 0; i < entries.Length; i++)
            entries[i] = new SpecializationMapEntry { ConstantID = (uint)i, Offset = (uint)(4 * i), Size = 4 };
        ShaderModule module;
        Pipeline pipeline;
        fixed (byte* bytes = code)
        {
            var moduleInfo = new ShaderModuleCreateInfo { CodeSize = (nuint)code.Length, PCode = (uint*)bytes };
            device.Check(vk.CreateShaderModule(device.Handle, &moduleInfo, null, &module), $"reading the shader {dispatch.Shader}");
        }
        fixed (SpecializationMapEntry* map = entries)
        fixed (uint* values = constants)
        fixed (byte* main = "main\0"u8)
        {
            var specialization = new SpecializationInfo { MapEntryCount = (uint)entries.Length, PMapEntries = map, DataSize = (nuint)(4 * constants.Length), PData = values };
            var size = new PipelineShaderStageRequiredSubgroupSizeCreateInfo { RequiredSubgroupSize = (uint)device.Info.Traits.SubgroupSize };
            bool isFull = constants.Length > 0 && constants[0] % size.RequiredSubgroupSize == 0;
            bool isRequired = isFull && device.Info.Limits.CanRequireSubgroupSize && constants[0] <= size.RequiredSubgroupSize * device.Info.Limits.MaxWorkgroupSubgroups;
            var info = new ComputePipelineCreateInfo
            {
                Layout = Layout,
                Stage = new PipelineShaderStageCreateInfo
                {
                    PNext = isRequired ? &size : null,
                    Flags = isFull ? PipelineShaderStageCreateFlags.RequireFullSubgroupsBit : default,
                    Stage = ShaderStageFlags.ComputeBit,
                    Module = module,
                    PName = main,
                    PSpecializationInfo = constants.Length > 0 ? &specialization : null,
                },
            };
            Result result = vk.CreateComputePipelines(device.Handle, cache.Handle, 1, &info, null, &pipeline);
            vk.DestroyShaderModule(device.Handle, module, null);
            device.Check(result, $"compiling the shader {dispatch.Shader} with constants [{string.Join(", ", constants)}]");
        }
        return pipeline;
    }

    private readonly struct Key(string shader, IReadOnlyList<uint> constants) : IEquatable<Key>
    {
        private readonly string shader = shader;
        private readonly IReadOnlyList<uint> constants = constants;

        public bool Equals(Key other)
        {
            if (shader != other.shader || constants.Count != other.constants.Count)
                return false;
            for (int i = 0; i < constants.Count; i++)
            {
                if (constants[i] != other.constants[i])
                    return false;
            }
            return true;
        }

        public override bool Equals(object? obj) => obj is Key other && Equals(other);

        public override int GetHashCode()
        {
            var hash = new HashCode();
            hash.Add(shader);
            for (int i = 0; i < constants.Count; i++)
                hash.Add(constants[i]);
            return hash.ToHashCode();
        }
    }
}

/// <summary>The SPIR-V that is embedded here.</summary>
internal static class Shaders
{
    private static readonly Assembly Home = typeof(Shaders).Assembly;

    /// <summary>The names of all shaders.</summary>
    public static IEnumerable<string> Names => Home.GetManifestResourceNames().Where(name => name.EndsWith(".spv", StringComparison.Ordinal)).Select(name => name[..^4]).Order(StringComparer.Ordinal);

    /// <summary>The code of one.</summary>
    public static byte[] Read(string name)
    {
        using Stream stream = Home.GetManifestResourceStream(name + ".spv") ?? throw new VulkanException($"There is no shader '{name}'.");
        var code = new byte[stream.Length];
        stream.ReadExactly(code);
        return code;
    }
}
