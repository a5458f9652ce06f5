using System.Reflection;
using System.Text;

namespace ScratchMamba.Data;

/// <summary>Text to learn from, in bytes: a training part and a held-out part that is never trained on.</summary>
public sealed class TextCorpus
{
    // Held-out text is taken all along the corpus, not only from its end, which may be unlike the rest.
    private const int Block = 4096;
    private const int HeldOutEvery = 16;

    private TextCorpus(byte[] training, byte[] heldOut)
    {
        Training = training;
        HeldOut = heldOut;
    }

    /// <summary>The bytes to train on.</summary>
    public byte[] Training { get; }

    /// <summary>The bytes to evaluate on: the last part of every 64 KiB.</summary>
    public byte[] HeldOut { get; }

    /// <summary>Splits text. Every sixteenth block of 4 KiB is held out; of a text too short for that, the last tenth.</summary>
    public static TextCorpus FromBytes(ReadOnlySpan<byte> text)
    {
        if (text.Length < HeldOutEvery * Block)
        {
            int cut = text.Length - text.Length / 10;
            return new TextCorpus(text[..cut].ToArray(), text[cut..].ToArray());
        }
        using var training = new MemoryStream(text.Length);
        using var heldOut = new MemoryStream(text.Length / HeldOutEvery + Block);
        for (int i = 0; i * Block < text.Length; i++)
        {
            ReadOnlySpan<byte> block = text.Slice(i * Block, Math.Min(Block, text.Length - i * Block));
            (i % HeldOutEvery == HeldOutEvery - 1 ? heldOut : training).Write(block);
        }
        return new TextCorpus(training.ToArray(), heldOut.ToArray());
    }

    /// <summary>Reads files, and all files of folders in the order of their paths; hidden ones and those that are not UTF-8 text are left out.</summary>
    /// <exception cref="FileNotFoundException">A path does not exist.</exception>
    /// <exception cref="InvalidDataException">A file named directly is not UTF-8 text, or there is no text at all.</exception>
    public static byte[] ReadFiles(IEnumerable<string> paths)
    {
        using var all = new MemoryStream();
        foreach (string path in paths)
        {
            if (Directory.Exists(path))
            {
                foreach (string file in Directory.EnumerateFiles(path, "*", new EnumerationOptions { RecurseSubdirectories = true }).Order(StringComparer.Ordinal))
                {
                    byte[] content = File.ReadAllBytes(file);
                    if (IsText(content))
                        Append(all, content, file);
                }
            }
            else if (File.Exists(path))
            {
                byte[] content = File.ReadAllBytes(path);
                if (!IsText(content))
                    throw new InvalidDataException($"{path} is not UTF-8 text.");
                Append(all, content, path);
            }
            else
            {
                throw new FileNotFoundException($"There is no file or folder {path}.");
            }
        }
        return all.Length > 0 ? all.ToArray() : throw new InvalidDataException($"There is no text in {string.Join(", ", paths)}.");
    }

    /// <summary>The text that is always there: this project's own sources and documents, as they were when it was built.</summary>
    public static byte[] ReadDefault()
    {
        Assembly assembly = typeof(TextCorpus).Assembly;
        using var all = new MemoryStream();
        foreach (string name in assembly.GetManifestResourceNames().Where(name => name.StartsWith("corpus/", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            using Stream content = assembly.GetManifestResourceStream(name)!;
            content.CopyTo(all);
        }
        return all.ToArray();
    }

    private static void Append(MemoryStream all, byte[] content, string path)
    {
        if (all.Length + content.Length > Array.MaxLength)
            throw new InvalidDataException($"The text is larger than {Array.MaxLength / 1_000_000_000.0:0.0} GB at {path}; give fewer files.");
        all.Write(content);
    }

    private static bool IsText(byte[] content)
    {
        if (content.AsSpan().Contains((byte)0))
            return false;
        try
        {
            _ = new UTF8Encoding(false, throwOnInvalidBytes: true).GetCharCount(content);
            return true;
        }
        catch (DecoderFallbackException)
        {
            return false;
        }
    }
}
