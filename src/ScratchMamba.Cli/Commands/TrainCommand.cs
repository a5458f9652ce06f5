using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Cli.Commands;

/// <summary>train: trains a model on text.</summary>
internal static class TrainCommand
{
    // A device that is lost again and again before anything was saved will not come back.
    private const int MostLosses = 4;

    public static Verb Create()
    {
        Option<string[]> data = CommonOptions.Data();
        data.Required = false;
        data.Description = "Files or folders of UTF-8 text, which is held in memory; or files of tokens, which are not: see 'data prepare'.";
        var weights = new Option<double[]>("--weights") { Description = "How much of each file of tokens, in proportion; by default as much as there is.", AllowMultipleArgumentsPerToken = true };
        var join = new Option<bool>("--join-documents") { Description = "Read on from one document of a file of tokens into the next; otherwise nothing crosses." };
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
        Option<double> spike = CommonOptions.Number(
            "--on-spike", 0, "Go back to the last checkpoint, and past the batches since, when the loss is this many deviations above its mean; 0 for never.", value => value >= 0, "0 or a positive number");
        var begin = new InitialStateOptions();
        var recipe = new RecipeOptions();
        var sample = new Option<string?>("--sample") { Description = "What the model is to continue whenever the held-out loss is measured; the beginning of the held-out text by default." };
        Option<ulong> seed = CommonOptions.Seed();
        Option<string> device = CommonOptions.Device(), precision = CommonOptions.Precision();

        Option<string?> trace = CommonOptions.Trace();
        Option<bool> lockstep = CommonOptions.Lockstep();
        var verb = new Verb(
            "train", "Train a model on text, byte by byte or with a tokenizer.", "scratchmamba train --data book.txt --out runs/book --layers 4 --width 128 --steps 2000",
            data, weights, join, folder, tokenizer, config, layers, width, state, head, steps, batch, length, accumulate, seed, resume, saveEvery, keep, evaluateEvery, sample, onNonFinite, spike, device, CommonOptions.Threads, precision, trace, lockstep);
        foreach (Option option in new[] { recipe.All, begin.All }.SelectMany(options => options))
            verb.Options.Add(option);
        verb.SetAction((parsed, cancellation) =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            string target = parsed.GetValue(folder)!;
            bool resumes = parsed.GetValue(resume);
            if (resumes)
                parsed = RunArguments.Merged(parsed, verb, target);
            else
                RunFolder.CheckNew(target);
            if (resumes && RunFolder.Newest(target) is null)
            {
                output.WriteLine("nothing was saved yet; beginning with the first step");
                resumes = false;
            }
            if (parsed.GetValue(data) is not { Length: > 0 } files)
                throw new MisuseException("--data names what to train on; it is left out only where --resume goes on with a training.");
            string? lastNewest = null;
            for (int losses = 0; ;)
            {
                try
                {
                    Train(parsed, files, resumes, output, cancellation);
                    return Task.FromResult(CommandLine.Done);
                }
                catch (DeviceLostException lost) when (RunFolder.Newest(target) is { } newest && (losses = newest == lastNewest ? losses + 1 : 1) < MostLosses)
                {
                    lastNewest = newest;
                    output.WriteLine($"{lost.Message} Going on from {newest}.");
                    resumes = true;
                }
            }
        });
        MemoryNeeded = parsed => Needed(parsed, Subject(parsed, resumes: false).Sizes, Memory.FreeOnHost()).Bytes;
        return verb;

        void Train(ParseResult parsed, string[] files, bool resumes, TextWriter output, CancellationToken cancellation)
        {
            string target = parsed.GetValue(folder)!;
            (Tokenizer tokens, Mamba2Config sizes) = Subject(parsed, resumes);
            int count = parsed.GetValue(steps);
            using TrainingData source = TrainingData.Open(files, parsed.GetValue(weights), tokens);
            using Backend opened = Devices.Open(parsed, device, parsed.GetValue(lockstep));
            using var traced = new Trace(opened, parsed.GetValue(trace), output);
            // Looks at every number that is made, but only of a step that went wrong.
            var backend = new FiniteBackend(traced.Backend) { IsChecking = false };
            (StepShape shape, long needed) = Needed(parsed, sizes, Memory.Available(opened));
            // What goes on with adapters needs what they adapt; anything else is in the checkpoint.
            Mamba2Model model = recipe.Model(parsed, sizes, backend, parsed.GetValue(seed), reads: !resumes || recipe.Adapts(parsed));
            (model.Precision, model.RecomputedLayers) = (CommonOptions.PrecisionOf(parsed.GetValue(precision)!), shape.Recomputed);
            output.WriteLine($"data: {source.Description}");
            output.WriteLine($"model: {model.ParameterCount:#,0} parameters, {sizes.Layers} layers of width {sizes.Width}, state {sizes.StateSize}");
            output.WriteLine($"memory: {Memory.Size(needed)} for parameters, moments, gradients and activations{(Memory.IsOnHost(opened) ? $"; about {Memory.Size(Memory.OfProcess(needed))} with the program" : "")}");
            if (recipe.Recomputed(parsed) is null && shape.Recomputed > 0)
                output.WriteLine($"recomputed: {shape.Recomputed} of {sizes.Layers} layers for their gradients, because with all of them kept it would not fit; --recompute says otherwise");
            InitialStates? begun = begin.Of(parsed, model, parsed.GetValue(seed), parsed.GetValue(accumulate));
            using var carried = begun as IDisposable;
            var run = new TextTraining
            {
                Model = model,
                Data = source,
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
                InitialStates = begun,
                Segments = begin.SegmentsOf(parsed),
                Through = begin.ThroughOf(parsed),
                JoinsDocuments = parsed.GetValue(join),
                Spike = parsed.GetValue(spike) is > 0 and double factor ? factor : null,
                Keep = parsed.GetValue(keep),
                OnNonFinite = parsed.GetValue(onNonFinite) == "skip" ? NonFinite.Skip : NonFinite.Stop,
                Optimizer = recipe.Settings(parsed),
                Schedule = recipe.Schedule(parsed, count),
                Average = recipe.Average(parsed),
                EvaluatesAverage = recipe.EvaluatesAverage(parsed),
                Prompt = parsed.GetValue(sample),
                EstimatesTime = true,
            };
            if (recipe.Finds(parsed))
            {
                run.FindRate(output, cancellation);
                return;
            }
            Evaluation result = run.Run(output, cancellation);
            output.WriteLine(tokens is ByteTokenizer
                ? $"held-out loss {result.Loss:0.0000} nats per byte ({result.BitsPerByte(result.Tokens):0.000} bits)"
                : $"held-out loss {result.Loss:0.0000} nats per token ({result.BitsPerByte(source.HeldOutBytes):0.000} bits per byte)");
            output.WriteLine($"saved in {run.Folder}");
        }

        // How a training fits, and the memory that it takes then; throws where it does not.
        (StepShape Shape, long Bytes) Needed(ParseResult parsed, Mamba2Config sizes, long available) => Memory.Require(
            backend =>
            {
                Mamba2Model model = recipe.Model(parsed, sizes, backend, seed: null, reads: false);
                model.Precision = CommonOptions.PrecisionOf(parsed.GetValue(precision)!);
                return model;
            },
            sizes, new StepShape(parsed.GetValue(batch), parsed.GetValue(length), parsed.GetValue(accumulate)), recipe.Recomputed(parsed), recipe.Average(parsed) > 0, available);

        (Tokenizer Tokens, Mamba2Config Sizes) Subject(ParseResult parsed, bool resumes)
        {
            string? init = recipe.Init(parsed);
            if (init is not null && new Option[] { tokenizer, config, layers, width, state, head }.FirstOrDefault(option => parsed.GetResult(option) is { Implicit: false }) is { } other)
                throw new MisuseException($"{other.Name} and --init both say what the model is; use one of them.");
            Tokenizer tokens = resumes ? Checkpoint.LoadTokenizer(parsed.GetValue(folder)!) : init is not null ? Checkpoint.LoadTokenizer(init, Checkpoint.LoadConfig(init)) : TokenizerFor(parsed.GetValue(tokenizer));
            Mamba2Config sizes;
            if (resumes)
            {
                sizes = Checkpoint.LoadConfig(parsed.GetValue(folder)!);
            }
            else if (init is not null)
            {
                sizes = Checkpoint.LoadConfig(init);
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
            return (tokens, sizes);
        }
    }

    /// <summary>The bytes of memory that a training takes that a command line asks for; throws where its options are wrong, or there is not as much.</summary>
    public static Func<ParseResult, long> MemoryNeeded { get; private set; } = null!;

    /// <summary>The tokenizer that was named; of bytes where none was.</summary>
    public static Tokenizer TokenizerFor(string? given)
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
}
