namespace ScratchMamba.Checkpoints;

/// <summary>Writes a folder, such as a checkpoint of several files, so that a reader never sees half of it.</summary>
public static class AtomicFolder
{
    /// <summary>
    /// Fills a temporary sibling <c>PATH.partial-…</c>, flushes its files to the disk, then renames it to <paramref name="path"/>. A folder that was there
    /// steps aside as <c>PATH.previous-…</c> and is deleted once the new one is in its place. After any failure the temporary is gone and the previous folder is back.
    /// </summary>
    /// <param name="path">The folder; one that exists is replaced whole.</param>
    /// <param name="fill">Writes the files into the folder it is given.</param>
    /// <exception cref="CheckpointException">The disk is full, or the folder cannot be written to.</exception>
    /// <remarks>Should the process be killed between the two renames, <see cref="Recover"/> puts the previous folder back.</remarks>
    public static void Write(string path, Action<string> fill)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string suffix = Guid.NewGuid().ToString("N")[..8], partial = $"{path}.partial-{suffix}", previous = $"{path}.previous-{suffix}";
        try
        {
            Recover(path);
            Directory.CreateDirectory(partial);
            fill(partial);
            foreach (string file in Directory.EnumerateFiles(partial, "*", SearchOption.AllDirectories))
            {
                using var stream = new FileStream(file, FileMode.Open, FileAccess.Write);
                stream.Flush(flushToDisk: true);
            }
            bool replaces = Directory.Exists(path);
            if (replaces)
                Directory.Move(path, previous);
            try
            {
                Directory.Move(partial, path);
            }
            catch when (replaces)
            {
                Directory.Move(previous, path);
                throw;
            }
        }
        catch (Exception error)
        {
            Delete(partial);
            if (error is (IOException or UnauthorizedAccessException) and not CheckpointException)
                throw new CheckpointException($"{path}: cannot be written, and nothing was changed: {error.Message}", error);
            throw;
        }
        Delete(previous);
    }

    /// <summary>Puts back the folder that an interrupted <see cref="Write"/> had moved aside, where <paramref name="path"/> itself is missing. Says whether it did.</summary>
    public static bool Recover(string path)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string? parent = Path.GetDirectoryName(path);
        if (parent is null || Directory.Exists(path) || !Directory.Exists(parent))
            return false;
        string? previous = Directory.EnumerateDirectories(parent, $"{Path.GetFileName(path)}.previous-????????").MaxBy(Directory.GetLastWriteTimeUtc);
        if (previous is null)
            return false;
        Directory.Move(previous, path);
        return true;
    }

    private static void Delete(string folder)
    {
        try
        {
            if (Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // What stays behind does no harm, and after a failure the first error is the one to report.
        }
    }
}
