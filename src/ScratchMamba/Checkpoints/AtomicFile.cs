namespace ScratchMamba.Checkpoints;

/// <summary>Writes a file so that it is there whole or not at all.</summary>
public static class AtomicFile
{
    /// <summary>
    /// Writes to a temporary name in the same folder, flushes it to the disk, renames it to <paramref name="path"/>, and flushes the folder.
    /// After any failure the temporary is gone and a file that was there before is untouched.
    /// </summary>
    /// <param name="path">The file; one that exists is replaced.</param>
    /// <param name="write">Writes the content.</param>
    /// <exception cref="CheckpointException">The disk is full, or the folder cannot be written to.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        string partial = $"{path}.partial-{Guid.NewGuid():N}"[..^24];
        try
        {
            using (var stream = new FileStream(partial, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(partial, path, overwrite: true);
            FolderFlush.Flush(Path.GetDirectoryName(Path.GetFullPath(path))!);
        }
        catch (Exception error)
        {
            Delete(partial);
            // The last is what the runtime makes of a file system's limit on the size of a file.
            if (error is (IOException or UnauthorizedAccessException or ArgumentOutOfRangeException) and not CheckpointException)
                throw new CheckpointException($"{path}: cannot be written, and nothing was changed: {error.Message}", error);
            throw;
        }
    }

    /// <summary>Checks that a file can be written, before there is something to write. Leaves nothing behind.</summary>
    /// <exception cref="CheckpointException">It is a folder, or its folder is missing or cannot be written to.</exception>
    public static void CheckWritable(string path)
    {
        if (Directory.Exists(path))
            throw new CheckpointException($"{path}: is a folder");
        string partial = $"{path}.partial-{Guid.NewGuid():N}"[..^24];
        try
        {
            using var probe = new FileStream(partial, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CheckpointException($"{path}: cannot be written: {error.Message}", error);
        }
    }

    private static void Delete(string partial)
    {
        try
        {
            File.Delete(partial);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report.
        }
    }
}
