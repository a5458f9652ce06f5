using System.Security.Cryptography;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>
/// Compiled pipelines on disk, one file for each device and driver version. A file that is damaged or was written by something else is ignored and replaced.
/// </summary>
internal sealed unsafe class PipelineCacheFile : IDisposable
{
    private static ReadOnlySpan<byte> Magic => "ScratchMamba pipelines 1\n"u8;

    private readonly VulkanDevice device;
    private readonly string? path;
    private byte[] stored = [];

    public PipelineCacheFile(VulkanDevice device, string? folder)
    {
        this.device = device;
        path = folder is null ? null : Path.Combine(folder, device.Info.Limits.CacheKey + ".bin");
        byte[] data = Load();
        fixed (byte* bytes = data)
        {
            var info = new PipelineCacheCreateInfo { InitialDataSize = (nuint)data.Length, PInitialData = bytes };
            PipelineCache cache;
            device.Check(device.Vk.CreatePipelineCache(device.Handle, &info, null, &cache), "making a pipeline cache");
            Handle = cache;
        }
    }

    public PipelineCache Handle { get; }

    /// <summary>Writes what was compiled.</summary>
    public void Save()
    {
        if (path is null)
            return;
        nuint size = 0;
        if (device.Vk.GetPipelineCacheData(device.Handle, Handle, &size, null) != Result.Success || size == 0)
            return;
        var data = new byte[size];
        fixed (byte* bytes = data)
        {
            if (device.Vk.GetPipelineCacheData(device.Handle, Handle, &size, bytes) != Result.Success)
                return;
        }
        if (data.AsSpan().SequenceEqual(stored))
            return;
        if (CacheFolder.TryWrite(path, [.. Magic, .. SHA256.HashData(data), .. data]))
            stored = data;
    }

    public void Dispose() => device.Vk.DestroyPipelineCache(device.Handle, Handle, null);

    private byte[] Load()
    {
        if (CacheFolder.TryRead(path) is not { } bytes)
            return [];
        ReadOnlySpan<byte> file = bytes;
        if (file.Length < Magic.Length + SHA256.HashSizeInBytes || !file.StartsWith(Magic))
            return [];
        ReadOnlySpan<byte> hash = file.Slice(Magic.Length, SHA256.HashSizeInBytes), data = file[(Magic.Length + SHA256.HashSizeInBytes)..];
        return SHA256.HashData(data).AsSpan().SequenceEqual(hash) ? stored = data.ToArray() : [];
    }
}
