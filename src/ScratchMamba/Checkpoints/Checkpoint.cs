using System.Numerics.Tensors;
using System.Text.Json;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// Models in the forms they are published in: folders of Hugging Face's <c>Mamba2ForCausalLM</c> or of mamba_ssm, and GGUF files. They are told apart by what is in them.
/// Models are saved as Hugging Face has them; <see cref="Conversion"/> writes the other forms.
/// </summary>
public static class Checkpoint
{
    internal const string ConfigFile = "config.json";

    /// <summary>Reads the configuration of a model: from its folder, from a <c>config.json</c> or <c>params.json</c> itself, from a GGUF file, or from beside a file of weights.</summary>
    /// <exception cref="CheckpointException">It is missing, damaged, or not one of Mamba-2; the message names the file and, where there is one, the line.</exception>
    public static Mamba2Config LoadConfig(string path)
    {
        // A save that was killed between its two renames left the previous checkpoint aside.
        path = Current(path);
        if (Directory.Exists(path))
        {
            string config = Path.Combine(path, ConfigFile), parameters = Path.Combine(path, "params.json");
            if (!File.Exists(config) && AdapterFile.IsIn(path))
                return LoadConfig(AdapterFile.BaseOf(path));
            if (!File.Exists(config) && Directory.GetFiles(path, "*.gguf") is [var only])
                return LoadConfig(only);
            return ReadConfig(File.Exists(config) || !File.Exists(parameters) ? config : parameters);
        }
        if (!File.Exists(path))
            throw new CheckpointException($"{path}: there is no such file or folder");
        if (path.EndsWith(".json", StringComparison.OrdinalIgnoreCase) && !path.EndsWith(".index.json", StringComparison.OrdinalIgnoreCase))
            return ReadConfig(path);
        using WeightSource source = WeightSource.Open(path);
        return source is GgufFile gguf ? GgufModel.Config(gguf) : ReadConfig(Path.Combine(Path.GetDirectoryName(path) ?? "", ConfigFile));
    }

    private static Mamba2Config ReadConfig(string path)
    {
        TolerantJson json = TolerantJson.Read(path);
        return json.Text("model_type", "") != HuggingFaceConfig.ModelType && MambaSsmConfig.Recognizes(json) ? MambaSsmConfig.Read(json) : HuggingFaceConfig.Read(json);
    }

    /// <summary>Reads a model. F16 and BF16 weights are widened; F64 ones are rounded unless <paramref name="type"/> is F64.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="backend">Where the model is to live.</param>
    /// <param name="type">What it computes in: F32, or F64 for an oracle.</param>
    /// <param name="weights">BF16, F16, Q8_0 or Q4_0 to hold matrices in so few bits, for inference; what is stored so is taken as it is, anything else is rounded.</param>
    /// <exception cref="CheckpointException">A file is missing or damaged, or a tensor is missing, unknown, of another shape than the configuration says, or not finite.</exception>
    public static Mamba2Model Load(string folder, Backend backend, DType type = DType.F32, DType? weights = null)
    {
        folder = Current(folder);
        var model = new Mamba2Model(LoadConfig(folder), backend, type, seed: null, weights);
        LoadInto(model, folder);
        return model;
    }

    /// <summary>The type of few bits that all large matrices of a model are stored in: its weights may be held so without being rounded. Null where they are stored in more bits, or in several types, or adapters change them.</summary>
    /// <exception cref="CheckpointException">A file is missing or damaged.</exception>
    public static DType? StoredWeights(string folder)
    {
        folder = Current(folder);
        if (AdapterFile.IsIn(folder))
            return null;
        using var stored = new StoredModel(folder, LoadConfig(folder));
        StoredType[] types = [.. stored.Parameters.Where(parameter => parameter.Shape.Rank == 2).Select(parameter => stored.Entry(parameter.Path).Type).Distinct()];
        return types is not [var only] ? null : only switch
        {
            StoredType.BF16 => DType.BF16,
            StoredType.F16 => DType.F16,
            StoredType.Q8_0 => DType.Q8_0,
            StoredType.Q4_0 => DType.Q4_0,
            _ => null,
        };
    }

    /// <summary>The tokenizer of a model: the <c>tokenizer.json</c> in its folder, the one inside a GGUF file, or bytes where there is none. A <c>tokenizer.json</c> itself will do, too.</summary>
    /// <exception cref="CheckpointException">It is damaged, or of a kind that is not supported.</exception>
    public static Tokenizer LoadTokenizer(string path)
    {
        path = Current(path);
        if (Directory.Exists(path))
        {
            string json = Path.Combine(path, TokenizerJson.FileName);
            if (File.Exists(json))
                return BpeTokenizer.Load(json);
            return Directory.GetFiles(path, "*.gguf") is [var only] && !File.Exists(Path.Combine(path, ConfigFile)) ? LoadTokenizer(only) : new ByteTokenizer();
        }
        if (!File.Exists(path) || InputFile.Beginning(path, 1) is [(byte)'{'])
            return BpeTokenizer.Load(path);
        using WeightSource source = WeightSource.Open(path);
        return source is GgufFile gguf ? GgufTokenizer.Read(gguf) ?? new ByteTokenizer() : LoadTokenizer(Path.GetFullPath(Path.Combine(path, "..")));
    }

    /// <summary>The tokenizer of a model, as <see cref="LoadTokenizer(string)"/> finds it.</summary>
    /// <exception cref="CheckpointException">It has more tokens than the model, is damaged, or of a kind that is not supported.</exception>
    public static Tokenizer LoadTokenizer(string path, Mamba2Config config)
    {
        Tokenizer tokenizer = LoadTokenizer(path);
        if (tokenizer.VocabularySize <= config.VocabularySize)
            return tokenizer;
        throw new CheckpointException(tokenizer is ByteTokenizer
            ? $"{path}: the model's vocabulary of {config.VocabularySize} tokens is not that of bytes, and there is no {TokenizerJson.FileName}; it cannot read or write text"
            : $"{path}: the tokenizer has {tokenizer.VocabularySize} tokens, more than the model's {config.VocabularySize}");
    }

    /// <summary>The path of the parameter that a tensor's name stands for, in any of the forms of checkpoints: they differ by a prefix and by a plural.</summary>
    public static string ParameterPath(string tensor) => StoredModel.PathOf(tensor);

    /// <summary>Checks the names and shapes of a folder's tensors against a configuration, without reading their elements.</summary>
    /// <exception cref="CheckpointException">They do not fit.</exception>
    public static void CheckWeights(string folder, Mamba2Config config)
    {
        using var stored = new StoredModel(Current(folder), config);
    }

    /// <summary>
    /// Writes a model to a folder, all or nothing: what was there before stays until everything is on the disk. Other files in the folder are kept.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">A new folder, an empty one, or one that holds a checkpoint already.</param>
    /// <param name="shardBytes">Weights beyond this size are divided into several files.</param>
    /// <param name="tokenizer">What makes tokens of text for the model; null keeps what the folder has.</param>
    /// <exception cref="CheckpointException">The folder holds something else, cannot be written to, or the disk is full; nothing was changed.</exception>
    public static void Save(Mamba2Model model, string folder, long shardBytes = SafetensorsWriter.DefaultShardBytes, Tokenizer? tokenizer = null)
    {
        CheckTarget(folder);
        AtomicFolder.Write(folder, partial =>
        {
            Write(model, partial, shardBytes, tokenizer);
            KeepOthers(folder, partial, keepsTokenizer: tokenizer is null);
        });
    }

    /// <summary>Writes a model's files into a folder that has none; of one that is adapted, the adapters only.</summary>
    internal static void Write(Mamba2Model model, string folder, long shardBytes, Tokenizer? tokenizer)
    {
        WriteJson(HuggingFaceConfig.Write(model.Config, model.DType == DType.F64 ? "float64" : "float32", tokenizer), Path.Combine(folder, ConfigFile));
        if (model.Adaptation is not null)
        {
            AdapterFile.Write(model, folder);
            (tokenizer as BpeTokenizer)?.Save(Path.Combine(folder, TokenizerJson.FileName));
            return;
        }
        WeightToSave[] weights = [.. model.Parameters().Select(entry => WeightToSave.Of(entry.Path, entry.Parameter.Value))];
        SafetensorsWriter.WriteFolder(folder, weights, new Dictionary<string, string> { ["format"] = "pt" }, shardBytes);
        (tokenizer as BpeTokenizer)?.Save(Path.Combine(folder, TokenizerJson.FileName));
    }

    /// <summary>The folder of the model that a path stands for: of a run, its newest checkpoint.</summary>
    internal static string Current(string path)
    {
        path = AtomicFolder.Current(path);
        return Directory.Exists(path) && !File.Exists(Path.Combine(path, ConfigFile)) ? Training.RunFolder.Newest(path) ?? path : path;
    }

    /// <summary>Fills a model's parameters from a folder that holds one of the same sizes.</summary>
    internal static void LoadInto(Mamba2Model model, string folder)
    {
        if (model.Adaptation is not null)
        {
            using var adapters = new AdapterFile(folder);
            adapters.Fill(model);
            return;
        }
        using var stored = new StoredModel(folder, model.Config);
        foreach ((string path, Parameter parameter) in model.Parameters())
        {
            if (model.DType == DType.F64)
                Fill<double>(stored, path, parameter);
            else
                Fill<float>(stored, path, parameter);
        }
    }

    /// <summary>Checks that a model can be saved in a folder, before there is one to save. Leaves nothing behind.</summary>
    /// <exception cref="CheckpointException">It is a file, holds other files and no checkpoint, or cannot be written to.</exception>
    public static void CheckTarget(string folder)
    {
        if (File.Exists(folder))
            throw new CheckpointException($"{folder}: is a file; a model is saved in a folder");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any() && !HoldsCheckpoint(folder))
            throw new CheckpointException($"{folder}: the folder holds other files and no checkpoint; choose a new or an empty one");
        AtomicFolder.CheckWritable(folder);
    }

    private static bool HoldsCheckpoint(string folder)
    {
        try
        {
            LoadConfig(folder);
            return true;
        }
        catch (CheckpointException)
        {
            return false;
        }
    }

    internal static void WriteJson(System.Text.Json.Nodes.JsonObject json, string path)
    {
        using var stream = new FileStream(path, FileMode.CreateNew, FileAccess.Write);
        using var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteTo(writer);
    }

    /// <summary>A tokenizer, notes, a generation_config.json: whatever else stood beside the weights.</summary>
    internal static void KeepOthers(string folder, string partial, bool keepsTokenizer)
    {
        if (!Directory.Exists(folder))
            return;
        foreach (string file in Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
        {
            string relative = Path.GetRelativePath(folder, file), target = Path.Combine(partial, relative);
            bool isOldWeights = relative is "pytorch_model.bin" || (relative.StartsWith("model", StringComparison.Ordinal) && (relative.EndsWith(".safetensors", StringComparison.Ordinal) || relative == WeightSource.IndexFile));
            bool isOldTokenizer = !keepsTokenizer && relative.StartsWith("tokenizer", StringComparison.Ordinal);
            if (isOldWeights || isOldTokenizer || File.Exists(target))
                continue;
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }
    }

    private static void Fill<T>(StoredModel stored, string path, Parameter parameter) where T : unmanaged, System.Numerics.IFloatingPointIeee754<T>
    {
        var values = new T[parameter.Count];
        stored.Read<T>(path, values);
        if (!T.IsFinite(TensorPrimitives.SumOfMagnitudes<T>(values)))
        {
            int at = Array.FindIndex(values, value => !T.IsFinite(value));
            if (at >= 0)
                throw new CheckpointException($"{stored.Source.Path}: tensor {stored.Entry(path).Name} holds {values[at]} at element {at}; a model with such weights computes nothing");
        }
        Write<T>(stored, path, parameter.Value, values);
    }

    private static void Write<T>(StoredModel stored, string path, Tensors.Tensor parameter, T[] values) where T : unmanaged, System.Numerics.IFloatingPointIeee754<T>
    {
        if (!parameter.DType.IsCompact())
        {
            parameter.Write<T>(values);
            return;
        }
        if (parameter.DType.IsQuantized())
        {
            // A block's scale is of binary16.
            float largest = Math.Abs(float.CreateTruncating(TensorPrimitives.MaxMagnitude<T>(values))), most = (float)Half.MaxValue * (parameter.DType == DType.Q8_0 ? 127 : 8);
            if (largest > most)
                throw new CheckpointException($"{stored.Source.Path}: tensor {stored.Entry(path).Name} holds {largest}, too large for {parameter.DType}; hold the weights in BF16");
            byte[] bytes = stored.Blocks(path, parameter.DType) ?? QuantizedBlocks.Quantize(parameter.DType, Array.ConvertAll(values, float.CreateTruncating));
            parameter.Write<byte>(bytes);
            return;
        }
        if (parameter.DType == DType.BF16)
        {
            parameter.Write<BFloat16>(Array.ConvertAll(values, value => (BFloat16)float.CreateTruncating(value)));
            return;
        }
        Half[] halves = Array.ConvertAll(values, value => Half.CreateTruncating(value));
        int at = Array.FindIndex(halves, value => !Half.IsFinite(value));
        if (at >= 0)
            throw new CheckpointException($"{stored.Source.Path}: tensor {stored.Entry(path).Name} holds {values[at]} at element {at}, too large for F16; hold the weights in BF16");
        parameter.Write<Half>(halves);
    }
}
