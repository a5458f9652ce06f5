using System.Text.Json;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Tokenizers;

/// <summary>
/// The <c>tokenizer.json</c> of Hugging Face's tokenizers, of the kinds that byte-pair models have: byte-level ones (GPT-2, GPT-NeoX, Llama 3) and those with
/// a mark for the space and a fallback to bytes (Llama 2, Codestral). A part that is not known is refused by name, because leaving it out would change the tokens.
/// </summary>
internal static class TokenizerJson
{
    /// <summary>The file's name in a model's folder.</summary>
    public const string FileName = "tokenizer.json";

    // The largest vocabularies have a quarter of a million.
    private const int MostTokens = 1 << 24;
    private const long MostBytes = 1L << 28;

    /// <summary>Reads a file, and from <c>tokenizer_config.json</c> beside it which token ends a text.</summary>
    /// <exception cref="CheckpointException">It cannot be read, is damaged, or has a part that is not known.</exception>
    public static BpeTokenizer Read(string path)
    {
        try
        {
            if (new FileInfo(path).Length > MostBytes)
                throw new CheckpointException($"{path}: is larger than {MostBytes:N0} bytes");
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            BpeModel model = Read(new Node(document.RootElement, ""));
            return new BpeTokenizer(model with { EndOfText = EndOfText(model, Path.Combine(Path.GetDirectoryName(path) ?? "", "tokenizer_config.json")) });
        }
        catch (Exception error) when (error is (IOException or UnauthorizedAccessException or JsonException or InvalidDataException or InvalidOperationException or ArgumentException) and not CheckpointException)
        {
            throw new CheckpointException($"{path}: {CheckpointException.Shown(error.Message)}", error);
        }
    }

    private static BpeModel Read(Node root)
    {
        Node model = root.Object("model");
        // Files from before the key was there are of this kind too.
        model.Require(model.Text("type") is null or "BPE", "type", "only BPE is supported");
        model.Require(model.Number("dropout") is null or 0, "dropout", "which makes encodings random");
        model.Require(model.Text("continuing_subword_prefix") is null or "", "continuing_subword_prefix", "is not supported");
        model.Require(model.Text("end_of_word_suffix") is null or "", "end_of_word_suffix", "is not supported");
        List<AddedToken> added = [.. root.Items("added_tokens").Select(ReadAdded)];
        string?[] tokens = ReadVocabulary(model.Object("vocab"), added);
        var description = new BpeModel
        {
            Tokens = tokens,
            Merges = [.. model.Items("merges").Select(ReadMerge)],
            Added = added,
            Patterns = [],
            IsByteLevel = false,
            HasByteFallback = model.Flag("byte_fallback"),
            IgnoresMerges = model.Flag("ignore_merges"),
            FusesUnknown = model.Flag("fuse_unk"),
            Unknown = model.Text("unk_token") is { } unknown && Array.IndexOf(tokens, unknown) is >= 0 and int id ? id : null,
        };
        foreach (Node part in root.Parts("normalizer", "normalizers"))
            description = Normalizer(description, part);
        foreach (Node part in root.Parts("pre_tokenizer", "pretokenizers"))
            description = PreTokenizer(description, part);
        foreach (Node part in root.Parts("post_processor", "processors"))
            description = PostProcessor(description, part);
        bool decodesBytes = root.Parts("decoder", "decoders").Any(part => part.Text("type") == "ByteLevel");
        root.Require(decodesBytes == description.IsByteLevel, "decoder", "does not undo what pre_tokenizer does");
        return description;
    }

    private static BpeModel Normalizer(BpeModel model, Node part)
    {
        switch (part.Text("type"))
        {
            case "NFC":
                return model with { Normalization = Normalization.Composed };
            case "Prepend" when part.Text("prepend") == "▁":
                return model with { AddsPrefixSpace = true };
            case "Replace" when part.Object("pattern").Text("String") == " " && part.Text("content") == "▁":
                return model;
            default:
                throw part.Unknown();
        }
    }

    private static BpeModel PreTokenizer(BpeModel model, Node part)
    {
        switch (part.Text("type"))
        {
            case "ByteLevel":
                bool prefix = part.Flag("add_prefix_space", true);
                part.Require(!prefix || model.Patterns.Count == 0, "add_prefix_space", "after the text has been divided is not supported");
                string[] pattern = part.Flag("use_regex", true) ? [WordPattern.Gpt2] : [];
                return model with { IsByteLevel = true, AddsPrefixSpace = prefix, Patterns = [.. model.Patterns, .. pattern] };
            case "Split" when part.Text("behavior") == "Isolated" && !part.Flag("invert"):
                Node given = part.Object("pattern");
                string split = given.Text("Regex") ?? System.Text.RegularExpressions.Regex.Escape(given.Text("String") ?? throw given.Unknown());
                return model with { Patterns = [.. model.Patterns, split] };
            case "Digits":
                return model with { Patterns = [.. model.Patterns, part.Flag("individual_digits") ? @"\p{N}" : @"\p{N}+"] };
            case "Metaspace" when part.Text("replacement") == "▁" && !part.Flag("split", true):
                string scheme = part.Text("prepend_scheme") ?? (part.Flag("add_prefix_space", true) ? "always" : "never");
                return model with { AddsPrefixSpace = scheme != "never", PrefixesFirstOnly = scheme == "first" };
            default:
                throw part.Unknown();
        }
    }

    private static BpeModel PostProcessor(BpeModel model, Node part)
    {
        switch (part.Text("type"))
        {
            case "ByteLevel":
                return model;
            case "TemplateProcessing":
                var start = new List<int>();
                foreach (Node item in part.Items("single"))
                {
                    if (item.Has("Sequence"))
                        break;
                    Node special = part.Object("special_tokens").Object(item.Object("SpecialToken").Text("id") ?? throw item.Unknown());
                    start.AddRange(special.Items("ids").Select(id => id.WholeNumber(model.Tokens.Length)));
                }
                return model with { PromptStart = start };
            default:
                throw part.Unknown();
        }
    }

    private static string?[] ReadVocabulary(Node vocabulary, List<AddedToken> added)
    {
        var entries = new List<(string Token, int Id)>();
        foreach ((string token, Node id) in vocabulary.Properties())
            entries.Add((token, id.WholeNumber(MostTokens)));
        int count = entries.Concat(added.Select(token => (token.Content, token.Id))).Select(entry => entry.Item2 + 1).DefaultIfEmpty(0).Max();
        // An array of this length is about to be made.
        if (count > 16 * (long)(entries.Count + added.Count) + 4096)
            throw new InvalidDataException($"the vocabulary has {entries.Count + added.Count} tokens, but ids up to {count - 1}");
        var tokens = new string?[count];
        foreach ((string token, int id) in entries)
        {
            if (tokens[id] is not null)
                throw new InvalidDataException($"tokens '{tokens[id]}' and '{token}' have the same id {id}");
            tokens[id] = token;
        }
        return tokens;
    }

    private static AddedToken ReadAdded(Node node) => new(
        node.Member("id").WholeNumber(MostTokens), node.Text("content") ?? throw node.Unknown(), node.Flag("special"), node.Flag("lstrip"), node.Flag("rstrip"),
        node.Flag("single_word"), node.Flag("normalized"));

    private static (string, string) ReadMerge(Node node)
    {
        // Merges were one string with a space between; a token with a space of its own made them two.
        string[] parts = node.IsText ? node.OwnText.Split(' ') : [.. node.Items().Select(item => item.OwnText)];
        return parts.Length == 2 ? (parts[0], parts[1]) : throw new InvalidDataException($"{node.Path} is not a pair of tokens");
    }

    private static int? EndOfText(BpeModel model, string configuration)
    {
        string?[] names = ["<|endoftext|>", "</s>"];
        if (File.Exists(configuration))
        {
            JsonElement root = TolerantJson.Read(configuration).Root;
            if (root.TryGetProperty("eos_token", out JsonElement token))
                names = [token.ValueKind == JsonValueKind.Object && token.TryGetProperty("content", out JsonElement content) ? content.ToString() : token.ToString()];
        }
        return model.Added.FirstOrDefault(token => names.Contains(token.Content))?.Id;
    }

    /// <summary>A part of the file that knows where it stands, for messages.</summary>
    private readonly struct Node(JsonElement element, string path)
    {
        public string Path => path.Length == 0 ? "the file" : path;

        public bool IsText => element.ValueKind == JsonValueKind.String;

        public string OwnText => IsText ? element.GetString()! : throw Wrong("a string");

        public bool Has(string name) => Find(name) is not null;

        public Node Member(string name) => Find(name) ?? throw new InvalidDataException($"{Child(name)} is missing");

        public Node Object(string name) => Member(name) is { } node && node.IsObject ? node : throw Member(name).Wrong("an object");

        public string? Text(string name) => Find(name)?.OwnText;

        public bool Flag(string name, bool fallback = false) => Find(name) is { } node ? node.OwnFlag : fallback;

        public double? Number(string name) => Find(name) is { } node ? node.OwnNumber : null;

        /// <summary>A number from 0 to below <paramref name="bound"/>.</summary>
        public int WholeNumber(int bound) => element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int value) && value >= 0 && value < bound
            ? value
            : throw Wrong($"a whole number below {bound}");

        public IEnumerable<Node> Items(string name) => Find(name) is { } node ? node.Items() : [];

        public IEnumerable<Node> Items()
        {
            if (element.ValueKind != JsonValueKind.Array)
                throw Wrong("an array");
            string own = path;
            return element.EnumerateArray().Select((item, index) => new Node(item, $"{own}[{index}]"));
        }

        public IEnumerable<(string Name, Node Value)> Properties()
        {
            string own = path;
            return element.EnumerateObject().Select(property => (property.Name, new Node(property.Value, $"{own}.{CheckpointException.Shown(property.Name)}")));
        }

        /// <summary>A part, or the parts of a sequence of them.</summary>
        public IEnumerable<Node> Parts(string name, string plural)
        {
            if (Find(name) is not { } node)
                return [];
            if (!node.IsObject)
                throw node.Wrong("an object");
            return node.Text("type") == "Sequence" ? node.Items(plural).Select(item => item.IsObject ? item : throw item.Wrong("an object")) : [node];
        }

        public void Require(bool holds, string name, string why)
        {
            if (!holds)
                throw new InvalidDataException($"{Child(name)}: {CheckpointException.Shown(Member(name).Raw)} {why}");
        }

        public InvalidDataException Unknown() => new($"{Path}: {CheckpointException.Shown(Raw)} is not supported");

        private bool IsObject => element.ValueKind == JsonValueKind.Object;

        private string Raw => element.GetRawText();

        private bool OwnFlag => element.ValueKind is JsonValueKind.True or JsonValueKind.False ? element.GetBoolean() : throw Wrong("true or false");

        private double OwnNumber => element.ValueKind == JsonValueKind.Number ? element.GetDouble() : throw Wrong("a number");

        private Node? Find(string name) => element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? new Node(value, Child(name))
            : null;

        private string Child(string name) => path.Length == 0 ? name : $"{path}.{name}";

        private InvalidDataException Wrong(string expected) => new($"{Path} must be {expected}; got {CheckpointException.Shown(element.ValueKind is JsonValueKind.Object or JsonValueKind.Array ? element.ValueKind.ToString() : Raw)}");
    }
}
