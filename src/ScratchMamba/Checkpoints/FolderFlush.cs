using System.Runtime.InteropServices;

namespace ScratchMamba.Checkpoints;

/// <summary>Makes the names in a folder outlast a power failure: flushing a file keeps what is in it, not that it is there.</summary>
internal static partial class FolderFlush
{
    // What fsync says of folders on file systems that have no such thing (EINVAL): what they keep, they keep anyway.
    private const int NotSupported = 22;

    /// <summary>Waits until the disk has a folder's entries: after this, files that were made or renamed in it are found after a power failure.</summary>
    /// <exception cref="CheckpointException">The folder cannot be opened, or the disk failed.</exception>
    public static void Flush(string folder)
    {
        // On Windows there is no such call; NTFS logs names.
        if (OperatingSystem.IsWindows())
            return;
        int handle = Open(folder, 0);
        if (handle < 0)
            throw Fault(folder, Marshal.GetLastPInvokeError());
        int error = Synchronize(handle) == 0 ? 0 : Marshal.GetLastPInvokeError();
        _ = Close(handle);
        if (error is not (0 or NotSupported))
            throw Fault(folder, error);
    }

    private static CheckpointException Fault(string folder, int error) => new($"{folder}: what was written there may not outlast a power failure: {Marshal.GetPInvokeErrorMessage(error)}");

    // 0 is O_RDONLY everywhere, which is all that fsync asks for.
    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Synchronize(int handle);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int handle);
}
