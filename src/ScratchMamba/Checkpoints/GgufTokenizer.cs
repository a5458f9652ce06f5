using ScratchMamba.Tokenizers;

namespace ScratchMamba.Checkpoints;

/// <summary>The tokenizer inside a GGUF file: byte-level pairs, which the format calls <c>gpt2</c>, or SentencePiece's pairs with scores, which it calls <c>llama</c>.</summary>
internal static class GgufTokenizer
{
    private const int Normal = 1, Control = 3, UserDefined = 4, Unused = 5, Byte = 6;

    // Of a damaged file: longer tokens would have too many ways to be divided.
    private const int MostMergedLength = 256;

    // Those whose pattern llama.cpp takes to be GPT-2's.
    private static readonly string[] Gpt2Like = ["gpt-2", "mpt", "olmo", "jais", "phi-2"];

    /// <summary>Reads the tokenizer; null where the file has none.</summary>
    /// <exception cref="CheckpointException">It is of another kind, or damaged.</exception>
    public static Tokenizer? Read(GgufFile file)
    {
        if (file.Find("tokenizer.ggml.model") is null || file.Text("tokenizer.ggml.model") is "none" or "no_vocab")
            return null;
        string kind = file.Text("tokenizer.ggml.model"), pattern = file.Find("tokenizer.ggml.pre") is null ? "" : file.Text("tokenizer.ggml.pre");
        bool isByteLevel = kind == "gpt2";
        if (!isByteLevel && kind != "llama")
            throw file.Fault($"its tokenizer is of the kind '{CheckpointException.Shown(kind)}'; only 'gpt2' and 'llama' are read. Put a tokenizer.json in a folder with the file, and name the folder");
        if (isByteLevel && !Gpt2Like.Contains(pattern))
            throw file.Fault($"its tokenizer divides text by the pattern '{CheckpointException.Shown(pattern)}', which is not one of {string.Join(", ", Gpt2Like)}");
        string?[] tokens = file.Texts("tokenizer.ggml.tokens");
        int[] types = file.Find("tokenizer.ggml.token_type") is null ? [.. Enumerable.Repeat(Normal, tokens.Length)] : file.Integers("tokenizer.ggml.token_type");
        if (types.Length != tokens.Length)
            throw file.Fault($"its tokenizer has {tokens.Length} tokens, but types of {types.Length}");
        var added = new List<AddedToken>();
        for (int id = 0; id < tokens.Length; id++)
        {
            if (types[id] is Control or UserDefined)
                added.Add(new AddedToken(id, tokens[id]!, IsSpecial: types[id] == Control));
            if (types[id] == Unused)
                tokens[id] = null;
        }
        bool begins = file.WholeNumber("tokenizer.ggml.add_bos_token", isByteLevel ? 0 : 1) != 0 && Token("bos") is not null;
        try
        {
            return new BpeTokenizer(new BpeModel
            {
                Tokens = tokens,
                Merges = isByteLevel ? Merges(file) : MergesByScore(file, tokens!, types),
                Added = added,
                IsByteLevel = isByteLevel,
                Patterns = isByteLevel ? [WordPattern.Gpt2] : [],
                HasByteFallback = types.Contains(Byte),
                Unknown = isByteLevel ? null : Token("unknown"),
                AddsPrefixSpace = file.WholeNumber("tokenizer.ggml.add_space_prefix", isByteLevel ? 0 : 1) != 0,
                PromptStart = begins ? [Token("bos")!.Value] : [],
                EndOfText = Token("eos"),
            });
        }
        catch (InvalidDataException fault)
        {
            throw file.Fault($"its tokenizer is damaged: {CheckpointException.Shown(fault.Message)}");
        }

        int? Token(string name) => file.Find($"tokenizer.ggml.{name}_token_id") is not null && file.WholeNumber($"tokenizer.ggml.{name}_token_id") is var id && id >= 0 && id < tokens.Length ? (int)id : null;
    }

    private static List<(string, string)> Merges(GgufFile file)
    {
        var merges = new List<(string, string)>();
        foreach (string merge in file.Find("tokenizer.ggml.merges") is null ? [] : file.Texts("tokenizer.ggml.merges"))
        {
            // The first character may be a space only if it stands for itself, which it does not in these tokens.
            int space = merge.IndexOf(' ', Math.Min(1, merge.Length));
            merges.Add(space > 0 ? (merge[..space], merge[(space + 1)..]) : throw file.Fault($"its tokenizer has a merge '{CheckpointException.Shown(merge)}', which is not a pair"));
        }
        return merges;
    }

    /// <summary>SentencePiece merges any two neighbours that make a token, those first whose token has the largest score: all ways to divide every token, in that order.</summary>
    private static List<(string, string)> MergesByScore(GgufFile file, string?[] tokens, int[] types)
    {
        float[] scores = file.Singles("tokenizer.ggml.scores");
        if (scores.Length != tokens.Length)
            throw file.Fault($"its tokenizer has {tokens.Length} tokens, but scores of {scores.Length}");
        int[] normal = [.. Enumerable.Range(0, tokens.Length).Where(id => types[id] == Normal && tokens[id]!.Length <= MostMergedLength)];
        var known = new HashSet<string>(normal.Select(id => tokens[id]!), StringComparer.Ordinal);
        var merges = new List<(string, string)>();
        foreach (int id in normal.OrderByDescending(id => scores[id]).ThenBy(id => id))
        {
            string token = tokens[id]!;
            for (int cut = 1; cut < token.Length; cut++)
            {
                if (known.Contains(token[..cut]) && known.Contains(token[cut..]))
                    merges.Add((token[..cut], token[cut..]));
            }
        }
        return merges;
    }

    /// <summary>Writes the tokenizer's metadata.</summary>
    /// <exception cref="CheckpointException">It is of a kind that llama.cpp does not have, or has too many tokens.</exception>
    public static void Write(GgufWriter file, BpeTokenizer? tokenizer, int vocabularySize)
    {
        if (tokenizer is null)
        {
            file.Put("tokenizer.ggml.model", "none");
            return;
        }
        BpeModel model = tokenizer.Model;
        if (!model.IsByteLevel || model.Patterns is not [WordPattern.Gpt2])
            throw new CheckpointException("The tokenizer divides text in a way that is not GPT-2's, and cannot be written as GGUF; remove tokenizer.json to write the model without it");
        if (model.Tokens.Length > vocabularySize)
            throw new CheckpointException($"The tokenizer has {model.Tokens.Length} tokens, more than the model's {vocabularySize}");
        var tokens = new string[vocabularySize];
        var types = new int[vocabularySize];
        for (int id = 0; id < tokens.Length; id++)
        {
            string? token = id < model.Tokens.Length ? model.Tokens[id] : null;
            (tokens[id], types[id]) = token is null ? ($"[PAD{id}]", Unused) : (token, Normal);
        }
        foreach (AddedToken added in model.Added)
            (tokens[added.Id], types[added.Id]) = (added.Content, added.IsSpecial ? Control : UserDefined);
        file.Put("tokenizer.ggml.model", "gpt2");
        file.Put("tokenizer.ggml.pre", "gpt-2");
        file.Put("tokenizer.ggml.tokens", tokens);
        file.Put("tokenizer.ggml.token_type", types);
        file.Put("tokenizer.ggml.merges", [.. model.Merges.Select(merge => $"{merge.Left} {merge.Right}")]);
        file.Put("tokenizer.ggml.add_bos_token", model.PromptStart.Count > 0);
        file.Put("tokenizer.ggml.add_space_prefix", model.AddsPrefixSpace);
        if (model.PromptStart.Count > 0)
            file.Put("tokenizer.ggml.bos_token_id", (uint)model.PromptStart[0]);
        if (model.EndOfText is { } end)
            file.Put("tokenizer.ggml.eos_token_id", (uint)end);
    }
}
