using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Studies;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Reports;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli.Commands;

/// <summary>study: what models do beyond their training length, and what helps.</summary>
internal static class StudyCommand
{
    private const string All = "all";

    public static Verb Create()
    {
        var names = new Argument<string[]>("studies") { Description = $"Which studies: {string.Join(", ", StudyRun.Names)}, or {All}.", Arity = ArgumentArity.OneOrMore };
        names.AcceptOnlyFromAmong([All, .. StudyRun.Names]);
        Option<string> preset = new Option<string>("--preset") { Description = "The extent: tiny (minutes on two cores), small (an hour, or minutes on a graphics card) or gpu (a large graphics card).", DefaultValueFactory = _ => "tiny" }
            .AcceptOnlyFromAmong("tiny", "small", "gpu");
        Option<string> folder = CommonOptions.Text("--out", "The folder for the report. Finished work is kept there, and not done again.", "runs/studies");
        var model = new Option<string?>("--model") { Description = "Study this checkpoint instead of training models." };
        Option<string[]> data = CommonOptions.Data();
        data.Required = false;
        data.Description = "Files or folders of UTF-8 text to learn from and to read instead of streaming recall; the lines among which passkey-unseen hides records.";
        var vocabulary = new Option<string?>("--tokenizer") { Description = "A tokenizer.json, or a folder that has one: text is read in its tokens, passkeys too. Without it, in bytes." };
        Option<int?> length = Optional("--length", "The training length, in tokens."), steps = Optional("--steps", "How many updates to make."), state = Optional("--state", "N: the size of the state of a channel."),
            width = Optional("--width", "The width of the residual stream."), layers = Optional("--layers", "The number of blocks."), batch = Optional("--tokens", "Tokens of a batch."),
            seeds = Optional("--seeds", "How many models are trained alike."), prompts = Optional("--prompts", "How many prompts each model reads."),
            early = new("--early") { Description = "Updates on short rows with which the models of the study capacity begin; 0 for none. The preset says, if it is left out.", CustomParser = result => CommonOptions.Parse<int>("--early", result, value => value >= 0, "a whole number, or 0") },
            capacitySeeds = Optional("--capacity-seeds", "How many models the study capacity trains alike."), workers = Optional("--workers", "How many trainings and measurements run side by side."),
            factor = Optional("--factor", "How many times the training length the prompts are long."), stream = Optional("--stream", "Tokens of the prompts that are streamed.");
        Option<long?> capacityTokens = new("--capacity-tokens")
        {
            Description = "Tokens that each model of the study capacity learns from. The preset says, if it is left out.",
            CustomParser = result => CommonOptions.Parse<long>("--capacity-tokens", result, value => value > 0, "a whole number from 1"),
        };
        Option<int[]> states = List("--states", "The state sizes of the study capacity, such as 4,8,16."), lengths = List("--lengths", "The training lengths of the study capacity, such as 16,32,64.");
        Option<double?> rate = new("--rate") { Description = "The largest learning rate. The preset says, if it is left out.", CustomParser = result => CommonOptions.Parse<double>("--rate", result, value => value is > 0 and < 1, "a number between 0 and 1") };
        Option<ulong> seed = CommonOptions.Parsed("--seed", 1UL, "The first seed.", _ => true, $"a whole number from 0 to {ulong.MaxValue}");
        var cures = new Option<Cure[]>("--cure")
        {
            Description = "Study this cure instead of the usual ones; may be given several times. 'evaluate --help' says how cures are written.",
            CustomParser = result =>
            {
                try
                {
                    return [.. result.Tokens.Select(token => Cure.Parse(token.Value))];
                }
                catch (FormatException fault)
                {
                    result.AddError(fault.Message);
                    return [];
                }
            },
        };
        Option<string> device = CommonOptions.Device(), precision = CommonOptions.Precision();
        var verb = new Verb(
            "study", "Study what models do beyond their training length, and what helps; the paper's experiments from scratch.", "scratchmamba study all --preset tiny --out runs/studies",
            preset, folder, model, data, vocabulary, length, steps, state, width, layers, batch, rate, early, seeds, prompts, factor, stream, states, lengths, capacityTokens, capacitySeeds, cures, workers, seed, device, precision);
        verb.Arguments.Add(names);
        verb.SetAction((parsed, cancellation) =>
        {
            StudyOptions options = parsed.GetValue(preset) switch { "gpu" => StudyOptions.Gpu, "small" => StudyOptions.Small, _ => StudyOptions.Tiny };
            options = options with
            {
                Length = parsed.GetValue(length) ?? options.Length,
                Steps = parsed.GetValue(steps) ?? options.Steps,
                StateSize = parsed.GetValue(state) ?? options.StateSize,
                Width = parsed.GetValue(width) ?? options.Width,
                Layers = parsed.GetValue(layers) ?? options.Layers,
                TokensPerStep = parsed.GetValue(batch) ?? options.TokensPerStep,
                Seeds = parsed.GetValue(seeds) ?? options.Seeds,
                Prompts = parsed.GetValue(prompts) ?? options.Prompts,
                LengthFactor = parsed.GetValue(factor) ?? options.LengthFactor,
                StreamLength = parsed.GetValue(stream) ?? options.StreamLength,
                Rate = parsed.GetValue(rate) ?? options.Rate,
                CapacityRate = parsed.GetValue(rate) ?? options.CapacityRate,
                EarlySteps = parsed.GetValue(early) ?? options.EarlySteps,
                CapacityStates = parsed.GetValue(states) is { Length: > 0 } sizes ? sizes : options.CapacityStates,
                CapacityLengths = parsed.GetValue(lengths) is { Length: > 0 } trained ? trained : options.CapacityLengths,
                CapacityTokens = parsed.GetValue(capacityTokens) ?? options.CapacityTokens,
                CapacitySeeds = parsed.GetValue(capacitySeeds) ?? options.CapacitySeeds,
                PasskeySeeds = parsed.GetValue(seeds) ?? options.PasskeySeeds,
                UnseenSeeds = parsed.GetValue(seeds) ?? options.UnseenSeeds,
                PasskeyModels = (parsed.GetValue(width) ?? parsed.GetValue(layers) ?? parsed.GetValue(state)) is null
                    ? options.PasskeyModels : [(parsed.GetValue(width) ?? options.Width, parsed.GetValue(layers) ?? options.Layers, parsed.GetValue(state) ?? options.StateSize)],
                UnseenModels = (parsed.GetValue(width) ?? parsed.GetValue(layers) ?? parsed.GetValue(state)) is null
                    ? options.UnseenModels : [(parsed.GetValue(width) ?? options.Width, parsed.GetValue(layers) ?? options.Layers, parsed.GetValue(state) ?? options.StateSize)],
                Cures = parsed.GetValue(cures) is { Length: > 0 } some ? some : null,
                FirstSeed = parsed.GetValue(seed),
                Precision = CommonOptions.PrecisionOf(parsed.GetValue(precision)!),
            };
            string[] chosen = parsed.GetValue(names)!;
            string? given = parsed.GetValue(model);
            if (given is not null && parsed.GetValue(length) is null)
                throw new MisuseException("--model needs --length too: the length that the model was trained on.");
            if (given is not null && parsed.GetValue(vocabulary) is not null)
                throw new MisuseException("--model brings its own tokenizer; leave --tokenizer out.");
            Tokenizer tokenizer = given is not null ? Checkpoint.LoadTokenizer(given, Checkpoint.LoadConfig(given)) : TrainCommand.TokenizerFor(parsed.GetValue(vocabulary));
            bool readsProse = chosen.Any(study => study is All or "passkey-unseen");
            if (parsed.GetValue(data) is { Length: > 0 } paths)
            {
                string name = string.Join(" ", paths.Select(path => Path.GetFileName(Path.TrimEndingDirectorySeparator(path))));
                byte[] text = TextCorpus.ReadFiles(paths);
                options = options with { Data = new TextDocuments(name, text, tokenizer), Prose = readsProse ? new Prose(name, text, tokenizer) : null };
            }
            else if (readsProse && tokenizer is BpeTokenizer)
            {
                options = options with { Prose = Prose.Embed(tokenizer) };
            }
            options = options with { Tokenizer = tokenizer };
            Subject subject = given is null ? Subject.Trained(options) : Subject.Given(given, options.Data, options.Length, tokenizer);
            string command = "scratchmamba study {0}" + string.Concat(parsed.Tokens.Skip(1).Select(token => token.Value).Where(word => !chosen.Contains(word)).Select(word => $" {word}"));
            // Of a model that is there, all is what can be done without training.
            IReadOnlyList<string> all = subject.Models[0].Job is null ? [.. StudyRun.Names.Except(StudyRun.Training)] : StudyRun.Names;
            Run(chosen.Contains(All) ? all : chosen, options, subject, parsed.GetValue(folder)!, command, parsed.GetValue(device)!, parsed.InvocationConfiguration.Output, cancellation, parsed.GetValue(workers));
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }

    /// <summary>Runs studies, showing how they go, and says what was found and where the report is.</summary>
    public static void Run(
        IReadOnlyList<string> names, StudyOptions options, Subject subject, string folder, string command, string device, TextWriter output, CancellationToken cancellation, int? workers = null, bool isShort = false)
    {
        bool isCpu = device == "cpu";
        var display = new StudyDisplay(output, isShort);
        // On a graphics card one model at a time; on processors one on each core.
        var scheduler = new Scheduler(threads => isCpu ? new Tensors.Cpu.CpuBackend(threads) : Devices.Open(device), workers ?? (isCpu ? Environment.ProcessorCount : 1), Environment.ProcessorCount, display.Report);
        (IReadOnlyList<StudyResult> results, string report) = StudyRun.Run(names, options, subject, folder, command, scheduler, cancellation);
        display.Finish();
        foreach (Finding finding in results.SelectMany(result => result.Findings))
        {
            string verdict = finding.Verdict switch { Verdict.Holds => "yes", Verdict.Fails => "no", _ => "not decided" };
            output.WriteLine($"{finding.Experiment,-4} {verdict,-12} {finding.Claim} {finding.Found}");
        }
        output.WriteLine($"report: {report}");
    }

    private static Option<int[]> List(string name, string description) => new(name)
    {
        Description = description + " The preset says, if it is left out.",
        CustomParser = result =>
        {
            string text = result.Tokens.Count > 0 ? result.Tokens[^1].Value : "";
            var numbers = new List<int>();
            foreach (string part in text.Split(','))
            {
                if (!int.TryParse(part, out int number) || number <= 0)
                {
                    result.AddError($"{name} takes whole numbers from 1, separated by commas; not '{text}'.");
                    return [];
                }
                numbers.Add(number);
            }
            return [.. numbers.Distinct().Order()];
        },
    };

    private static Option<int?> Optional(string name, string description) => new(name)
    {
        Description = description + " The preset says, if it is left out.",
        CustomParser = result => CommonOptions.Parse<int>(name, result, value => value > 0, $"a whole number from 1 to {int.MaxValue}"),
    };
}
