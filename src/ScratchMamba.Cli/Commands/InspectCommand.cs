using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors.Backends;

namespace ScratchMamba.Cli.Commands;

/// <summary>inspect: what a checkpoint holds and needs, without loading its weights.</summary>
internal static class InspectCommand
{
    public static Verb Create()
    {
        Option<string> model = CommonOptions.Model();
        Option<int> batch = CommonOptions.Count("--batch", 8, "The batch that the memory for training is worked out for.");
        Option<int> length = CommonOptions.Count("--length", 512, "The length that the memory for training is worked out for.");
        var verb = new Verb("inspect", "Show a model's configuration, parameters, state and memory.", "scratchmamba inspect --model runs/quickstart", model, batch, length);
        verb.SetAction(parsed =>
        {
            string folder = parsed.GetValue(model)!;
            Mamba2Config config = Checkpoint.LoadConfig(folder);
            Checkpoint.CheckWeights(folder, config);
            Write(config, parsed.GetValue(batch), parsed.GetValue(length), parsed.InvocationConfiguration.Output);
            return CommandLine.Done;
        });
        return verb;
    }

    private static void Write(Mamba2Config config, int batch, int length, TextWriter output)
    {
        // Nothing is computed or allocated there.
        using var backend = new NullBackend();
        var model = new Mamba2Model(config, backend, seed: null);
        output.WriteLine($"layers {config.Layers} · width {config.Width} · inner width {config.InnerWidth} · heads {config.Heads} × {config.HeadSize} · state {config.StateSize} · groups {config.Groups}");
        output.WriteLine($"vocabulary {config.VocabularySize} · taps {config.ConvolutionTaps} · chunk {config.ChunkSize} · epsilon {config.NormEpsilon} · time step limits [{config.TimeStepLow}, {config.TimeStepHigh}]");
        output.WriteLine($"tied embeddings {YesNo(config.TiedEmbeddings)} · projection bias {YesNo(config.ProjectionBias)} · convolution bias {YesNo(config.ConvolutionBias)} · "
            + $"D per {(config.SkipPerChannel ? "channel" : "head")} · gated norm {NormName(config)} · learned initial state {YesNo(config.LearnsInitialState)}");
        output.WriteLine();
        int width = model.Parameters().Max(entry => entry.Path.Length);
        foreach ((string path, Parameter parameter) in model.Parameters())
            output.WriteLine($"{path.PadRight(width)}  {parameter.Shape,-16}  {parameter.Count,14:#,0}");
        output.WriteLine();
        output.WriteLine($"parameters   {model.ParameterCount:#,0}");
        output.WriteLine($"state        {config.StateCount:#,0} numbers a sequence, {Memory.Size(4 * config.StateCount)} in float32");
        output.WriteLine($"generation   {Memory.Size(4 * (model.ParameterCount + config.StateCount))} in float32, whatever the length");
        output.WriteLine($"training     {Memory.Size(Memory.ForTraining(backend => new Mamba2Model(config, backend, seed: null), new StepShape(batch, length)))} in float32 for {batch} × {length} tokens");
    }

    private static string NormName(Mamba2Config config) => !config.GatedNorm ? "none"
        : (config.NormBeforeGate ? "before the gate" : "after the gate") + (config.NormPerGroup && config.Groups > 1 ? ", per group" : "");

    private static string YesNo(bool value) => value ? "yes" : "no";
}
