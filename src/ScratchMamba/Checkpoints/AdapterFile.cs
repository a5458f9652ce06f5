using System.Text.Json.Nodes;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// Adapters in a folder of their own, as Hugging Face's PEFT has them: <c>adapter_config.json</c>, which names the model that they adapt, and <c>adapter_model.safetensors</c>.
/// Whoever reads such a folder as a model gets that model with the adapters merged: <c>W + s·B A</c>.
/// </summary>
internal sealed class AdapterFile : IDisposable
{
    private const string ConfigFile = "adapter_config.json", WeightFile = "adapter_model.safetensors", Prefix = "base_model.model.";

    private readonly SafetensorsFile weights;

    /// <summary>Opens the adapters in a folder.</summary>
    /// <exception cref="CheckpointException">A file is missing or damaged, or it is another kind of adapter.</exception>
    public AdapterFile(string folder)
    {
        Adaptation = ReadConfig(folder);
        weights = new SafetensorsFile(Path.Combine(folder, WeightFile));
    }

    /// <summary>Their sizes, and what they adapt.</summary>
    public LowRankAdaptation Adaptation { get; }

    /// <summary>Whether a folder holds adapters.</summary>
    public static bool IsIn(string folder) => File.Exists(Path.Combine(folder, ConfigFile));

    /// <summary>The folder or file of the model that a folder's adapters adapt.</summary>
    /// <exception cref="CheckpointException">It is not there, or is an adapter itself.</exception>
    public static string BaseOf(string folder)
    {
        string given = ReadConfig(folder).Base, beside = Path.Combine(folder, given);
        string path = Checkpoint.Current(Path.Exists(given) ? given : beside);
        if (!Path.Exists(path))
            throw new CheckpointException($"{folder}: adapts the model in {given}, which is not there");
        return IsIn(path) ? throw new CheckpointException($"{folder}: adapts {given}, which is an adapter itself; merge that one by 'convert' first") : path;
    }

    /// <summary>Writes a model's adapters.</summary>
    public static void Write(Mamba2Model model, string folder)
    {
        LowRankAdaptation how = model.Adaptation!;
        WeightToSave[] tensors = [.. model.Parameters().Where(entry => IsAdapter(entry.Path)).Select(entry => WeightToSave.Of(Prefix + entry.Path, entry.Parameter.Value))];
        SafetensorsWriter.Write(Path.Combine(folder, WeightFile), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        var config = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = how.Base,
            ["r"] = how.Rank,
            ["lora_alpha"] = how.Alpha,
            ["target_modules"] = new JsonArray([.. how.Targets.Select(target => (JsonNode)target)]),
            ["lora_dropout"] = 0.0,
            ["bias"] = "none",
            ["fan_in_fan_out"] = false,
            ["inference_mode"] = true,
        };
        Checkpoint.WriteJson(config, Path.Combine(folder, ConfigFile));
    }

    /// <summary>Fills the adapters of a model that has such ones.</summary>
    /// <exception cref="CheckpointException">They are not those in the file.</exception>
    public void Fill(Mamba2Model model)
    {
        foreach ((string path, Parameter parameter) in model.Parameters().Where(entry => IsAdapter(entry.Path)))
        {
            StoredTensor entry = weights.Entry(Prefix + path);
            if (entry.Shape != parameter.Shape)
                throw new CheckpointException($"{weights.Path}: tensor {entry.Name} has shape {entry.Shape}; the model's is {parameter.Shape}");
            if (model.DType == DType.F64)
                parameter.Value.Write<double>(weights.ReadDoubles(entry.Name));
            else
                parameter.Value.Write<float>(weights.ReadFloats(entry.Name));
        }
    }

    /// <summary>Whether there is an adapter for a parameter.</summary>
    public bool Adapts(string path) => Names(path) is var (down, up) && weights.Contains(down) && weights.Contains(up);

    /// <summary>s·B A, to be added to a parameter of a shape.</summary>
    /// <exception cref="CheckpointException">The adapter is for another shape.</exception>
    public double[] Change(string path, Shape shape)
    {
        (string down, string up) = Names(path);
        int rank = Adaptation.Rank, rows = shape[0], columns = shape[1];
        if (weights.Entry(down).Shape != new Shape(rank, columns) || weights.Entry(up).Shape != new Shape(rows, rank))
            throw new CheckpointException($"{weights.Path}: the adapter of {path} is {weights.Entry(up).Shape} by {weights.Entry(down).Shape}; the model's weights are {shape}");
        double[] a = weights.ReadDoubles(down), b = weights.ReadDoubles(up), change = new double[shape.Count];
        for (int row = 0; row < rows; row++)
        {
            Span<double> target = change.AsSpan(row * columns, columns);
            for (int k = 0; k < rank; k++)
                System.Numerics.Tensors.TensorPrimitives.MultiplyAdd(a.AsSpan(k * columns, columns), b[row * rank + k] * Adaptation.Scale, target, target);
        }
        return change;
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => weights.Dispose();

    private static bool IsAdapter(string path) => path.Contains(".lora_", StringComparison.Ordinal);

    private static (string Down, string Up) Names(string path)
    {
        string projection = path.EndsWith(".weight", StringComparison.Ordinal) ? path[..^".weight".Length] : path;
        return ($"{Prefix}{projection}.lora_A.weight", $"{Prefix}{projection}.lora_B.weight");
    }

    private static LowRankAdaptation ReadConfig(string folder)
    {
        string path = Path.Combine(folder, ConfigFile);
        TolerantJson json = TolerantJson.Read(path);
        if (json.Text("peft_type", "") != "LORA")
            throw new CheckpointException($"{path}: is not an adapter of the kind LORA");
        if (json.Flag("use_rslora", false) || json.Flag("use_dora", false) || json.Text("bias", "none") != "none")
            throw new CheckpointException($"{path}: rslora, dora and biases are not supported");
        try
        {
            int rank = json.WholeNumber("r");
            return new LowRankAdaptation(rank, json.Number("lora_alpha", rank), json.Texts("target_modules") ?? [], json.Text("base_model_name_or_path")).Validated();
        }
        catch (ArgumentException error)
        {
            throw new CheckpointException($"{path}: {error.Message}", error);
        }
    }
}
