using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Training;

namespace ScratchMamba.Cli.Commands;

/// <summary>inspect: what a checkpoint holds and needs, without loading its weights.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        Option<string> model = CommonOptions.Model();
        Option<int> batch = CommonOptions.Count("--batch", 8, "The batch that the memory for training is worked out for.");
        Option<int> length = CommonOptions.Count("--length", 512, "The length that the memory for training is worked out for.");
        Command command = new Command("inspect", "Show a model's configuration, parameters, state and memory.\n\nExample:\n  scratchmamba inspect --model runs/quickstart")
            .With(model, batch, length);
        command.SetAction(parsed =>
        {
            string folder = parsed.GetValue(model)!;
            Mamba2Config config = Checkpoint.LoadConfig(folder);
            Checkpoint.CheckWeights(folder, config);
            Write(config, parsed.GetValue(batch), parsed.GetValue(length), parsed.InvocationConfiguration.Output);
            return CommandLine.Done;
        });
        return command;
    }

    private static void Write(Mamba2Config config, int batch, int length, TextWriter output)
    {
        // Nothing is computed there: parameters are counted and memory is measured without allocating it.
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
        output.WriteLine($"state        {config.StateCount:#,0} numbers a sequence, {Size(4 * config.StateCount)} in float32");
        output.WriteLine($"generation   {Size(4 * (model.ParameterCount + config.StateCount))} in float32, whatever the length");
        long labels = (long)batch * length;
        if (labels > int.MaxValue)
            throw new MisuseException($"A batch of {batch} × {length} tokens is too large.");
        var trainer = new Trainer(model, _ => new TokenBatch(new int[labels], new int[labels]), length, new LearningRateSchedule(1e-3, 1, 0, LearningRateDecay.Constant));
        backend.ResetPeak();
        trainer.Step();
        output.WriteLine($"training     {Size(backend.PeakBytes)} in float32 for {batch} × {length} tokens");
    }

    private static string NormName(Mamba2Config config) => !config.GatedNorm ? "none"
        : (config.NormBeforeGate ? "before the gate" : "after the gate") + (config.NormPerGroup && config.Groups > 1 ? ", per group" : "");

    private static string YesNo(bool value) => value ? "yes" : "no";

    private static string Size(long bytes) => bytes switch
    {
        >= 1 << 30 => $"{bytes / (double)(1 << 30):0.00} GiB",
        >= 1 << 20 => $"{bytes / (double)(1 << 20):0.0} MiB",
        _ => $"{bytes / 1024.0:0.0} KiB",
    };
}
