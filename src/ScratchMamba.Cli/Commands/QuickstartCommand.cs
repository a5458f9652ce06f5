using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Studies;
using ScratchMamba.Studies.Data;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Cli.Commands;

/// <summary>quickstart: the main job in one command, on text that is always there.</summary>
internal static class QuickstartCommand
{
    /// <summary>What the user types to run this program: it may have been built in place.</summary>
    private static string Program => Path.GetFullPath("../../..", AppContext.BaseDirectory) is var project && File.Exists(Path.Combine(project, "ScratchMamba.Cli.csproj"))
        ? $"dotnet run -c Release --project {Path.GetRelativePath(".", project)} --"
        : "scratchmamba";

    public static Verb Create()
    {
        Option<string> folder = CommonOptions.Text("--out", "The folder to save the model in.", "runs/quickstart");
        Option<int> steps = CommonOptions.Count("--steps", 600, "How many updates to make.");
        Option<ulong> seed = CommonOptions.Seed();
        Option<string> device = CommonOptions.Device();
        Option<string?> trace = CommonOptions.Trace();
        var verb = new Verb(
            "quickstart", "Train a small model on this project's own sources, compare it with counting, and let it write.", "scratchmamba quickstart", folder, steps, seed, device, CommonOptions.Threads, trace);
        verb.SetAction((parsed, cancellation) =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            RunFolder.CheckNew(parsed.GetValue(folder)!, replaces: true);
            TextCorpus corpus = TextCorpus.FromBytes(TextCorpus.ReadDefault());
            var config = new Mamba2Config { VocabularySize = 256, Layers = 2, Width = 128, StateSize = 32, HeadSize = 32 };
            using Backend opened = Devices.Open(parsed, device);
            using var traced = new Trace(opened, parsed.GetValue(trace), output);
            Backend backend = traced.Backend;
            var model = new Mamba2Model(config, backend, seed: parsed.GetValue(seed));
            output.WriteLine($"Learning to write C# from {corpus.Training.Length:#,0} bytes of this project's own sources, with {model.ParameterCount:#,0} parameters.");
            int count = parsed.GetValue(steps);
            var tokenizer = new ByteTokenizer();
            using TrainingData data = TrainingData.Of(corpus, tokenizer);
            var run = new TextTraining
            {
                Model = model,
                Data = data,
                Tokenizer = tokenizer,
                Folder = parsed.GetValue(folder)!,
                Replaces = true,
                Batch = 8,
                Length = 256,
                Seed = parsed.GetValue(seed),
                Schedule = new LearningRateSchedule(4e-3, count, count / 10, LearningRateDecay.Cosine),
            };
            Evaluation result = run.Run(output, cancellation);

            var counted = new NGramBaseline(tokenizer.Encode(corpus.Training), tokenizer.VocabularySize);
            (double unigram, double bigram) = counted.Evaluate(tokenizer.Encode(corpus.HeldOut));
            output.WriteLine();
            output.WriteLine("Held-out loss, nats per byte (less is better):");
            output.WriteLine($"  counting bytes   {unigram:0.0000}");
            output.WriteLine($"  counting pairs   {bigram:0.0000}");
            output.WriteLine($"  this model       {result.Loss:0.0000}");
            output.WriteLine();
            const string Prompt = "    public static ";
            output.WriteLine("It writes:");
            var sampler = new Sampler { Temperature = 0.7, Seed = parsed.GetValue(seed) };
            output.WriteLine(Prompt + ShownText.After(Prompt, tokenizer, tokens => new Generator(model, sampler).Continue(tokens, 300, cancellation)));
            cancellation.ThrowIfCancellationRequested();
            output.WriteLine();
            Study(run, corpus, parsed.GetValue(device)!, output, cancellation);
            output.WriteLine();
            output.WriteLine($"Saved in {run.Folder}. Try next:");
            output.WriteLine($"  {Program} generate --model {run.Folder} --prompt \"/// <summary>\"");
            output.WriteLine($"  {Program} inspect --model {run.Folder}");
            output.WriteLine($"  {Program} train --data YOUR-TEXT --out runs/mine --steps 2000");
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }

    /// <summary>What the model does beyond its training length: seconds, on text that it has not seen.</summary>
    private static void Study(TextTraining run, TextCorpus corpus, string device, TextWriter output, CancellationToken cancellation)
    {
        var heldOut = new TextDocuments("held-out sources", corpus.HeldOut, new ByteTokenizer());
        StudyOptions options = StudyOptions.Tiny with { Data = heldOut, Length = run.Length, Prompts = 4, LengthFactor = 16, StreamLength = 0 };
        string folder = Path.Combine(run.Folder, "study");
        output.WriteLine($"Beyond the {run.Length} tokens that it was trained on:");
        StudyCommand.Run(
            ["collapse"], options, Subject.Given(run.Folder, heldOut, run.Length), folder, $"scratchmamba study collapse --model {run.Folder} --length {run.Length} --data YOUR-TEXT", device, output, cancellation, isShort: true);
    }
}
