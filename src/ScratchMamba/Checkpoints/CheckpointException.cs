namespace ScratchMamba.Checkpoints;

/// <summary>A checkpoint's file is not what its format says, lacks something, or could not be written. One line that begins with the file and, where there is one, the tensor.</summary>
public sealed class CheckpointException : IOException
{
    /// <summary>An error without an underlying cause.</summary>
    public CheckpointException(string message) : base(message)
    {
    }

    /// <summary>An error that another one caused.</summary>
    public CheckpointException(string message, Exception cause) : base(message, cause)
    {
    }

    /// <summary>A name from a file, fit for one line of a message.</summary>
    internal static string Shown(string name)
    {
        string line = string.Concat(name.Select(c => char.IsControl(c) ? '?' : c));
        return line.Length <= 120 ? line : line[..117] + "...";
    }
}
