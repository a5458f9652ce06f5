namespace ScratchMamba.Checkpoints;

/// <summary>Writes a folder, such as a checkpoint of several files, so that a reader never sees half of it.</summary>
public static class AtomicFolder
{
    /// <summary>
    /// Fills a temporary sibling <c>PATH.partial-…</c>, flushes it to the disk, renames it to <paramref name="path"/>, and flushes the folder around it. A folder that was there
    /// steps aside as <c>PATH.previous-…</c> and is deleted once the new one is in its place. After any failure the temporary is gone and the previous folder is back.
    /// </summary>
    /// <param name="path">The folder; one that exists is replaced whole.</param>
    /// <param name="fill">Writes the files into the folder it is given.</param>
    /// <exception cref="CheckpointException">The disk is full, or the folder cannot be written to.</exception>
    /// <remarks>Should the process be killed between the two renames, <see cref="Recover"/> puts the previous folder back.</remarks>
    public static void Write(string path, Action<string> fill)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string suffix = NewSuffix(), partial = $"{path}.partial-{suffix}", previous = $"{path}.previous-{suffix}";
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
            foreach (string folder in Directory.EnumerateDirectories(partial, "*", SearchOption.AllDirectories).Append(partial))
                FolderFlush.Flush(folder);
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
            // Before anything older is deleted.
            FolderFlush.Flush(Path.GetDirectoryName(path)!);
        }
        catch (Exception error)
        {
            Delete(partial);
            // The last is what the runtime makes of a file system's limit on the size of a file.
            if (error is (IOException or UnauthorizedAccessException or ArgumentOutOfRangeException) and not CheckpointException)
                throw Fault(path, error);
            throw;
        }
        // The previous folder, and what writes that were killed have left.
        foreach (string left in Siblings(path, "previous").Concat(Siblings(path, "partial")))
            Delete(left);
    }

    /// <summary>Throws unless <see cref="Write"/> could begin; leaves nothing behind.</summary>
    /// <exception cref="CheckpointException">The place cannot be written to.</exception>
    public static void CheckWritable(string path)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string partial = $"{path}.partial-{NewSuffix()}";
        try
        {
            Directory.CreateDirectory(partial);
            Directory.Delete(partial);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw Fault(path, error);
        }
    }

    /// <summary>The folder to read: <paramref name="path"/> or, where that is missing because a <see cref="Write"/> was killed between its two renames, the previous one.</summary>
    public static string Current(string path)
    {
        if (path.Length == 0 || Path.Exists(path))
            return path;
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        return Siblings(full, "previous").MaxBy(Directory.GetLastWriteTimeUtc) ?? path;
    }

    /// <summary>Puts back the folder that an interrupted <see cref="Write"/> had moved aside, where <paramref name="path"/> itself is missing. Says whether it did.</summary>
    public static bool Recover(string path)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string current = Current(path);
        if (current == path)
            return false;
        Directory.Move(current, path);
        return true;
    }

    private static string NewSuffix() => Guid.NewGuid().ToString("N")[..8];

    private static string[] Siblings(string path, string kind) => Path.GetDirectoryName(path) is { } parent && Directory.Exists(parent)
        ? Directory.GetDirectories(parent, $"{Path.GetFileName(path)}.{kind}-????????")
        : [];

    private static CheckpointException Fault(string path, Exception error) => new($"{path}: cannot be written, and nothing was changed: {error.Message}", error);

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
