using ScratchMamba.Data;

namespace ScratchMamba.Tests;

/// <summary>Documents and sources as they were when this was built: all of them are part of the default corpus.</summary>
internal static class Readme
{
    public static string Text => Source("README.md");

    /// <summary>A file by its path in the repository.</summary>
    public static string Source(string path)
    {
        using Stream stream = typeof(TextCorpus).Assembly.GetManifestResourceStream("corpus/" + path)!;
        return new StreamReader(stream).ReadToEnd().ReplaceLineEndings("\n");
    }
}
