using System.Text.Json.Nodes;
using ScratchMamba.Mamba2;

namespace ScratchMamba.Checkpoints;

/// <summary>
/// The <c>config.json</c> of the mamba_ssm package's <c>MambaLMHeadModel</c>, and the <c>params.json</c> of Codestral, which has its keys under other names.
/// Keys that are missing have that package's defaults. What is not Mamba-2, or not built here, is refused by name.
/// </summary>
internal static class MambaSsmConfig
{
    /// <summary>Whether a configuration is of this kind.</summary>
    public static bool Recognizes(TolerantJson json) => json.Has("ssm_cfg") || json.Has("d_model") || (json.Has("dim") && json.Has("n_layers"));

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="CheckpointException">It is not one of Mamba-2, has parts that are not built here, or its sizes contradict each other.</exception>
    public static Mamba2Config Read(TolerantJson json)
    {
        bool isCodestral = json.Has("dim");
        TolerantJson? layer = json.Section("ssm_cfg");
        TolerantJson ssm = layer ?? json;
        string kind = layer?.Text("layer", "Mamba1") ?? (isCodestral ? "Mamba2" : "Mamba1");
        if (kind != "Mamba2")
            throw ssm.Fault("layer", $"must be 'Mamba2'; it is '{CheckpointException.Shown(kind)}'{(ssm.Has("layer") ? "" : ", which is what its absence means")}");
        Refuse(json, "d_intermediate", json.WholeNumber("d_intermediate", 0) != 0, "blocks with a feed-forward part");
        Refuse(json, "attn_layer_idx", json.Numbers("attn_layer_idx") is { Length: > 0 }, "attention layers");
        Refuse(json, "rms_norm", !json.Flag("rms_norm", true), "layer norms instead of RMS norms");
        int width = isCodestral ? json.WholeNumber("dim") : json.WholeNumber("d_model", 2560), expansion = ssm.WholeNumber("expand", 2);
        Refuse(ssm, "d_ssm", ssm.Has("d_ssm") && ssm.WholeNumber("d_ssm") != (long)expansion * width, "a state of part of the width");
        int vocabulary = json.WholeNumber("vocab_size", 50277), multiple = json.WholeNumber("pad_vocab_size_multiple", 8);
        long padded = multiple < 1 ? throw json.Fault("pad_vocab_size_multiple", $"is {multiple}") : ((long)vocabulary + multiple - 1) / multiple * multiple;
        double[] limits = ssm.Numbers("dt_limit") ?? [0, double.PositiveInfinity], decay = ssm.Numbers("A_init_range") ?? [1, 16];
        if (limits.Length != 2 || decay.Length != 2)
            throw ssm.Fault(limits.Length != 2 ? "dt_limit" : "A_init_range", "must be two numbers");
        var config = new Mamba2Config
        {
            VocabularySize = padded <= int.MaxValue ? (int)padded : throw json.Fault("vocab_size", $"is {vocabulary}, too large to be padded"),
            Width = width,
            Layers = isCodestral ? json.WholeNumber("n_layers") : json.WholeNumber("n_layer", 64),
            StateSize = ssm.WholeNumber("d_state", 128),
            HeadSize = ssm.WholeNumber("headdim", 64),
            Expansion = expansion,
            Groups = ssm.WholeNumber("ngroups", isCodestral ? json.WholeNumber("n_groups", 8) : 1),
            ConvolutionTaps = ssm.WholeNumber("d_conv", 4),
            ChunkSize = ssm.WholeNumber("chunk_size", 256),
            TimeStepMin = ssm.Number("dt_min", 0.001),
            TimeStepMax = ssm.Number("dt_max", 0.1),
            TimeStepFloor = ssm.Number("dt_init_floor", 1e-4),
            TimeStepLow = double.IsNaN(limits[0]) ? 0 : limits[0],
            TimeStepHigh = double.IsNaN(limits[1]) || limits[1] >= double.MaxValue ? double.PositiveInfinity : limits[1],
            DecayRange = (decay[0], decay[1]),
            ProjectionBias = ssm.Flag("bias", false),
            ConvolutionBias = ssm.Flag("conv_bias", true),
            SkipPerChannel = ssm.Flag("D_has_hdim", false),
            GatedNorm = ssm.Flag("rmsnorm", true),
            NormBeforeGate = ssm.Flag("norm_before_gate", false),
            NormPerGroup = true,
            TiedEmbeddings = json.Flag("tie_embeddings", true),
        };
        try
        {
            return config.Validated();
        }
        catch (ArgumentException fault)
        {
            throw json.Fault(isCodestral ? "dim" : "d_model", $"and what follows from it cannot be used. {fault.Message}");
        }
    }

    /// <summary>Writes a configuration.</summary>
    /// <exception cref="CheckpointException">The package has no key for something in it; the message says for what.</exception>
    public static JsonObject Write(Mamba2Config config)
    {
        RefuseToWrite(config.LearnsInitialState, "learned initial states");
        RefuseToWrite(config.Groups > 1 && !config.NormPerGroup && config.GatedNorm, "a gated norm over the whole width of several groups");
        RefuseToWrite(config.NormEpsilon != 1e-5, $"a norm's epsilon other than 1e-5, such as {config.NormEpsilon}");
        var ssm = new JsonObject
        {
            ["layer"] = "Mamba2",
            ["d_state"] = config.StateSize,
            ["d_conv"] = config.ConvolutionTaps,
            ["expand"] = config.Expansion,
            ["headdim"] = config.HeadSize,
            ["ngroups"] = config.Groups,
            ["A_init_range"] = new JsonArray(config.DecayRange.Low, config.DecayRange.High),
            ["D_has_hdim"] = config.SkipPerChannel,
            ["rmsnorm"] = config.GatedNorm,
            ["norm_before_gate"] = config.NormBeforeGate,
            ["dt_min"] = config.TimeStepMin,
            ["dt_max"] = config.TimeStepMax,
            ["dt_init_floor"] = config.TimeStepFloor,
            ["bias"] = config.ProjectionBias,
            ["conv_bias"] = config.ConvolutionBias,
            ["chunk_size"] = config.ChunkSize,
        };
        // The limits' default, [0, ∞), is left out: JSON has no infinity.
        if (config.TimeStepLow > 0 || config.TimeStepHigh < double.PositiveInfinity)
            ssm["dt_limit"] = new JsonArray(config.TimeStepLow, Math.Min(config.TimeStepHigh, double.MaxValue));
        return new JsonObject
        {
            ["d_model"] = config.Width,
            ["d_intermediate"] = 0,
            ["n_layer"] = config.Layers,
            ["vocab_size"] = config.VocabularySize,
            ["ssm_cfg"] = ssm,
            ["attn_layer_idx"] = new JsonArray(),
            ["attn_cfg"] = new JsonObject(),
            ["rms_norm"] = true,
            ["residual_in_fp32"] = true,
            ["fused_add_norm"] = true,
            ["pad_vocab_size_multiple"] = 1,
            ["tie_embeddings"] = config.TiedEmbeddings,
        };
    }

    private static void Refuse(TolerantJson json, string key, bool holds, string what)
    {
        if (holds)
            throw json.Fault(key, $"asks for {what}, which are not supported");
    }

    private static void RefuseToWrite(bool holds, string what)
    {
        if (holds)
            throw new CheckpointException($"mamba_ssm has no place for {what}; the model cannot be written for it");
    }
}
