using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tests.Checkpoints;

public sealed class AtomicTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    private string Target => folder.File("checkpoint");

    public void Dispose() => folder.Dispose();

    [Fact]
    public void AFolderIsReplacedWhole()
    {
        AtomicFolder.Write(Target, temporary => Fill(temporary, "a", "b"));
        AtomicFolder.Write(Target + Path.DirectorySeparatorChar, temporary =>
        {
            // While the new one is being filled, the old one is what readers see.
            Assert.Equal(["a", "b"], Names(Target));
            Assert.StartsWith(Target + ".partial-", temporary, StringComparison.Ordinal);
            Fill(temporary, "c");
        });
        Assert.Equal(["c"], Names(Target));
        Assert.Equal([Target], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void AFailureLeavesThePreviousFolder()
    {
        AtomicFolder.Write(Target, temporary => Fill(temporary, "a"));
        CheckpointException error = Assert.Throws<CheckpointException>(() => AtomicFolder.Write(Target, temporary =>
        {
            Fill(temporary, "b");
            throw new IOException("No space left on device");
        }));
        Assert.Contains("No space left on device", error.Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => AtomicFolder.Write(Target, _ => throw new InvalidOperationException("a fault of the caller's")));
        Assert.Equal(["a"], Names(Target));
        Assert.Equal([Target], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void AFailedSwapPutsThePreviousFolderBack()
    {
        AtomicFolder.Write(Target, temporary => Fill(temporary, "a"));
        // The temporary is gone when its turn to be renamed comes.
        Assert.Throws<CheckpointException>(() => AtomicFolder.Write(Target, temporary => Directory.Delete(temporary)));
        Assert.Equal(["a"], Names(Target));
        Assert.Equal([Target], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void AnInterruptedSwapIsUndone()
    {
        Assert.False(AtomicFolder.Recover(Target));
        Directory.CreateDirectory(Target + ".previous-01234567");
        Fill(Target + ".previous-01234567", "a");
        Assert.True(AtomicFolder.Recover(Target));
        Assert.Equal(["a"], Names(Target));
        Assert.False(AtomicFolder.Recover(Target));
    }

    [Fact]
    public void AFolderInTheWayOfAFileIsReported()
    {
        Directory.CreateDirectory(Target);
        CheckpointException error = Assert.Throws<CheckpointException>(() => AtomicFile.Write(Target, stream => stream.WriteByte(1)));
        Assert.StartsWith(Target + ": cannot be written", error.Message, StringComparison.Ordinal);
        Assert.Equal([Target], Directory.GetFileSystemEntries(folder.Path));
        Assert.Throws<CheckpointException>(() => AtomicFile.Write(folder.File("none/file"), stream => stream.WriteByte(1)));
    }

    [Fact]
    public void AFolderThatCannotBeFlushedIsReported()
    {
        FolderFlush.Flush(folder.Path);
        if (!OperatingSystem.IsWindows())
            Assert.Contains("power failure", Assert.Throws<CheckpointException>(() => FolderFlush.Flush(folder.File("nothing"))).Message, StringComparison.Ordinal);
    }

    private static void Fill(string path, params string[] names)
    {
        foreach (string name in names)
            File.WriteAllText(Path.Combine(path, name), name);
    }

    private static IEnumerable<string> Names(string path) => Directory.GetFiles(path).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal);
}
