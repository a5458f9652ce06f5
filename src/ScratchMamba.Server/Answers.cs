using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Server;

/// <summary>Writes what OpenAI's protocol answers: whole answers, pieces of streams, and errors.</summary>
internal sealed class Answers(CompletionRequest request, Tokenizer tokenizer, string modelName, string fingerprint)
{
    private static readonly JsonWriterOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly string id = $"{(request.IsChat ? "chatcmpl" : "cmpl")}-{Guid.NewGuid():N}";
    private readonly long created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private readonly Dictionary<int, int> textOffsets = [];

    /// <summary>One choice of a whole answer.</summary>
    public sealed class Choice
    {
        public StringBuilder Text { get; } = new();

        public List<Piece> Pieces { get; } = [];

        public string Finish { get; set; } = "";
    }

    public static byte[] Error(RequestException fault) => Json(json =>
    {
        json.WriteStartObject();
        json.WriteStartObject("error");
        json.WriteString("message", fault.Message);
        json.WriteString("type", fault.Type);
        json.WriteString("param", fault.Parameter);
        json.WriteString("code", fault.Code);
        json.WriteEndObject();
        json.WriteEndObject();
    });

    public static byte[] Json(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, Plain))
            write(json);
        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>A whole answer.</summary>
    public byte[] Whole(IReadOnlyList<Choice> choices, int promptTokens) => Json(json =>
    {
        Begin(json, request.IsChat ? "chat.completion" : "text_completion");
        foreach ((int index, Choice choice) in choices.Index())
        {
            json.WriteStartObject();
            json.WriteNumber("index", index);
            if (request.IsChat)
            {
                json.WriteStartObject("message");
                json.WriteString("role", "assistant");
                json.WriteString("content", choice.Text.ToString());
                json.WriteNull("refusal");
                json.WriteEndObject();
            }
            else
            {
                json.WriteString("text", choice.Text.ToString());
            }
            WriteProbabilities(json, index, choice.Pieces);
            json.WriteString("finish_reason", choice.Finish);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        WriteUsage(json, promptTokens, choices.Sum(choice => choice.Pieces.Count(piece => piece.Token is not null)));
        json.WriteEndObject();
    });

    /// <summary>The piece of a stream that says who speaks, before the first of a choice.</summary>
    public byte[] Opening(int index) => Chunk(index, json =>
    {
        json.WriteString("role", "assistant");
        json.WriteString("content", "");
    }, [], null);

    /// <summary>A piece of a stream.</summary>
    public byte[] Next(in Piece piece)
    {
        string text = piece.Text;
        string? finish = piece.Finish;
        return Chunk(piece.Index, json =>
        {
            if (!request.IsChat)
                json.WriteString("text", text);
            else if (text.Length > 0 || finish is null)
                json.WriteString("content", text);
        }, [piece], finish);
    }

    /// <summary>The last piece of a stream that was asked how much it took.</summary>
    public byte[] Usage(int promptTokens, int written) => Json(json =>
    {
        Begin(json, request.IsChat ? "chat.completion.chunk" : "text_completion");
        json.WriteEndArray();
        WriteUsage(json, promptTokens, written);
        json.WriteEndObject();
    });

    private byte[] Chunk(int index, Action<Utf8JsonWriter> content, IReadOnlyList<Piece> pieces, string? finish) => Json(json =>
    {
        Begin(json, request.IsChat ? "chat.completion.chunk" : "text_completion");
        json.WriteStartObject();
        json.WriteNumber("index", index);
        if (request.IsChat)
            json.WriteStartObject("delta");
        content(json);
        if (request.IsChat)
            json.WriteEndObject();
        WriteProbabilities(json, index, pieces);
        json.WriteString("finish_reason", finish);
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private void Begin(Utf8JsonWriter json, string kind)
    {
        json.WriteStartObject();
        json.WriteString("id", id);
        json.WriteString("object", kind);
        json.WriteNumber("created", created);
        json.WriteString("model", modelName);
        json.WriteString("system_fingerprint", fingerprint);
        json.WriteStartArray("choices");
    }

    private static void WriteUsage(Utf8JsonWriter json, int promptTokens, int written)
    {
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", promptTokens);
        json.WriteNumber("completion_tokens", written);
        json.WriteNumber("total_tokens", promptTokens + written);
        json.WriteEndObject();
    }

    private void WriteProbabilities(Utf8JsonWriter json, int index, IReadOnlyList<Piece> pieces)
    {
        TokenProbability[][] tokens = [.. pieces.Where(piece => piece.Probabilities is not null).Select(piece => piece.Probabilities!)];
        if (request.LogProbabilities is null || tokens.Length == 0)
        {
            json.WriteNull("logprobs");
            return;
        }
        json.WriteStartObject("logprobs");
        if (request.IsChat)
        {
            json.WriteStartArray("content");
            foreach (TokenProbability[] probabilities in tokens)
            {
                json.WriteStartObject();
                WriteToken(json, probabilities[0]);
                json.WriteStartArray("top_logprobs");
                foreach (TokenProbability top in probabilities[1..])
                {
                    json.WriteStartObject();
                    WriteToken(json, top);
                    json.WriteEndObject();
                }
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteNull("refusal");
        }
        else
        {
            WriteList("tokens", probabilities => json.WriteStringValue(Name(probabilities[0].Token)));
            WriteList("token_logprobs", probabilities => json.WriteNumberValue(Finite(probabilities[0].Log)));
            WriteList("top_logprobs", probabilities =>
            {
                json.WriteStartObject();
                // Names of tokens that are parts of characters may be the same.
                foreach (TokenProbability top in probabilities[1..].DistinctBy(top => Name(top.Token)))
                    json.WriteNumber(Name(top.Token), Finite(top.Log));
                json.WriteEndObject();
            });
            int offset = textOffsets.GetValueOrDefault(index);
            WriteList("text_offset", probabilities =>
            {
                json.WriteNumberValue(offset);
                offset += Name(probabilities[0].Token).Length;
            });
            textOffsets[index] = offset;
        }
        json.WriteEndObject();

        void WriteList(string name, Action<TokenProbability[]> write)
        {
            json.WriteStartArray(name);
            foreach (TokenProbability[] probabilities in tokens)
                write(probabilities);
            json.WriteEndArray();
        }
    }

    private void WriteToken(Utf8JsonWriter json, TokenProbability probability)
    {
        json.WriteString("token", Name(probability.Token));
        json.WriteNumber("logprob", Finite(probability.Log));
        json.WriteStartArray("bytes");
        foreach (byte value in Bytes(probability.Token))
            json.WriteNumberValue(value);
        json.WriteEndArray();
    }

    private ReadOnlySpan<byte> Bytes(int token) => token < tokenizer.VocabularySize ? tokenizer.Decode(token).Span : "\uFFFD"u8;

    /// <summary>The token's text, or its bytes where it is not a whole number of characters.</summary>
    private string Name(int token)
    {
        ReadOnlySpan<byte> bytes = Bytes(token);
        if (System.Text.Unicode.Utf8.IsValid(bytes))
            return Encoding.UTF8.GetString(bytes);
        var name = new StringBuilder("bytes:");
        foreach (byte value in bytes)
            name.Append(CultureInfo.InvariantCulture, $"\\x{value:x2}");
        return name.ToString();
    }

    /// <summary>JSON has no infinity; OpenAI's servers give this for what cannot be.</summary>
    private static double Finite(double log) => Math.Max(log, -9999);
}
