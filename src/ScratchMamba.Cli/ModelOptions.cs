using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli;

/// <summary>The options of every command that writes with a model: which, on what, with which cure.</summary>
internal sealed class ModelOptions
{
    private readonly Option<string> device = CommonOptions.Device(), type = CommonOptions.WeightType(), states = CommonOptions.StateType(), precision = CommonOptions.Precision();
    private readonly CureOptions cures = new();

    /// <summary>The model's folder or file.</summary>
    public Option<string> Model { get; } = CommonOptions.Model();

    /// <summary>All of the options.</summary>
    public Option[] All => [Model, .. cures.All, device, CommonOptions.Threads, type, states, precision];

    /// <summary>Opens the device.</summary>
    public Backend OpenDevice(ParseResult parsed) => Devices.Open(parsed, device);

    /// <summary>Loads the model with its cure, and what makes tokens of text for it.</summary>
    public (Mamba2Model Model, Tokenizer Tokenizer) Load(ParseResult parsed, Backend backend)
    {
        Mamba2Model model = Checkpoint.Load(parsed.GetValue(Model)!, backend, weights: CommonOptions.WeightTypeOf(parsed.GetValue(type)!, parsed.GetValue(Model)!));
        model.Precision = CommonOptions.PrecisionOf(parsed.GetValue(precision)!);
        model.StateType = CommonOptions.StateTypeOf(parsed.GetValue(states)!);
        Tokenizer tokenizer = Checkpoint.LoadTokenizer(parsed.GetValue(Model)!, model.Config);
        cures.Apply(parsed, model, tokenizer);
        return (model, tokenizer);
    }
}
