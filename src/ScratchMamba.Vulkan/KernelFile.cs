using System.Text;
using ScratchMamba.Tensors;

namespace ScratchMamba.Vulkan;

/// <summary>
/// What was found out about the kernels on one device with one driver: whether those for matrix units compute rightly, and which of several is the fastest for an operation.
/// It is kept as lines of text in the cache folder, beside the pipelines; a file that is damaged or of another version is ignored and replaced.
/// </summary>
internal sealed class KernelFile
{
    private const string Magic = "ScratchMamba kernels 1", Build = "build ", Right = "right ", Wrong = "wrong ", Choice = "choice ";

    private const int MostBytes = 1 << 20;

    // The kernels are embedded in one assembly and launched by the other.
    private static readonly string ThisBuild = $"{typeof(KernelFile).Module.ModuleVersionId:N}{typeof(IPrimitive).Module.ModuleVersionId:N}";

    private readonly string? path;

    private KernelFile(string? path) => this.path = path;

    /// <summary>The name of the kernel that was fastest, for each operation and types of its inputs that were measured.</summary>
    public SortedDictionary<string, string> Choices { get; } = new(StringComparer.Ordinal);

    /// <summary>For each family of kernels for matrix units that was tested in this build how they compute wrongly; null where they are right.</summary>
    public SortedDictionary<string, string?> Verdicts { get; } = new(StringComparer.Ordinal);

    /// <summary>Why what was on disk is not used; null where it is, or nothing was.</summary>
    public string? Complaint { get; private set; }

    /// <summary>What is known of a device; nothing where there is no file.</summary>
    public static KernelFile Load(string? folder, string cacheKey)
    {
        var file = new KernelFile(folder is null ? null : Path.Combine(folder, cacheKey + ".kernels"));
        if (CacheFolder.TryRead(file.path, MostBytes) is { } bytes && !file.Read(Encoding.UTF8.GetString(bytes)))
        {
            file.Choices.Clear();
            file.Verdicts.Clear();
            file.Complaint = $"{file.path} is damaged or of another version: it is not used.";
        }
        return file;
    }

    /// <summary>What is written down of an operation: its attributes and the types of its inputs.</summary>
    public static string Describe(IPrimitive operation, ReadOnlySpan<TensorType> inputs) => $"{operation} of {string.Join(", ", inputs.ToArray())}";

    /// <summary>The way to run an operation that was measured to be the fastest; null where none was.</summary>
    public Launch? Chosen(ITunable operation, LaunchCall call)
    {
        if (Choices.Count == 0 || !Choices.TryGetValue(Describe(operation, call.Inputs), out string? name))
            return null;
        foreach (Alternative alternative in operation.Alternatives(call))
        {
            if (alternative.Name == name)
                return alternative.Launch;
        }
        return null;
    }

    /// <summary>Writes everything down.</summary>
    public void Save()
    {
        if (path is null)
            return;
        var text = new StringBuilder(Magic).Append('\n');
        text.Append(Build).Append(ThisBuild).Append('\n');
        foreach ((string operation, string? fault) in Verdicts)
            text.Append(fault is null ? Right : Wrong).Append(operation).Append(' ').Append(fault?.ReplaceLineEndings(" ")).Append('\n');
        foreach ((string operation, string name) in Choices)
            text.Append(Choice).Append(name).Append(' ').Append(operation).Append('\n');
        CacheFolder.TryWrite(path, Encoding.UTF8.GetBytes(text.ToString()));
    }

    private bool Read(string text)
    {
        if (!text.StartsWith(Magic + "\n", StringComparison.Ordinal) || !text.EndsWith('\n'))
            return false;
        bool isOfThisBuild = false;
        foreach (string line in text[(Magic.Length + 1)..].Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] words = line.Split(' ', 3);
            if (line.StartsWith(Build, StringComparison.Ordinal))
                isOfThisBuild = words[1] == ThisBuild;
            else if (words.Length < 3)
                return false;
            else if (line.StartsWith(Choice, StringComparison.Ordinal))
                Choices[words[2]] = words[1];
            else if (!line.StartsWith(Right, StringComparison.Ordinal) && !line.StartsWith(Wrong, StringComparison.Ordinal))
                return false;
            else if (isOfThisBuild)
                Verdicts[words[1]] = line.StartsWith(Right, StringComparison.Ordinal) ? null : words[2];
        }
        return true;
    }
}
