using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Checkpoints;

/// <summary>The forms that models are written in.</summary>
public enum ModelFormat
{
    /// <summary>A folder as Hugging Face's <c>Mamba2ForCausalLM</c> has it: <c>config.json</c> and <c>model.safetensors</c>.</summary>
    HuggingFace,

    /// <summary>A folder as the mamba_ssm package has it: <c>config.json</c> and <c>pytorch_model.bin</c>.</summary>
    MambaSsm,

    /// <summary>One file for llama.cpp.</summary>
    Gguf,
}

/// <summary>Writes a model in another form. Weights pass from file to file one at a time.</summary>
public static class Conversion
{
    /// <summary>Converts a model.</summary>
    /// <param name="input">A model of any form.</param>
    /// <param name="output">The folder, or for GGUF the file, to write; whole or not at all.</param>
    /// <param name="format">The form to write.</param>
    /// <param name="type">
    /// How the weights are stored; for GGUF the large matrices only, because the format has the others as F32. Null keeps every value: each weight stays what it is,
    /// or becomes F32 where the form does not have its type.
    /// </param>
    /// <exception cref="CheckpointException">The input is damaged, the form has no place for something in it, or the output cannot be written.</exception>
    /// <exception cref="ArgumentException">The form does not have the type.</exception>
    public static void Convert(string input, string output, ModelFormat format, StoredType? type = null)
    {
        input = Checkpoint.Current(input);
        Mamba2Config config = Checkpoint.LoadConfig(input);
        using var model = new StoredModel(input, config);
        if (format == ModelFormat.Gguf)
            WriteGguf(model, input, output, type);
        else
            WriteFolder(model, input, output, format, type);
    }

    private static void WriteFolder(StoredModel model, string input, string output, ModelFormat format, StoredType? type)
    {
        if (type is not (null or StoredType.F32 or StoredType.F16 or StoredType.BF16))
            throw new ArgumentException($"Folders hold F32, F16 or BF16 weights, not {type}.", nameof(type));
        if (Path.GetFullPath(input) == Path.GetFullPath(output))
            throw new CheckpointException($"{output}: is the input; choose another folder");
        Checkpoint.CheckTarget(output);
        var weights = new List<WeightToSave>();
        foreach ((string path, Shape shape) in model.Parameters)
            weights.Add(Weight(model, path, path, shape, type ?? Kept(model, path)));
        StoredType main = weights.MaxBy(weight => weight.Bytes)!.Type;
        AtomicFolder.Write(output, partial =>
        {
            if (format == ModelFormat.HuggingFace)
            {
                string name = main switch { StoredType.F16 => "float16", StoredType.BF16 => "bfloat16", StoredType.F64 => "float64", _ => "float32" };
                Checkpoint.WriteJson(HuggingFaceConfig.Write(model.Config, name, TokenizerIfReadable(input)), Path.Combine(partial, Checkpoint.ConfigFile));
                SafetensorsWriter.WriteFolder(partial, weights, new Dictionary<string, string> { ["format"] = "pt" });
            }
            else
            {
                Checkpoint.WriteJson(MambaSsmConfig.Write(model.Config), Path.Combine(partial, Checkpoint.ConfigFile));
                weights[0] = weights[0] with { Name = "backbone.embedding.weight" };
                // The package expects the head even where it is the embedding.
                if (model.Config.TiedEmbeddings)
                    weights.Add(weights[0] with { Name = "lm_head.weight" });
                TorchWriter.Write(Path.Combine(partial, "pytorch_model.bin"), weights);
            }
            CopyTokenizer(input, partial);
            Checkpoint.KeepOthers(output, partial, keepsTokenizer: false);
        });
    }

    private static void WriteGguf(StoredModel model, string input, string output, StoredType? type)
    {
        if (type is not (null or StoredType.F32 or StoredType.F16 or StoredType.BF16 or StoredType.Q8_0 or StoredType.Q4_0))
            throw new ArgumentException($"GGUF files are written with F32, F16, BF16, Q8_0 or Q4_0 matrices, not {type}.", nameof(type));
        if (Directory.Exists(output))
            throw new CheckpointException($"{output}: is a folder; GGUF is one file");
        if (Path.GetFullPath(model.Source.Path) == Path.GetFullPath(output))
            throw new CheckpointException($"{output}: is the input; choose another file");
        GgufModel.CheckWritable(model.Config);
        // One type for all matrices: the smallest that keeps what each of them holds.
        StoredType[] kinds = [.. model.Parameters.Where(entry => GgufModel.IsQuantizable(entry.Path)).Select(entry => model.Entry(entry.Path).Type).Distinct()];
        StoredType matrices = type ?? (kinds is [StoredType.F16 or StoredType.BF16] ? kinds[0] : StoredType.F32);
        var weights = new List<WeightToSave>();
        var logs = new List<float>();
        foreach ((string path, Shape shape) in model.Parameters)
        {
            string name = GgufModel.NameOf(path)!;
            Shape stored = GgufModel.ShapeOf(path, shape, model.Config);
            if (GgufModel.IsDecay(path))
            {
                float[] values = Values(model, path);
                logs.AddRange(values);
                weights.Add(WeightToSave.Of<float>(name, stored, Array.ConvertAll(values, log => -MathF.Exp(log))));
                continue;
            }
            StoredType kind = GgufModel.IsQuantizable(path) ? matrices : StoredType.F32;
            if (stored[^1] % kind.BlockElements() != 0)
                throw new CheckpointException($"{output}: tensor {name} has rows of {stored[^1]} elements, which are not whole blocks of {kind}; choose F16 or BF16");
            weights.Add(Weight(model, path, name, stored, kind));
        }
        GgufModel.Write(output, model.Config, weights, [.. logs], matrices, TokenizerOf(input, model.Config));
    }

    private static WeightToSave Weight(StoredModel model, string path, string name, Shape shape, StoredType type) => model.IsComputed(path)
        ? WeightToSave.Of(name, () => Values(model, path), type, shape)
        : WeightToSave.Of(name, model.Source, model.Entry(path), type, shape);

    private static float[] Values(StoredModel model, string path)
    {
        var values = new float[model.Entry(path).Count];
        model.Read<float>(path, values);
        return values;
    }

    private static StoredType Kept(StoredModel model, string path) => model.Entry(path).Type is var type && type.BlockElements() == 1 ? type : StoredType.F32;

    private static BpeTokenizer? TokenizerOf(string input, Mamba2Config config)
    {
        Tokenizer tokenizer = Checkpoint.LoadTokenizer(input);
        if (tokenizer is BpeTokenizer pairs)
            return pairs;
        // Nothing says so, but a vocabulary of this size is that of bytes.
        return config.VocabularySize == tokenizer.VocabularySize
            ? new BpeTokenizer(new BpeModel { Tokens = [.. Enumerable.Range(0, 256).Select(value => ByteAlphabet.CharacterOf((byte)value).ToString())], Merges = [] })
            : null;
    }

    /// <summary>What a configuration says of it is a courtesy; one that cannot be read here is copied all the same.</summary>
    private static Tokenizer? TokenizerIfReadable(string input)
    {
        try
        {
            return Checkpoint.LoadTokenizer(input);
        }
        catch (CheckpointException)
        {
            return null;
        }
    }

    private static void CopyTokenizer(string input, string folder)
    {
        string from = Directory.Exists(input) ? input : Path.GetDirectoryName(Path.GetFullPath(input))!;
        bool isGguf = !Directory.Exists(input) && InputFile.Beginning(input, 4) is [(byte)'G', (byte)'G', (byte)'U', (byte)'F'];
        if (isGguf)
        {
            // One that only stands for bytes is what a folder without one means.
            if (Checkpoint.LoadTokenizer(input) is BpeTokenizer { Model.Merges.Count: > 0 } tokenizer)
                tokenizer.Save(Path.Combine(folder, TokenizerJson.FileName));
            return;
        }
        foreach (string name in new[] { TokenizerJson.FileName, "tokenizer_config.json", "special_tokens_map.json", "generation_config.json" })
        {
            if (File.Exists(Path.Combine(from, name)))
                File.Copy(Path.Combine(from, name), Path.Combine(folder, name));
        }
    }
}
