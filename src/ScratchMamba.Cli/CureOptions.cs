using System.CommandLine;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli;

/// <summary>--cure and what it needs: the options of every command that reads with a model.</summary>
internal sealed class CureOptions
{
    /// <summary>Rows of text that norms and thresholds are averaged over, where there is as much.</summary>
    private const int CalibrationRows = 16;

    private readonly Option<Cure> cure = new("--cure")
    {
        Description = "Make the model forget: settings separated by commas, such as retention=0.99,window=64. M, C and S may be given for each layer: 1/0.99/0.98.\n"
            + string.Join('\n', CureText.Settings.Select(setting => $"{setting.Name}={setting.Form}: {setting.Meaning}")),
        DefaultValueFactory = _ => Cure.None,
        CustomParser = result =>
        {
            try
            {
                return Cure.Parse(result.Tokens[0].Value);
            }
            catch (FormatException fault)
            {
                result.AddError(fault.Message);
                return Cure.None;
            }
        },
    };

    private readonly Option<string[]> data = new("--calibrate") { Description = "Files or folders of text that the model reads well, for cures that measure it.", AllowMultipleArgumentsPerToken = true };

    private readonly Option<int> length = CommonOptions.Count("--calibrate-length", 256, "The length that the model was trained on, in tokens, for cures that measure it.");

    /// <summary>The options, to be added to a verb.</summary>
    public Option[] All => [cure, data, length];

    /// <summary>Gives a model the cure that was asked for.</summary>
    public void Apply(ParseResult parsed, Mamba2Model model, Tokenizer tokenizer)
    {
        Cure given = parsed.GetValue(cure)!;
        if (given.NeedsCalibration)
        {
            if (parsed.GetValue(data) is not { Length: > 0 } files)
                throw new MisuseException($"--cure {given} measures the model on text: name some that it reads well with --calibrate.");
            int columns = parsed.GetValue(length);
            int[] tokens = tokenizer.Encode(TextCorpus.ReadFiles(files));
            int rows = Math.Min(CalibrationRows, tokens.Length / columns);
            if (rows == 0)
                throw new InvalidOperationException($"The text to calibrate with has {tokens.Length} tokens; --calibrate-length asks for {columns}.");
            using var scope = new Scope();
            given = given.Calibrated(model, model.Backend.Tensor([rows, columns], tokens.AsSpan(0, rows * columns)));
        }
        model.Cure = given;
    }
}
