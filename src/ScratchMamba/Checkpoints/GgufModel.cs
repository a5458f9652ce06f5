using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Checkpoints;

/// <summary>How a Mamba-2 model stands in a GGUF file: llama.cpp's names, shapes and metadata for the architecture <c>mamba2</c>.</summary>
internal static class GgufModel
{
    /// <summary>
    /// The decays as they were before they became −exp: our own key, which llama.cpp does not look at. exp and log in float32 do not give every value back.
    /// </summary>
    public const string DecayLogs = "scratchmamba.a_log";

    private const string Architecture = "mamba2";
    private const string LayerPrefix = "backbone.layers.";

    private static readonly (string Ours, string Theirs)[] Whole =
    [
        ("backbone.embeddings.weight", "token_embd.weight"), ("backbone.norm_f.weight", "output_norm.weight"), ("lm_head.weight", "output.weight"),
    ];

    private static readonly (string Ours, string Theirs)[] InLayer =
    [
        ("norm.weight", "attn_norm.weight"), ("mixer.in_proj.weight", "ssm_in.weight"), ("mixer.conv1d.weight", "ssm_conv1d.weight"), ("mixer.conv1d.bias", "ssm_conv1d.bias"),
        ("mixer.dt_bias", "ssm_dt.bias"), ("mixer.A_log", "ssm_a"), ("mixer.D", "ssm_d"), ("mixer.norm.weight", "ssm_norm.weight"), ("mixer.out_proj.weight", "ssm_out.weight"),
    ];

    /// <summary>The name in the file of a parameter; null where the file has no place for it.</summary>
    public static string? NameOf(string path)
    {
        if (!path.StartsWith(LayerPrefix, StringComparison.Ordinal))
            return Whole.FirstOrDefault(pair => pair.Ours == path).Theirs;
        string[] parts = path[LayerPrefix.Length..].Split('.', 2);
        return InLayer.FirstOrDefault(pair => pair.Ours == parts[1]).Theirs is { } name ? $"blk.{parts[0]}.{name}" : null;
    }

    /// <summary>The parameter that a tensor of the file is; the tensor's own name where it is none.</summary>
    public static string PathOf(string name)
    {
        string[] parts = name.Split('.', 3);
        string? ours = parts is ["blk", var layer, var rest]
            ? InLayer.FirstOrDefault(pair => pair.Theirs == rest).Ours is { } found ? $"{LayerPrefix}{layer}.{found}" : null
            : Whole.FirstOrDefault(pair => pair.Theirs == name).Ours;
        return ours ?? name;
    }

    /// <summary>Whether a parameter is stored as −exp of itself.</summary>
    public static bool IsDecay(string path) => path.EndsWith(".A_log", StringComparison.Ordinal);

    /// <summary>Whether a parameter may be stored with fewer bits: only the large matrices may.</summary>
    public static bool IsQuantizable(string path) =>
        path.EndsWith("_proj.weight", StringComparison.Ordinal) || path is "backbone.embeddings.weight" or "lm_head.weight";

    /// <summary>The shape in the file of a parameter, in row-major order.</summary>
    public static Shape ShapeOf(string path, Shape shape, Mamba2Config config) =>
        IsDecay(path) || path.EndsWith(".D", StringComparison.Ordinal) ? [shape[0], 1]
        : path.EndsWith(".conv1d.weight", StringComparison.Ordinal) ? [shape[0], shape[2]]
        : path.EndsWith(".mixer.norm.weight", StringComparison.Ordinal) ? [config.Groups, shape[0] / config.Groups]
        : shape;

    /// <summary>Reads a model's configuration.</summary>
    /// <exception cref="CheckpointException">It is not one of Mamba-2, lacks something, or its sizes contradict each other.</exception>
    public static Mamba2Config Config(GgufFile file)
    {
        string architecture = file.Text("general.architecture");
        if (architecture != Architecture)
            throw file.Fault($"holds a model of architecture '{CheckpointException.Shown(architecture)}', not '{Architecture}'");
        int width = Size("embedding_length"), inner = Size("ssm.inner_size"), heads = Size("ssm.time_step_rank");
        if (inner % width != 0 || inner % heads != 0)
            throw file.Fault($"metadata {Architecture}.ssm.inner_size is {inner}, which is not a multiple of the width {width} and of the {heads} heads");
        Shape embedding = file.Entry("token_embd.weight").Shape;
        var config = new Mamba2Config
        {
            VocabularySize = embedding.Rank == 2 ? embedding[0] : throw file.Fault($"tensor token_embd.weight: {embedding} is not a matrix"),
            Width = width,
            Layers = Size("block_count"),
            StateSize = Size("ssm.state_size"),
            HeadSize = inner / heads,
            Expansion = inner / width,
            Groups = Size("ssm.group_count"),
            ConvolutionTaps = Size("ssm.conv_kernel"),
            NormEpsilon = file.Number($"{Architecture}.attention.layer_norm_rms_epsilon"),
            NormPerGroup = true,
            TiedEmbeddings = !file.Contains("output.weight"),
        };
        // A float that stands for a decimal number.
        config = config with { NormEpsilon = double.Parse(((float)config.NormEpsilon).ToString()) };
        try
        {
            return config.Validated();
        }
        catch (ArgumentException fault)
        {
            throw file.Fault($"its metadata cannot be used. {fault.Message}");
        }

        int Size(string key) => file.WholeNumber($"{Architecture}.{key}") is > 0 and <= int.MaxValue and var value
            ? (int)value
            : throw file.Fault($"metadata {Architecture}.{key} is {file.WholeNumber($"{Architecture}.{key}")}");
    }

    /// <summary>Every decay's logarithm, [layers · heads]; null where the file does not say, or says something else than its tensors.</summary>
    public static float[]? ExactDecayLogs(GgufFile file, Mamba2Config config) =>
        file.Find(DecayLogs) == GgufValueType.Array && file.Singles(DecayLogs) is { } logs && logs.Length == config.Layers * config.Heads ? logs : null;

    /// <summary>The logarithm of a decay: the exact one where it fits.</summary>
    public static double LogOf(double decay, float? exact) => exact is { } log && Math.Abs(-Math.Exp(log) - decay) <= 1e-6 * Math.Abs(decay) ? log : Math.Log(-decay);

    /// <summary>Writes a model, whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="config">Its configuration.</param>
    /// <param name="weights">Its tensors, under the file's names and with its shapes.</param>
    /// <param name="decayLogs">The logarithms of all decays.</param>
    /// <param name="type">The type of the large matrices.</param>
    /// <param name="tokenizer">What makes tokens of text; null for none.</param>
    /// <exception cref="CheckpointException">The format has no place for something; the message says for what.</exception>
    public static void Write(string path, Mamba2Config config, IReadOnlyList<WeightToSave> weights, float[] decayLogs, StoredType type, BpeTokenizer? tokenizer)
    {
        CheckWritable(config);
        using var file = new GgufWriter();
        file.Put("general.architecture", Architecture);
        file.Put("general.file_type", type switch { StoredType.F32 => 0u, StoredType.F16 => 1u, StoredType.Q4_0 => 2u, StoredType.Q8_0 => 7u, _ => 32u });
        if (type.BlockElements() > 1)
            file.Put("general.quantization_version", 2u);
        file.Put($"{Architecture}.context_length", 1u << 20);
        file.Put($"{Architecture}.embedding_length", (uint)config.Width);
        file.Put($"{Architecture}.feed_forward_length", 0u);
        file.Put($"{Architecture}.attention.head_count", 0u);
        file.Put($"{Architecture}.block_count", (uint)config.Layers);
        file.Put($"{Architecture}.ssm.conv_kernel", (uint)config.ConvolutionTaps);
        file.Put($"{Architecture}.ssm.inner_size", (uint)config.InnerWidth);
        file.Put($"{Architecture}.ssm.state_size", (uint)config.StateSize);
        file.Put($"{Architecture}.ssm.time_step_rank", (uint)config.Heads);
        file.Put($"{Architecture}.ssm.group_count", (uint)config.Groups);
        file.Put($"{Architecture}.attention.layer_norm_rms_epsilon", (float)config.NormEpsilon);
        file.Put($"{Architecture}.vocab_size", (uint)config.VocabularySize);
        file.Put(DecayLogs, decayLogs);
        GgufTokenizer.Write(file, tokenizer, config.VocabularySize);
        file.Write(path, weights);
    }

    /// <summary>Throws unless llama.cpp can compute a model.</summary>
    public static void CheckWritable(Mamba2Config config)
    {
        Refuse(config.SkipPerChannel, "D for each channel");
        Refuse(!config.GatedNorm, "a mixer without a gated norm");
        Refuse(config.NormBeforeGate, "a norm before the gate");
        Refuse(config.Groups > 1 && !config.NormPerGroup, "a gated norm over the whole width of several groups");
        Refuse(config.TimeStepLow > 0 || config.TimeStepHigh < double.PositiveInfinity, "limits of the time step");
        Refuse(config.ProjectionBias, "biases of the projections");
        Refuse(!config.ConvolutionBias, "a convolution without a bias");
        Refuse(config.LearnsInitialState, "learned initial states");

        static void Refuse(bool holds, string what)
        {
            if (holds)
                throw new CheckpointException($"GGUF's architecture {Architecture} has no place for {what}; the model cannot be written as GGUF");
        }
    }
}
