using ScratchMamba.Tokenizers;

namespace ScratchMamba.Server;

/// <summary>Makes one text of the messages of a chat: by the model's template, or, where it has none, as lines that begin with who speaks.</summary>
internal sealed class ChatPrompt(ChatTemplate? template)
{
    /// <summary>What ends an answer beside the token that ends a text: without a template the beginning of the next turn.</summary>
    public string[] Stops { get; } = template is null ? ["\nuser:"] : [];

    /// <summary>The text that the assistant's answer follows.</summary>
    /// <exception cref="RequestException">The template refuses the messages.</exception>
    public string Format(IReadOnlyList<(string Role, string Content)> messages)
    {
        try
        {
            return template?.Format(messages) ?? string.Concat(messages.Select(message => $"{message.Role}: {message.Content}\n")) + "assistant:";
        }
        catch (FormatException fault)
        {
            throw new RequestException(400, $"The model's chat template cannot be used: {fault.Message}.", "messages");
        }
    }
}
