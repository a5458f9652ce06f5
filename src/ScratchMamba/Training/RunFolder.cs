using System.Globalization;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Training;

/// <summary>
/// The folder of a training run. <c>checkpoints/step-00000100/</c> holds a model as Hugging Face has it (<c>config.json</c>, <c>model.safetensors</c>, <c>tokenizer.json</c>) and beside it the
/// training's state (<c>training.json</c>, <c>training.safetensors</c>); each is written under another name and renamed, so that one that is there is whole.
/// What else belongs to the run (<c>run.json</c>, metrics, a report) lies beside <c>checkpoints</c>. The run itself stands for its newest checkpoint wherever a model is asked for.
/// </summary>
public sealed class RunFolder : IDisposable
{
    private const string Prefix = "step-";

    private readonly FileStream hold;

    /// <summary>Opens a run's folder, and makes it where there is none, for one training at a time.</summary>
    /// <exception cref="CheckpointException">It cannot be written to, or another process trains in it.</exception>
    public RunFolder(string path)
    {
        Path = path;
        try
        {
            Directory.CreateDirectory(CheckpointsOf(path));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: cannot be written: {error.Message}", error);
        }
        try
        {
            hold = new FileStream(System.IO.Path.Combine(CheckpointsOf(path), ".lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: another process trains in it, or it cannot be written: {error.Message}", error);
        }
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>Checks that a training can begin in a folder. Leaves nothing behind.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="replaces">Whether a training that is there may give way.</param>
    /// <exception cref="CheckpointException">It is a file, holds a training, a model or other files, or cannot be written to.</exception>
    public static void CheckNew(string path, bool replaces = false)
    {
        if (File.Exists(path))
            throw new CheckpointException($"{path}: is a file; a training has a folder");
        if (CheckpointsIn(path) is [var newest, ..])
        {
            if (!replaces)
                throw new CheckpointException($"{path}: holds a training of {newest.Step} steps; go on with it by --resume, or choose another folder");
        }
        else if (Directory.Exists(path) && Directory.EnumerateFileSystemEntries(path).Any() && !Directory.Exists(CheckpointsOf(path)))
        {
            throw new CheckpointException($"{path}: the folder holds other files and no training; choose a new or an empty one");
        }
        AtomicFolder.CheckWritable(path);
    }

    /// <summary>The checkpoints of a run with their numbers of steps, newest first.</summary>
    public static IReadOnlyList<(long Step, string Path)> CheckpointsIn(string path) => Directory.Exists(CheckpointsOf(path))
        ? [.. Directory.EnumerateDirectories(CheckpointsOf(path), $"{Prefix}*").Select(folder => (StepOf(folder), folder)).Where(item => item.Item1 >= 0).OrderByDescending(item => item.Item1)]
        : [];

    /// <summary>The newest checkpoint of a run; null where there is none.</summary>
    public static string? Newest(string path) => CheckpointsIn(path) is [var first, ..] ? first.Path : null;

    /// <summary>Writes a checkpoint, whole or not at all.</summary>
    /// <returns>Its folder.</returns>
    /// <exception cref="CheckpointException">The disk is full, or the folder cannot be written to; what was there stays.</exception>
    public string Save(long step, Action<string> fill)
    {
        string folder = System.IO.Path.Combine(CheckpointsOf(Path), Prefix + step.ToString("D8", CultureInfo.InvariantCulture));
        AtomicFolder.Write(folder, fill);
        return folder;
    }

    /// <summary>Deletes all checkpoints but the newest <paramref name="keep"/> and those of <paramref name="spared"/> steps, and what writes that were killed have left.</summary>
    public void Prune(int keep, params IReadOnlyCollection<long> spared)
    {
        KeepOnly([.. CheckpointsIn(Path).Take(keep).Select(item => item.Step), .. spared]);
        foreach (string left in Directory.EnumerateDirectories(CheckpointsOf(Path)))
        {
            if (left.Contains(".partial-", StringComparison.Ordinal) || left.Contains(".previous-", StringComparison.Ordinal))
                Delete(left);
        }
    }

    /// <summary>Deletes all checkpoints but those of certain steps.</summary>
    public void KeepOnly(IReadOnlyCollection<long> steps)
    {
        foreach ((long step, string path) in CheckpointsIn(Path))
        {
            if (!steps.Contains(step))
                Delete(path);
        }
    }

    /// <summary>Lets others train in the folder.</summary>
    public void Dispose()
    {
        File.Delete(hold.Name);
        hold.Dispose();
        // A training that did not get to a checkpoint leaves nothing.
        foreach (string folder in new[] { CheckpointsOf(Path), Path })
        {
            if (!Directory.EnumerateFileSystemEntries(folder).Any())
                Directory.Delete(folder);
        }
    }

    private static string CheckpointsOf(string path) => System.IO.Path.Combine(path, "checkpoints");

    private static long StepOf(string folder) =>
        long.TryParse(System.IO.Path.GetFileName(folder).AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long step) ? step : -1;

    private static void Delete(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // A checkpoint too many does no harm.
        }
    }
}
