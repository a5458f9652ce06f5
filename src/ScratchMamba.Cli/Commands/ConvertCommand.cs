using System.CommandLine;
using ScratchMamba.Checkpoints;

namespace ScratchMamba.Cli.Commands;

/// <summary>convert: writes a model in another form.</summary>
internal static class ConvertCommand
{
    private static readonly Dictionary<string, ModelFormat> Formats = new() { ["hf"] = ModelFormat.HuggingFace, ["mamba_ssm"] = ModelFormat.MambaSsm, ["gguf"] = ModelFormat.Gguf };

    private static readonly Dictionary<string, StoredType> Types = new()
    {
        ["f32"] = StoredType.F32, ["f16"] = StoredType.F16, ["bf16"] = StoredType.BF16, ["q8_0"] = StoredType.Q8_0, ["q4_0"] = StoredType.Q4_0,
    };

    public static Verb Create()
    {
        Option<string> input = CommonOptions.Text("--in", "The model: a folder or a GGUF file."), output = CommonOptions.Text("--out", "The folder to write, or the GGUF file.");
        Option<string> format = new Option<string>("--to") { Description = "hf (Hugging Face), mamba_ssm or gguf (llama.cpp).", Required = true }.AcceptOnlyFromAmong([.. Formats.Keys]);
        Option<string?> type = new Option<string?>("--type") { Description = "How weights are stored: f32, f16, bf16, and in GGUF q8_0, q4_0. Without it every value is kept." }.AcceptOnlyFromAmong([.. Types.Keys]);
        var verb = new Verb("convert", "Write a model in another form.", "scratchmamba convert --in runs/quickstart --out quickstart.gguf --to gguf --type q8_0", input, output, format, type);
        verb.SetAction(parsed =>
        {
            ModelFormat to = Formats[parsed.GetValue(format)!];
            StoredType? stored = parsed.GetValue(type) is { } name ? Types[name] : null;
            if (to != ModelFormat.Gguf && stored is { } quantized && quantized.BlockElements() > 1)
                throw new MisuseException($"--type {parsed.GetValue(type)} is for GGUF; folders hold f32, f16 or bf16.");
            Conversion.Convert(parsed.GetValue(input)!, parsed.GetValue(output)!, to, stored);
            parsed.InvocationConfiguration.Output.WriteLine($"saved in {parsed.GetValue(output)}");
            return CommandLine.Done;
        });
        return verb;
    }
}
