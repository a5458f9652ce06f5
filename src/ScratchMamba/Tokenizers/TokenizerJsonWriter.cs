using System.Text.Encodings.Web;
using System.Text.Json;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tokenizers;

/// <summary>Writes a <c>tokenizer.json</c>; see <see cref="TokenizerJson"/>, which reads it.</summary>
internal static class TokenizerJsonWriter
{
    /// <summary>Writes a file that <see cref="TokenizerJson.Read(string)"/> and Hugging Face's tokenizers read as the same tokenizer; whole or not at all.</summary>
    public static void Write(string path, BpeModel model) => AtomicFile.Write(path, stream => Write(stream, model));

    /// <summary>Writes the content of such a file.</summary>
    public static void Write(Stream stream, BpeModel model)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        Write(json, model);
    }

    private static void Write(Utf8JsonWriter json, BpeModel model)
    {
        json.WriteStartObject();
        json.WriteString("version", "1.0");
        json.WriteNull("truncation");
        json.WriteNull("padding");
        json.WriteStartArray("added_tokens");
        foreach (AddedToken token in model.Added.OrderBy(token => token.Id))
        {
            json.WriteStartObject();
            json.WriteNumber("id", token.Id);
            json.WriteString("content", token.Content);
            json.WriteBoolean("single_word", token.IsWholeWord);
            json.WriteBoolean("lstrip", token.TakesSpaceBefore);
            json.WriteBoolean("rstrip", token.TakesSpaceAfter);
            json.WriteBoolean("normalized", token.IsNormalized);
            json.WriteBoolean("special", token.IsSpecial);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        WriteNormalizer(json, model);
        WritePreTokenizer(json, model);
        WritePostProcessor(json, model);
        WriteDecoder(json, model);
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteString("unk_token", model.Unknown is { } unknown ? model.Tokens[unknown] : null);
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", model.FusesUnknown);
        json.WriteBoolean("byte_fallback", model.HasByteFallback);
        json.WriteBoolean("ignore_merges", model.IgnoresMerges);
        json.WriteStartObject("vocab");
        for (int id = 0; id < model.Tokens.Length; id++)
        {
            if (model.Tokens[id] is { } token)
                json.WriteNumber(token, id);
        }
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach ((string left, string right) in model.Merges)
        {
            json.WriteStartArray();
            json.WriteStringValue(left);
            json.WriteStringValue(right);
            json.WriteEndArray();
        }
        json.WriteEndArray();
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteNormalizer(Utf8JsonWriter json, BpeModel model)
    {
        var parts = new List<Action>();
        if (model.Normalization == Normalization.Composed)
            parts.Add(() => json.WriteString("type", "NFC"));
        if (!model.IsByteLevel && model.AddsPrefixSpace && !model.PrefixesFirstOnly)
        {
            parts.Add(() =>
            {
                json.WriteString("type", "Prepend");
                json.WriteString("prepend", "▁");
            });
        }
        if (!model.IsByteLevel)
            parts.Add(() => WriteReplace(json, " ", "▁"));
        WriteParts(json, "normalizer", "normalizers", parts);
    }

    private static void WritePreTokenizer(Utf8JsonWriter json, BpeModel model)
    {
        var parts = new List<Action>();
        bool ownPattern = model.IsByteLevel && model.Patterns is [.., WordPattern.Gpt2];
        foreach (string pattern in ownPattern ? model.Patterns.SkipLast(1) : model.Patterns)
        {
            parts.Add(() =>
            {
                json.WriteString("type", "Split");
                json.WriteStartObject("pattern");
                json.WriteString("Regex", pattern);
                json.WriteEndObject();
                json.WriteString("behavior", "Isolated");
                json.WriteBoolean("invert", false);
            });
        }
        if (model.IsByteLevel)
            parts.Add(() => WriteByteLevel(json, model.AddsPrefixSpace, ownPattern));
        else if (model.PrefixesFirstOnly)
            parts.Add(() => WriteMetaspace(json));
        WriteParts(json, "pre_tokenizer", "pretokenizers", parts);
    }

    private static void WritePostProcessor(Utf8JsonWriter json, BpeModel model)
    {
        var parts = new List<Action>();
        if (model.PromptStart.Count > 0)
            parts.Add(() => WriteTemplate(json, model));
        else if (model.IsByteLevel)
            parts.Add(() => WriteByteLevel(json, true, true));
        WriteParts(json, "post_processor", "processors", parts);
    }

    private static void WriteDecoder(Utf8JsonWriter json, BpeModel model)
    {
        var parts = new List<Action>();
        if (model.IsByteLevel)
        {
            parts.Add(() => WriteByteLevel(json, true, true));
        }
        else
        {
            parts.Add(() => WriteReplace(json, "▁", " "));
            parts.Add(() => json.WriteString("type", "ByteFallback"));
            parts.Add(() => json.WriteString("type", "Fuse"));
            if (model.AddsPrefixSpace)
            {
                parts.Add(() =>
                {
                    json.WriteString("type", "Strip");
                    json.WriteString("content", " ");
                    json.WriteNumber("start", 1);
                    json.WriteNumber("stop", 0);
                });
            }
        }
        WriteParts(json, "decoder", "decoders", parts);
    }

    private static void WriteParts(Utf8JsonWriter json, string name, string plural, List<Action> parts)
    {
        if (parts.Count == 0)
        {
            json.WriteNull(name);
            return;
        }
        json.WriteStartObject(name);
        if (parts.Count == 1)
        {
            parts[0]();
        }
        else
        {
            json.WriteString("type", "Sequence");
            json.WriteStartArray(plural);
            foreach (Action part in parts)
            {
                json.WriteStartObject();
                part();
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    private static void WriteByteLevel(Utf8JsonWriter json, bool prefix, bool pattern)
    {
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", prefix);
        json.WriteBoolean("trim_offsets", true);
        json.WriteBoolean("use_regex", pattern);
    }

    private static void WriteMetaspace(Utf8JsonWriter json)
    {
        json.WriteString("type", "Metaspace");
        json.WriteString("replacement", "▁");
        json.WriteString("prepend_scheme", "first");
        json.WriteBoolean("split", false);
    }

    private static void WriteReplace(Utf8JsonWriter json, string pattern, string content)
    {
        json.WriteString("type", "Replace");
        json.WriteStartObject("pattern");
        json.WriteString("String", pattern);
        json.WriteEndObject();
        json.WriteString("content", content);
    }

    private static void WriteTemplate(Utf8JsonWriter json, BpeModel model)
    {
        json.WriteString("type", "TemplateProcessing");
        foreach (string kind in new[] { "single", "pair" })
        {
            json.WriteStartArray(kind);
            foreach (int token in model.PromptStart)
                WriteItem("SpecialToken", model.NameOf(token)!, 0);
            WriteItem("Sequence", "A", 0);
            if (kind == "pair")
                WriteItem("Sequence", "B", 1);
            json.WriteEndArray();
        }
        json.WriteStartObject("special_tokens");
        foreach (int token in model.PromptStart.Distinct())
        {
            json.WriteStartObject(model.NameOf(token)!);
            json.WriteString("id", model.NameOf(token));
            json.WriteStartArray("ids");
            json.WriteNumberValue(token);
            json.WriteEndArray();
            json.WriteStartArray("tokens");
            json.WriteStringValue(model.NameOf(token));
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndObject();

        void WriteItem(string kind, string id, int type)
        {
            json.WriteStartObject();
            json.WriteStartObject(kind);
            json.WriteString("id", id);
            json.WriteNumber("type_id", type);
            json.WriteEndObject();
            json.WriteEndObject();
        }
    }
}
