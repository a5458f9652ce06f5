using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Generation;

/// <summary>
/// A <see cref="Session"/> in a file: safetensors with the tensors of every layer's state, the last tokens, those that the state does not know of yet, and the counts that penalties need;
/// as metadata where the draws stand, which model and cure it was, and a checksum of everything. What follows a text that was saved and loaded is, to the last bit, what would have followed.
/// </summary>
public static class SessionFile
{
    private const string Format = "scratchmamba session 1";

    /// <summary>Writes a text, whole or not at all.</summary>
    /// <param name="session">The text.</param>
    /// <param name="path">The file; one that exists is replaced.</param>
    /// <param name="seed">The seed that its tokens were drawn with.</param>
    /// <exception cref="CheckpointException">The file cannot be written.</exception>
    public static void Save(Session session, string path, ulong seed = 0)
    {
        var weights = new List<WeightToSave>();
        foreach ((int layer, LayerState state) in session.State.Layers.Index())
            weights.AddRange(state.Tensors.Select((tensor, i) => WeightToSave.Of(NameOf(layer, i), tensor)));
        Add("last", [.. session.LastTokens]);
        Add("unread", [.. session.Unread]);
        Add("seen", [.. session.History.Seen.Order()]);
        KeyValuePair<int, int>[] written = [.. session.History.Written.OrderBy(pair => pair.Key)];
        Add("written.tokens", Array.ConvertAll(written, pair => pair.Key));
        Add("written.counts", Array.ConvertAll(written, pair => pair.Value));
        var metadata = new Dictionary<string, string>
        {
            ["format"] = Format,
            ["model"] = Fingerprint(session.Model),
            ["cure"] = session.Model.Cure.ToString(),
            ["count"] = Text(session.Count),
            ["drawn"] = Text(session.Drawn),
            ["seed"] = seed.ToString(CultureInfo.InvariantCulture),
        };
        metadata["checksum"] = CheckSum(metadata, weights.Select(weight => new StoredTensor(weight.Name, weight.Type, weight.Shape)), (entry, target) => weights.Find(weight => weight.Name == entry.Name)!.Write(target));
        SafetensorsWriter.Write(path, weights, metadata);

        void Add(string name, int[] values) => weights.Add(WeightToSave.Of<int>(name, [values.Length], values));
    }

    /// <summary>Reads a text, to be continued with the model that it was written with.</summary>
    /// <returns>The text, and the seed that its tokens were drawn with.</returns>
    /// <exception cref="CheckpointException">The file is missing, damaged, or of another model or cure.</exception>
    public static (Session Session, ulong Seed) Load(string path, Mamba2Model model)
    {
        using var file = new SafetensorsFile(path);
        if (file.Metadata.GetValueOrDefault("format") != Format)
            throw Fault("is not a saved text of this version");
        if (file.Metadata.GetValueOrDefault("cure") is var cure && cure != model.Cure.ToString())
            throw Fault($"was written with --cure {CheckpointException.Shown(cure ?? "")}, and the model has --cure {model.Cure}");
        if (file.Metadata.GetValueOrDefault("model") != Fingerprint(model))
            throw Fault("was written with another model, or with its weights held in another type");
        if (file.Metadata.GetValueOrDefault("checksum") != CheckSum(file.Metadata, file.Names.Select(file.Entry), file.CopyTo))
            throw Fault("is damaged: its checksum is not that of its content");
        long count = Number("count"), drawn = Number("drawn");
        if (!ulong.TryParse(file.Metadata.GetValueOrDefault("seed"), NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed))
            throw Fault("its seed is not a number");
        int[] last = Tokens("last"), unread = Tokens("unread"), writtenTokens = Tokens("written.tokens"), counts = file.ReadInts("written.counts");
        if (counts.Length != writtenTokens.Length || unread.Length > count)
            throw Fault("its counts contradict each other");

        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        Mamba2State state = model.EmptyState(1);
        foreach ((int layer, LayerState layerState) in state.Layers.Index())
        {
            foreach ((int i, Tensor tensor) in layerState.Tensors.Index())
                Fill(NameOf(layer, i), tensor);
            layerState.Memory?.MoveTo(count - unread.Length);
        }
        var history = TokenHistory.Of(Tokens("seen"), writtenTokens.Zip(counts, KeyValuePair.Create));
        return (Session.Restore(model, state, history, count, drawn, last, unread), seed);

        void Fill(string name, Tensor tensor)
        {
            StoredTensor entry = file.Entry(name);
            bool isOther = entry.Type.ToString() != tensor.DType.ToString();
            if (isOther && tensor.DType == model.StateType && entry.Type is StoredType.F32 or StoredType.BF16 or StoredType.F16)
                throw Fault($"holds states in {Option(entry.Type)}, and the model in {Option(tensor.DType)}: say --state-type {Option(entry.Type)}");
            if (isOther || entry.Shape != tensor.Shape)
                throw Fault($"tensor {name} is {entry.Type} {entry.Shape}; the model's is {tensor.Type}");
            if (tensor.DType == DType.F64)
                tensor.Write<double>(file.ReadDoubles(name));
            else if (tensor.DType.IsNarrow())
                Tensor.Overwrite(new Cast(tensor.DType), [model.Backend.Tensor<float>(tensor.Shape, file.ReadFloats(name))], tensor);
            else
                tensor.Write<float>(file.ReadFloats(name));
        }

        static string Option<T>(T type) where T : struct, Enum => type.ToString().ToLowerInvariant();

        int[] Tokens(string name)
        {
            int[] tokens = file.ReadInts(name);
            return tokens.All(token => (uint)token < (uint)model.Config.VocabularySize) ? tokens : throw Fault($"{name} holds a token outside the vocabulary");
        }

        long Number(string name) => long.TryParse(file.Metadata.GetValueOrDefault(name), NumberStyles.None, CultureInfo.InvariantCulture, out long value)
            ? value
            : throw Fault($"its {name} is not a number");

        CheckpointException Fault(string what) => new($"{path}: {what}");
    }

    /// <summary>A number that two models share only if their sizes and options, every weight, and what their cures have measured are the same.</summary>
    public static string Fingerprint(Mamba2Model model)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(HuggingFaceConfig.Write(model.Config, model.DType.ToString()).ToJsonString()));
        foreach ((string path, Modules.Parameter parameter) in model.Parameters())
        {
            Tensor value = parameter.Value;
            hash.AppendData(Encoding.UTF8.GetBytes($"{path} {value.Type}\n"));
            var bytes = new byte[Math.Min(value.Type.Bytes, Array.MaxLength)];
            value.Backend.Read(value.Storage, bytes);
            hash.AppendData(bytes);
        }
        foreach (IReadOnlyList<double> measured in (model.Cure.Normalization?.Norms ?? []).Concat(model.Cure.Filter?.Thresholds ?? []))
            hash.AppendData(MemoryMarshal.AsBytes(measured.ToArray().AsSpan()));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static string NameOf(int layer, int tensor) => $"layers.{layer}.{tensor}";

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>A checksum of all metadata but itself and of all tensors, whatever their order.</summary>
    private static string CheckSum(IEnumerable<KeyValuePair<string, string>> metadata, IEnumerable<StoredTensor> tensors, Action<StoredTensor, Stream> write)
    {
        using var hash = SHA256.Create();
        using (var target = new CryptoStream(Stream.Null, hash, CryptoStreamMode.Write))
        {
            foreach ((string key, string value) in metadata.Where(pair => pair.Key != "checksum").OrderBy(pair => pair.Key, StringComparer.Ordinal))
                target.Write(Encoding.UTF8.GetBytes($"{key} {value}\n"));
            foreach (StoredTensor entry in tensors.OrderBy(entry => entry.Name, StringComparer.Ordinal))
            {
                target.Write(Encoding.UTF8.GetBytes($"{entry.Name} {entry.Type} {entry.Shape}\n"));
                write(entry, target);
            }
        }
        return Convert.ToHexStringLower(hash.Hash!);
    }
}
