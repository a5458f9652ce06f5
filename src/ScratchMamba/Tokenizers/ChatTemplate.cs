using System.Text.Json;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// Makes one text of the turns of a conversation, as the model was taught: the <c>chat_template</c> of a <c>tokenizer_config.json</c>, a <c>chat_template.jinja</c>, or that of a GGUF file,
/// as far as it keeps to the part of Jinja that <see cref="Jinja"/> knows.
/// </summary>
public sealed class ChatTemplate
{
    private readonly Jinja template;
    private readonly string? begin, end;

    /// <summary>A template.</summary>
    /// <param name="text">In Jinja.</param>
    /// <param name="begin">The text of the token that begins a text; null for none.</param>
    /// <param name="end">The text of the token that ends one; null for none.</param>
    /// <exception cref="FormatException">It uses what is not supported; the message names it.</exception>
    public ChatTemplate(string text, string? begin = null, string? end = null)
    {
        template = new Jinja(text);
        (this.begin, this.end) = (begin, end);
    }

    /// <summary>The template of a model; null where it has none.</summary>
    /// <param name="path">The model's folder or file.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <exception cref="CheckpointException">A file is damaged.</exception>
    /// <exception cref="FormatException">The template uses what is not supported; the message names it.</exception>
    public static ChatTemplate? Load(string path, Tokenizer tokenizer)
    {
        path = Checkpoint.Current(path);
        string? begin = NameOf(tokenizer, tokenizer.PromptStart is [var first, ..] ? first : null), end = NameOf(tokenizer, tokenizer.EndOfText);
        if (File.Exists(path) && InputFile.Beginning(path, 4) is [(byte)'G', (byte)'G', (byte)'U', (byte)'F'])
        {
            using var file = new GgufFile(path);
            return file.Find("tokenizer.chat_template") is null ? null : new ChatTemplate(file.Text("tokenizer.chat_template"), begin, end);
        }
        string folder = Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!;
        string own = Path.Combine(folder, "chat_template.jinja"), config = Path.Combine(folder, "tokenizer_config.json");
        if (File.Exists(own))
            return new ChatTemplate(File.ReadAllText(own), begin, end);
        if (!File.Exists(config) || !TolerantJson.Read(config).Root.TryGetProperty("chat_template", out JsonElement member))
            return null;
        return member.ValueKind == JsonValueKind.String ? new ChatTemplate(member.GetString()!, begin, end) : throw new FormatException("there are several of them");
    }

    /// <summary>The text of a conversation.</summary>
    /// <param name="messages">Who said what.</param>
    /// <param name="asksForAnswer">Whether to end with what an answer begins with.</param>
    /// <exception cref="FormatException">The template refuses these messages, or does something that is not supported.</exception>
    public string Format(IReadOnlyList<(string Role, string Content)> messages, bool asksForAnswer = true) => template.Render(new Dictionary<string, object?>
    {
        ["messages"] = messages.Select(message => (object?)new Dictionary<string, object?> { ["role"] = message.Role, ["content"] = message.Content }).ToArray(),
        ["add_generation_prompt"] = asksForAnswer,
        ["bos_token"] = begin ?? "",
        ["eos_token"] = end ?? "",
    });

    private static string? NameOf(Tokenizer tokenizer, int? token) => token is { } id ? System.Text.Encoding.UTF8.GetString(tokenizer.Decode(id).Span) : null;
}
