namespace ScratchMamba.Cli;

/// <summary>Who is told of Ctrl-C before the command as a whole is ended.</summary>
internal static class Interrupts
{
    /// <summary>Says whether there was something else to stop, so that the command goes on. Called on a thread of its own.</summary>
    public static Func<bool>? Handler { get; set; }
}
