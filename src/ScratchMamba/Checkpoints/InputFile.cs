using Microsoft.Win32.SafeHandles;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// A file that is read at any place without being in memory. Reads are positional rather than through a mapping, because a mapped file that somebody shortens ends the process.
/// </summary>
internal sealed class InputFile : IDisposable
{
    private readonly SafeFileHandle handle;

    /// <summary>Opens a file.</summary>
    /// <exception cref="CheckpointException">It cannot be opened.</exception>
    public InputFile(string path)
    {
        Path = path;
        try
        {
            handle = File.OpenHandle(path);
            Length = RandomAccess.GetLength(handle);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            handle?.Dispose();
            throw new CheckpointException($"{path}: cannot be opened: {error.Message}", error);
        }
    }

    /// <summary>What messages begin with.</summary>
    public string Path { get; }

    /// <summary>The length when it was opened.</summary>
    public long Length { get; }

    /// <summary>Fills <paramref name="destination"/> from byte <paramref name="offset"/> on.</summary>
    /// <exception cref="CheckpointException">The file has become shorter.</exception>
    public void Read(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int count = RandomAccess.Read(handle, destination, offset);
            if (count == 0)
                throw new CheckpointException($"{Path}: the file became shorter while it was open");
            destination = destination[count..];
            offset += count;
        }
    }

    /// <summary>The first bytes of a file, fewer where it is shorter.</summary>
    /// <exception cref="CheckpointException">It cannot be read.</exception>
    public static byte[] Beginning(string path, int count)
    {
        using var file = new InputFile(path);
        var bytes = new byte[Math.Min(count, file.Length)];
        file.Read(0, bytes);
        return bytes;
    }

    public void Dispose() => handle.Dispose();
}
