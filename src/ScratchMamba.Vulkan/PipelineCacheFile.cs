using System.Security.Cryptography;
using ScratchMamba.Vulkan.Bindings;

namespace ScratchMamba.Vulkan;

/// <summary>
/// Compiled pipelines on disk, one file for each device and driver version. A file that is damaged or was written by something else is ignored and replaced;
/// it is replaced as a whole, so processes that run at the same time never see half of one.
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

    /// <summary>The folder for caches of this user: SCRATCHMAMBA_CACHE, or the system's place for such files; null where there is none.</summary>
    public static string? UserFolder
    {
        get
        {
            string? wish = Environment.GetEnvironmentVariable("SCRATCHMAMBA_CACHE");
            if (!string.IsNullOrEmpty(wish))
                return wish;
            string home = OperatingSystem.IsLinux() && Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache ? cache
                : OperatingSystem.IsLinux() && Environment.GetEnvironmentVariable("HOME") is { Length: > 0 } user ? Path.Combine(user, ".cache")
                : Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
            return home.Length == 0 ? null : Path.Combine(home, "scratchmamba");
        }
    }

    /// <summary>Writes what was compiled. A folder that cannot be written costs the next start some time, nothing else.</summary>
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
        string part = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}.part";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(part, [.. Magic, .. SHA256.HashData(data), .. data]);
            File.Move(part, path, overwrite: true);
            stored = data;
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            TryDelete(part);
        }
    }

    public void Dispose() => device.Vk.DestroyPipelineCache(device.Handle, Handle, null);

    private byte[] Load()
    {
        try
        {
            if (path is null || !File.Exists(path))
                return [];
            ReadOnlySpan<byte> file = File.ReadAllBytes(path);
            if (file.Length < Magic.Length + SHA256.HashSizeInBytes || !file.StartsWith(Magic))
                return [];
            ReadOnlySpan<byte> hash = file.Slice(Magic.Length, SHA256.HashSizeInBytes), data = file[(Magic.Length + SHA256.HashSizeInBytes)..];
            if (!SHA256.HashData(data).AsSpan().SequenceEqual(hash))
                return [];
            return stored = data.ToArray();
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static void TryDelete(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            // What cannot be written cannot always be deleted either; it is a few kilobytes in a cache folder.
        }
    }
}
