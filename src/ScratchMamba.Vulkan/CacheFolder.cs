namespace ScratchMamba.Vulkan;

/// <summary>The folder for what is worth keeping of a device: files are read whole and replaced whole, so processes that run at the same time never see half of one.</summary>
internal static class CacheFolder
{
    /// <summary>That of this user: SCRATCHMAMBA_CACHE, or the system's place for such files; null where there is none.</summary>
    public static string? OfUser
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

    /// <summary>A file's bytes; null where it is not there, is longer than <paramref name="most"/> or cannot be read.</summary>
    public static byte[]? TryRead(string? path, long most = int.MaxValue)
    {
        try
        {
            return path is not null && File.Exists(path) && new FileInfo(path).Length <= most ? File.ReadAllBytes(path) : null;
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Writes a file, and its folder where that is missing. Whether it could: what cannot be kept costs the next start some time, nothing else.</summary>
    public static bool TryWrite(string path, ReadOnlySpan<byte> data)
    {
        string part = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}.part";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(part, data);
            File.Move(part, path, overwrite: true);
            return true;
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            TryDelete(part);
            return false;
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
