using System.Text.Json.Nodes;
using ScratchMamba.Mamba2;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// The <c>config.json</c> of Hugging Face's <c>Mamba2ForCausalLM</c>. Keys that are missing have that class's defaults. What the class has no key for
/// stands under <c>scratchmamba</c>, which it ignores.
/// </summary>
internal static class HuggingFaceConfig
{
    /// <summary>What <c>model_type</c> says of a configuration of this kind.</summary>
    public const string ModelType = "mamba2";
    private const string Own = "scratchmamba";

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="CheckpointException">It is not one of Mamba-2, or its sizes contradict each other.</exception>
    public static Mamba2Config Read(TolerantJson json)
    {
        if (json.Text("model_type", "") is var type && type != ModelType)
            throw json.Fault("model_type", type.Length == 0 ? "is missing" : $"must be '{ModelType}'; it is '{CheckpointException.Shown(type)}'");
        if (json.Text("hidden_act", "silu") is not ("silu" or "swish"))
            throw json.Fault("hidden_act", "must be 'silu', which Mamba-2 is defined with");
        int width = json.WholeNumber("hidden_size", 4096), expansion = json.WholeNumber("expand", 2), headSize = json.WholeNumber("head_dim", 64), heads = json.WholeNumber("num_heads", 128);
        if ((long)expansion * width != (long)heads * headSize)
            throw json.Fault("num_heads", $"contradicts the other sizes: expand · hidden_size = {expansion} · {width}, but num_heads · head_dim = {heads} · {headSize}");
        double[] limits = json.Numbers("time_step_limit") ?? [0, double.PositiveInfinity];
        if (limits.Length != 2)
            throw json.Fault("time_step_limit", $"must be two numbers; it has {limits.Length}");
        TolerantJson? own = json.Section(Own);
        var config = new Mamba2Config
        {
            VocabularySize = json.WholeNumber("vocab_size", 32768),
            Width = width,
            Layers = json.WholeNumber("num_hidden_layers", 64),
            StateSize = json.WholeNumber("state_size", 128),
            HeadSize = headSize,
            Expansion = expansion,
            Groups = json.WholeNumber("n_groups", 8),
            ConvolutionTaps = json.WholeNumber("conv_kernel", 4),
            ChunkSize = json.WholeNumber("chunk_size", 256),
            TimeStepMin = json.Number("time_step_min", 0.001),
            TimeStepMax = json.Number("time_step_max", 0.1),
            TimeStepFloor = json.Number("time_step_floor", 1e-4),
            // An end without a limit is written in many ways; the largest number is ours.
            TimeStepLow = double.IsNaN(limits[0]) ? 0 : limits[0],
            TimeStepHigh = double.IsNaN(limits[1]) || limits[1] >= double.MaxValue ? double.PositiveInfinity : limits[1],
            ProjectionBias = json.Flag("use_bias", false),
            ConvolutionBias = json.Flag("use_conv_bias", true),
            NormEpsilon = json.Number("layer_norm_epsilon", 1e-5),
            EmbeddingDeviation = json.Number("initializer_range", 0.1),
            RescalesOutput = own?.Flag("rescales_output", false) is true || json.Flag("rescale_prenorm_residual", false),
            TiedEmbeddings = json.Flag("tie_word_embeddings", false),
            NormPerGroup = own?.Flag("norm_per_group", false) ?? false,
            NormBeforeGate = own?.Flag("norm_before_gate", false) ?? false,
            GatedNorm = own?.Flag("gated_norm", true) ?? true,
            SkipPerChannel = own?.Flag("skip_per_channel", false) ?? false,
            LearnsInitialState = own?.Flag("learns_initial_state", false) ?? false,
        };
        try
        {
            return config.Validated();
        }
        catch (ArgumentException fault)
        {
            throw json.Fault("hidden_size", $"and what follows from it cannot be used. {fault.Message}");
        }
    }

    /// <summary>Writes a configuration.</summary>
    /// <param name="config">The sizes and options.</param>
    /// <param name="elementType">How PyTorch calls the weights' type.</param>
    /// <param name="tokenizer">What makes tokens for the model; null where that is not known.</param>
    public static JsonObject Write(Mamba2Config config, string elementType, Tokenizer? tokenizer = null)
    {
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray("Mamba2ForCausalLM"),
            ["model_type"] = ModelType,
            ["dtype"] = elementType,
            ["vocab_size"] = config.VocabularySize,
            ["hidden_size"] = config.Width,
            ["num_hidden_layers"] = config.Layers,
            ["state_size"] = config.StateSize,
            ["expand"] = config.Expansion,
            ["head_dim"] = config.HeadSize,
            ["num_heads"] = config.Heads,
            ["n_groups"] = config.Groups,
            ["conv_kernel"] = config.ConvolutionTaps,
            ["chunk_size"] = config.ChunkSize,
            ["hidden_act"] = "silu",
            ["use_bias"] = config.ProjectionBias,
            ["use_conv_bias"] = config.ConvolutionBias,
            ["layer_norm_epsilon"] = config.NormEpsilon,
            ["initializer_range"] = config.EmbeddingDeviation,
            // Where this is true, transformers (5.12) divides out_proj by √layers once more after loading it.
            ["rescale_prenorm_residual"] = false,
            ["residual_in_fp32"] = true,
            ["rms_norm"] = true,
            ["time_step_min"] = config.TimeStepMin,
            ["time_step_max"] = config.TimeStepMax,
            ["time_step_floor"] = config.TimeStepFloor,
            ["tie_word_embeddings"] = config.TiedEmbeddings,
            ["bos_token_id"] = tokenizer?.PromptStart is [var first, ..] ? first : null,
            ["eos_token_id"] = tokenizer?.EndOfText,
            ["pad_token_id"] = null,
        };
        // The limits' default, [0, ∞), is left out: JSON has no infinity.
        if (config.TimeStepLow > 0 || config.TimeStepHigh < double.PositiveInfinity)
            json["time_step_limit"] = new JsonArray(config.TimeStepLow, Math.Min(config.TimeStepHigh, double.MaxValue));
        var own = new JsonObject();
        Put("norm_per_group", config.NormPerGroup && config.Groups > 1);
        Put("norm_before_gate", config.NormBeforeGate);
        if (!config.GatedNorm)
            own["gated_norm"] = false;
        Put("skip_per_channel", config.SkipPerChannel);
        Put("rescales_output", config.RescalesOutput);
        Put("learns_initial_state", config.LearnsInitialState);
        if (own.Count > 0)
            json[Own] = own;
        return json;

        void Put(string key, bool value)
        {
            if (value)
                own[key] = true;
        }
    }
}
