using System.Text.Json;
using System.Text.Unicode;
using ScratchMamba.Generation;

namespace ScratchMamba.Server;

/// <summary>What a client asks of <c>/v1/completions</c> or <c>/v1/chat/completions</c>, checked.</summary>
internal sealed record CompletionRequest
{
    private const int MostStops = 16, MostStopLength = 256, MostTopLogProbabilities = 20;

    // What would change the answer, and is not there. Unknown members that would not are ignored, as OpenAI's clients send them.
    private static readonly string[] Unsupported =
    [
        "tools", "tool_choice", "functions", "function_call", "audio", "suffix", "best_of", "prediction", "reasoning_effort", "web_search_options", "grammar",
    ];

    /// <summary>The prompts: text or tokens. For a chat the one that its messages make.</summary>
    public required IReadOnlyList<(string? Text, int[]? Tokens)> Prompts { get; init; }

    public bool IsChat { get; init; }

    public int Choices { get; init; }

    public int Most { get; init; }

    public required Sampler Sampler { get; init; }

    public string[] Stops { get; init; } = [];

    public int? LogProbabilities { get; init; }

    public bool Streams { get; init; }

    public bool IncludesUsage { get; init; }

    public bool Echoes { get; init; }

    /// <summary>Reads a body.</summary>
    /// <param name="body">What was sent.</param>
    /// <param name="chat">What makes a prompt of messages, and says where answers stop; null for a plain completion.</param>
    /// <param name="options">The limits.</param>
    /// <exception cref="RequestException">It is not understood, or asks for too much; the message says what.</exception>
    public static CompletionRequest Read(ReadOnlyMemory<byte> body, ChatPrompt? chat, ServerOptions options)
    {
        if (!Utf8.IsValid(body.Span))
            throw new RequestException(400, "The body is not valid UTF-8.");
        try
        {
            using JsonDocument document = JsonDocument.Parse(body, new JsonDocumentOptions { MaxDepth = 32, AllowDuplicateProperties = false });
            return Read(new Member(document.RootElement, "body"), chat, options);
        }
        catch (JsonException fault)
        {
            throw new RequestException(400, $"The body is not valid JSON: {fault.Message}");
        }
        // Half a surrogate pair, written with a backslash.
        catch (InvalidOperationException)
        {
            throw new RequestException(400, "A string of the body is not valid Unicode.");
        }
        catch (ArgumentException fault)
        {
            throw new RequestException(400, fault.Message);
        }
    }

    private static CompletionRequest Read(Member root, ChatPrompt? chat, ServerOptions options)
    {
        if (root.Element.ValueKind != JsonValueKind.Object)
            throw new RequestException(400, "The body must be a JSON object.");
        if (root.Find("model") is { } model && model.Text() != options.ModelName)
            throw new RequestException(404, $"There is no model '{Shown(model.Text())}'; there is '{options.ModelName}'.", "model", code: "model_not_found");
        foreach (string name in Unsupported)
        {
            if (root.Find(name) is { } member && !(member.Element.ValueKind == JsonValueKind.Array && member.Element.GetArrayLength() == 0))
                throw new RequestException(400, $"'{name}' is not supported.", name);
        }
        if (root.Find("response_format")?.Find("type") is { } format && format.Text() != "text")
            throw new RequestException(400, "Of 'response_format' only the type 'text' is supported.", "response_format");
        List<(string?, int[]?)> prompts = chat is null ? Prompt(root) : [(chat.Format(Messages(root)), null)];
        bool isSampled = root.Find("seed") is null;
        var request = new CompletionRequest
        {
            IsChat = chat is not null,
            Prompts = prompts,
            Choices = root.WholeNumber("n", 1, 1, options.Slots),
            Most = (root.Find("max_completion_tokens") is null ? null : (int?)root.WholeNumber("max_completion_tokens", 0, 1, options.MostTokens))
                ?? root.WholeNumber("max_tokens", chat is null ? 16 : options.MostTokens, 1, options.MostTokens),
            Sampler = new Sampler
            {
                Temperature = root.Number("temperature", 1, 0, 100),
                TopP = root.Number("top_p", 1, 0, 1),
                TopK = root.WholeNumber("top_k", 0, 0, int.MaxValue),
                MinP = root.Number("min_p", 0, 0, 1),
                TypicalP = root.Number("typical_p", 1, 0, 1),
                RepetitionPenalty = root.Number("repetition_penalty", 1, 0.01, 100),
                PresencePenalty = root.Number("presence_penalty", 0, -100, 100),
                FrequencyPenalty = root.Number("frequency_penalty", 0, -100, 100),
                LogitBias = Biases(root),
                Seed = isSampled ? (ulong)Random.Shared.NextInt64() : root.Seed(),
            }.Validated(),
            Stops = [.. Stopping(root), .. chat?.Stops ?? []],
            LogProbabilities = chat is null
                ? root.Find("logprobs") is { Element.ValueKind: not JsonValueKind.False } ? root.WholeNumber("logprobs", 0, 0, MostTopLogProbabilities) : null
                : root.Flag("logprobs") ? root.WholeNumber("top_logprobs", 0, 0, MostTopLogProbabilities) : null,
            Streams = root.Flag("stream"),
            IncludesUsage = root.Find("stream_options")?.Flag("include_usage") ?? false,
            Echoes = root.Flag("echo"),
        };
        if ((long)request.Choices * prompts.Count > options.Slots)
            throw new RequestException(400, $"{prompts.Count} prompts with {request.Choices} choices each are more than the {options.Slots} texts that are written at a time.", "n");
        if (request.Echoes && (request.IsChat || request.LogProbabilities is not null))
            throw new RequestException(400, "'echo' is supported for completions without 'logprobs'.", "echo");
        return request;
    }

    private static List<(string?, int[]?)> Prompt(Member root)
    {
        Member prompt = root.Find("prompt") ?? throw new RequestException(400, "'prompt' is missing.", "prompt");
        if (prompt.Element.ValueKind == JsonValueKind.String)
            return [(prompt.Text(), null)];
        Member[] items = [.. prompt.Items("a string, strings, tokens, or lists of tokens")];
        if (items.Length == 0)
            throw new RequestException(400, "'prompt' is empty.", "prompt");
        return items[0].Element.ValueKind switch
        {
            JsonValueKind.Number => [(null, Tokens(prompt))],
            JsonValueKind.String => [.. items.Select(item => ((string?)item.Text(), (int[]?)null))],
            _ => [.. items.Select(item => ((string?)null, (int[]?)Tokens(item)))],
        };

        static int[] Tokens(Member list) => [.. list.Items("tokens").Select(item => item.WholeNumber(0, int.MaxValue))];
    }

    private static List<(string Role, string Content)> Messages(Member root)
    {
        Member messages = root.Find("messages") ?? throw new RequestException(400, "'messages' is missing.", "messages");
        var read = new List<(string, string)>();
        foreach (Member message in messages.Items("a list of messages"))
        {
            string role = message.Find("role")?.Text() ?? throw new RequestException(400, $"'{message.Path}.role' is missing.", "messages");
            Member? content = message.Find("content");
            read.Add((role, content?.Element.ValueKind switch
            {
                null => throw new RequestException(400, $"'{message.Path}.content' is missing.", "messages"),
                JsonValueKind.String => content.Value.Text(),
                _ => string.Concat(content.Value.Items("a string, or a list of parts").Select(Part)),
            }));
        }
        return read.Count > 0 ? read : throw new RequestException(400, "'messages' is empty.", "messages");

        static string Part(Member part) => part.Find("type")?.Text() == "text" && part.Find("text") is { } text
            ? text.Text()
            : throw new RequestException(400, $"'{part.Path}' is not a part of type 'text', the only one that is supported.", "messages");
    }

    private static Dictionary<int, double> Biases(Member root)
    {
        var biases = new Dictionary<int, double>();
        if (root.Find("logit_bias") is not { } member)
            return biases;
        if (member.Element.ValueKind != JsonValueKind.Object)
            throw member.Wrong("an object of tokens and numbers");
        foreach (JsonProperty bias in member.Element.EnumerateObject())
        {
            if (!int.TryParse(bias.Name, System.Globalization.NumberStyles.None, null, out int token))
                throw member.Wrong("an object of tokens and numbers");
            biases[token] = member.Number(bias.Name, 0, -100, 100);
        }
        return biases;
    }

    private static string[] Stopping(Member root)
    {
        if (root.Find("stop") is not { } stop)
            return [];
        string[] stops = stop.Element.ValueKind == JsonValueKind.String ? [stop.Text()] : [.. stop.Items("a string or strings").Select(item => item.Text())];
        return stops.Length <= MostStops && stops.All(text => text.Length is > 0 and <= MostStopLength)
            ? stops
            : throw stop.Wrong($"at most {MostStops} strings of 1 to {MostStopLength} characters");
    }

    private static string Shown(string text) => text.Length <= 80 ? text : text[..77] + "...";

    /// <summary>A part of the body that knows its name.</summary>
    private readonly struct Member(JsonElement element, string path)
    {
        public JsonElement Element => element;

        public string Path => path;

        public Member? Find(string name) => element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? new Member(value, path == "body" ? name : $"{path}.{name}")
            : null;

        public IEnumerable<Member> Items(string expected)
        {
            if (element.ValueKind != JsonValueKind.Array)
                throw Wrong(expected);
            string own = path;
            return element.EnumerateArray().Select((item, index) => new Member(item, $"{own}[{index}]"));
        }

        public string Text() => element.ValueKind == JsonValueKind.String ? element.GetString()! : throw Wrong("a string");

        public bool Flag(string name) => Find(name) is not { } member ? false
            : member.Element.ValueKind is JsonValueKind.True or JsonValueKind.False ? member.Element.GetBoolean()
            : throw member.Wrong("true or false");

        public int WholeNumber(string name, int fallback, int least, int most) => Find(name)?.WholeNumber(least, most) ?? fallback;

        public int WholeNumber(int least, int most) => element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int value) && value >= least && value <= most
            ? value
            : throw Wrong($"a whole number from {least} to {most}");

        public double Number(string name, double fallback, double least, double most) => Find(name) is not { } member ? fallback
            : member.Element.ValueKind == JsonValueKind.Number && member.Element.TryGetDouble(out double value) && value >= least && value <= most ? value
            : throw member.Wrong($"a number from {least} to {most}");

        /// <summary>Any whole number of 64 bits, negative ones too.</summary>
        public ulong Seed() => Find("seed") is not { } member ? 0
            : member.Element.ValueKind == JsonValueKind.Number && member.Element.TryGetInt64(out long value) ? unchecked((ulong)value)
            : member.Element.ValueKind == JsonValueKind.Number && member.Element.TryGetUInt64(out ulong large) ? large
            : throw member.Wrong("a whole number of 64 bits");

        public RequestException Wrong(string expected) => new(400, $"'{path}' must be {expected}; it is {Shown(element.GetRawText())}.", path);
    }
}
