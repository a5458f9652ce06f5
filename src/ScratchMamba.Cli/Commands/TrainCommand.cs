using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Cli.Commands;

/// <summary>train: trains a model on text.</summary>
internal static class TrainCommand
{
    public static Verb Create()
    {
        Option<string[]> data = CommonOptions.Data();
        data.Required = false;
        Option<string> folder = CommonOptions.Text("--out", "The folder of the run: its checkpoints, each of them a model, and all that is known of it.");
        var tokenizer = new Option<string?>("--tokenizer") { Description = "A tokenizer.json, or a folder that has one; without it, tokens are bytes." };
        var config = new Option<string?>("--config") { Description = "A config.json with the model's sizes, instead of the options for them." };
        Option<int> layers = CommonOptions.Count("--layers", 4, "The number of blocks."), width = CommonOptions.Count("--width", 128, "The width of the residual stream."),
            state = CommonOptions.Count("--state", 64, "The size of the state of a channel."), head = CommonOptions.Count("--head", 32, "The channels of a head.");
        Option<int> steps = CommonOptions.Count("--steps", 1000, "How many updates to make."), batch = CommonOptions.Count("--batch", 8, "Rows of a batch."),
            length = CommonOptions.Count("--length", 256, "Tokens of a row."), accumulate = CommonOptions.Count("--accumulate", 1, "How many batches make one update."),
            keep = CommonOptions.Count("--keep", 3, "How many checkpoints to keep, beside the one with the smallest held-out loss."),
            evaluateEvery = CommonOptions.Count("--eval-every", 0, "Measure the held-out loss after every so many steps; 0 for at the end only.", least: 0);
        var saveEvery = new Option<SaveInterval>("--save-every")
        {
            Description = "Save after every so many steps (100), or after so much time (90s, 10m, 2h); by default at the end only.",
            CustomParser = result =>
            {
                if (!SaveInterval.TryParse(result.Tokens[0].Value, out SaveInterval interval))
                    result.AddError($"--save-every must be a number of steps, or a time such as 90s, 10m or 2h; it is '{result.Tokens[0].Value}'.");
                return interval;
            },
        };
        var resume = new Option<bool>("--resume") { Description = "Go on where the training in --out was stopped, exactly as if it had not been." };
        var onNonFinite = new Option<string>("--on-nonfinite") { Description = "When the loss or a gradient is not finite: stop, or skip the batch.", DefaultValueFactory = _ => "stop" }
            .AcceptOnlyFromAmong("stop", "skip");
        var warmUp = new Option<int?>("--warm-up")
        {
            Description = "Steps over which the learning rate rises; a tenth of all by default.",
            CustomParser = result => CommonOptions.Parse<int>("--warm-up", result, value => value >= 0, $"a whole number from 0 to {int.MaxValue}"),
        };
        Option<double> rate = CommonOptions.Number("--lr", 2e-3, "The largest learning rate.", value => value > 0, "a positive number"),
            clip = CommonOptions.Number("--clip", 1, "The largest norm of the gradients; above it they are scaled down.", value => value > 0, "a positive number"),
            decay = CommonOptions.Number("--weight-decay", 0.1, "The decay of weight matrices per unit of learning rate.", value => value >= 0, "0 or a positive number");
        Option<string> schedule = new Option<string>("--schedule") { Description = "What follows the warm-up: constant, cosine or wsd (stable, then a linear decay over the last tenth).", DefaultValueFactory = _ => "cosine" }
            .AcceptOnlyFromAmong("constant", "cosine", "wsd");
        Option<ulong> seed = CommonOptions.Seed();
        Option<string> device = CommonOptions.Device(), precision = CommonOptions.Precision();

        Option<string?> trace = CommonOptions.Trace();
        Option<bool> lockstep = CommonOptions.Lockstep();
        var verb = new Verb(
            "train", "Train a model on text, byte by byte or with a tokenizer.", "scratchmamba train --data book.txt --out runs/book --layers 4 --width 128 --steps 2000",
            data, folder, tokenizer, config, layers, width, state, head, steps, batch, length, accumulate, rate, warmUp, schedule, decay, clip, seed, resume, saveEvery, keep, evaluateEvery, onNonFinite, device, CommonOptions.Threads, precision, trace, lockstep);
        verb.SetAction((parsed, cancellation) =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            string target = parsed.GetValue(folder)!;
            bool resumes = parsed.GetValue(resume);
            if (resumes)
                parsed = RunArguments.Merged(parsed, verb, target);
            else
                RunFolder.CheckNew(target);
            if (parsed.GetValue(data) is not { Length: > 0 } files)
                throw new MisuseException("--data names what to train on; it is left out only where --resume goes on with a training.");
            Tokenizer tokens = resumes ? Checkpoint.LoadTokenizer(target) : TokenizerFor(parsed.GetValue(tokenizer));
            Mamba2Config sizes;
            if (resumes)
            {
                sizes = Checkpoint.LoadConfig(target);
            }
            else if (parsed.GetValue(config) is { } file)
            {
                foreach (Option<int> option in new[] { layers, width, state, head })
                {
                    if (parsed.GetResult(option) is { Implicit: false })
                        throw new MisuseException($"{option.Name} and --config both give the model's sizes; use one of them.");
                }
                sizes = Checkpoint.LoadConfig(file);
                if (sizes.VocabularySize < tokens.VocabularySize)
                    throw new MisuseException($"{file} has a vocabulary of {sizes.VocabularySize}; the text's tokens need {tokens.VocabularySize}.");
            }
            else
            {
                sizes = new Mamba2Config
                {
                    // Rounded up, so that rows of the embedding fill whole vectors.
                    VocabularySize = (tokens.VocabularySize + 15) / 16 * 16,
                    Layers = parsed.GetValue(layers),
                    Width = parsed.GetValue(width),
                    StateSize = parsed.GetValue(state),
                    HeadSize = parsed.GetValue(head),
                };
            }
            Check(sizes);
            Memory.Require(sizes, parsed.GetValue(batch), parsed.GetValue(length));
            int count = parsed.GetValue(steps);
            TextCorpus corpus = TextCorpus.FromBytes(TextCorpus.ReadFiles(files));
            using Backend opened = Devices.Open(parsed, device, parsed.GetValue(lockstep));
            using var traced = new Trace(opened, parsed.GetValue(trace), output);
            Backend backend = traced.Backend;
            var model = new Mamba2Model(sizes, backend, seed: parsed.GetValue(seed)) { Precision = CommonOptions.PrecisionOf(parsed.GetValue(precision)!) };
            output.WriteLine($"data: {corpus.Training.Length:#,0} bytes to train on, {corpus.HeldOut.Length:#,0} held out");
            output.WriteLine($"model: {model.ParameterCount:#,0} parameters, {sizes.Layers} layers of width {sizes.Width}, state {sizes.StateSize}");
            var run = new TextTraining
            {
                Model = model,
                Corpus = corpus,
                Tokenizer = tokens,
                Folder = target,
                Started = () => RunArguments.Save(parsed, verb, target),
                Batch = parsed.GetValue(batch),
                Length = parsed.GetValue(length),
                Accumulation = parsed.GetValue(accumulate),
                Seed = parsed.GetValue(seed),
                SaveEvery = parsed.GetValue(saveEvery),
                EvaluateEvery = parsed.GetValue(evaluateEvery),
                Resumes = resumes,
                Keep = parsed.GetValue(keep),
                OnNonFinite = parsed.GetValue(onNonFinite) == "skip" ? NonFinite.Skip : NonFinite.Stop,
                Optimizer = new AdamWSettings(WeightDecay: parsed.GetValue(decay), ClipNorm: parsed.GetValue(clip)),
                Schedule = new LearningRateSchedule(
                    parsed.GetValue(rate), count, parsed.GetValue(warmUp) ?? count / 10, ScheduleOf(parsed.GetValue(schedule)!)),
            };
            Evaluation result = run.Run(output, cancellation);
            output.WriteLine(tokens is ByteTokenizer
                ? $"held-out loss {result.Loss:0.0000} nats per byte ({result.BitsPerByte(result.Tokens):0.000} bits)"
                : $"held-out loss {result.Loss:0.0000} nats per token ({result.BitsPerByte(run.HeldOutBytes):0.000} bits per byte)");
            output.WriteLine($"saved in {run.Folder}");
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }

    private static Tokenizer TokenizerFor(string? given)
    {
        if (given is null)
            return new ByteTokenizer();
        return Checkpoint.LoadTokenizer(given) is BpeTokenizer tokenizer ? tokenizer : throw new MisuseException($"--tokenizer {given} has no tokenizer.json.");
    }

    private static void Check(Mamba2Config sizes)
    {
        try
        {
            sizes.Validated();
        }
        catch (ArgumentException fault)
        {
            throw new MisuseException(fault.Message);
        }
    }

    private static LearningRateDecay ScheduleOf(string name) => name switch
    {
        "constant" => LearningRateDecay.Constant,
        "cosine" => LearningRateDecay.Cosine,
        _ => LearningRateDecay.WarmupStableDecay,
    };
}
