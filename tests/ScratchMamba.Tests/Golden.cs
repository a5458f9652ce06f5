namespace ScratchMamba.Tests;

/// <summary>Where the golden checkpoints are.</summary>
internal static class Golden
{
    /// <summary>The path of a file or folder below <c>tests/golden</c>.</summary>
    public static string File(string name) => Path.Combine(AppContext.BaseDirectory, "golden", name);
}
