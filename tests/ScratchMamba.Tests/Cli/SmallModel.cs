using System.Text;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Cli;

/// <summary>A folder with a text and a model that was trained on it for a moment, for all tests of a class.</summary>
public sealed class SmallModel : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public SmallModel()
    {
        File.WriteAllText(Text, string.Concat(Enumerable.Range(0, 200).Select(i => $"line {i}: the quick brown fox jumps over {i * i} lazy dogs\n")), Encoding.UTF8);
        Run.Of(["train", "--data", Text, "--out", folder.File("model"), .. Tiny, "--steps", "3"]).Succeeds();
    }

    /// <summary>Sizes with which a step takes milliseconds.</summary>
    public static string[] Tiny => ["--layers", "1", "--width", "16", "--state", "8", "--head", "8", "--batch", "2", "--length", "32"];

    public string Text => folder.File("text.txt");

    public string Model => RunFolder.Newest(folder.File("model"))!;

    public void Dispose() => folder.Dispose();
}
