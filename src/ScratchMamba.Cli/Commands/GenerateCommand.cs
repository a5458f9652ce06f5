using System.CommandLine;
using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli.Commands;

/// <summary>generate: continues a text.</summary>
internal static class GenerateCommand
{
    // Each holds a state and the logits of every token; more find nothing that these do not.
    private const int MostBeams = 1024;

    public static Verb Create()
    {
        var reader = new ModelOptions();
        Option<string> prompt = CommonOptions.Text("--prompt", "The text to continue; needed unless a state is loaded.", required: false);
        Option<int> count = CommonOptions.Count("-n", 200, "How many tokens to write.", least: 0);
        var sampling = new SamplingOptions();
        var stop = new Option<string[]>("--stop") { Description = "End the text before any of these strings.", AllowMultipleArgumentsPerToken = true };
        Option<int> beams = CommonOptions.Count("--beams", 1, "Search with this many beams instead of sampling; 1 samples.");
        var ignoreEnd = new Option<bool>("--ignore-eos") { Description = "Write on after the token that ends a text." };
        Option<string> save = CommonOptions.Text("--save-state", "Write the state after the text to this file, to go on from it later.", required: false),
            load = CommonOptions.Text("--load-state", "Go on from the state in this file, as if it had never been left; --prompt, if given, comes first.", required: false);
        Option<string?> trace = CommonOptions.Trace();
        var verb = new Verb(
            "generate", "Continue a text with a model.", "scratchmamba generate --model runs/quickstart --prompt \"public static \" -n 200",
            [.. reader.All, prompt, count, .. sampling.All, stop, beams, ignoreEnd, save, load, trace]);
        verb.SetAction((parsed, cancellation) =>
        {
            Sampler sampler = sampling.Read(parsed);
            string[] stops = parsed.GetValue(stop) ?? [];
            if (stops.Contains(""))
                throw new MisuseException("--stop is empty.");
            string? text = parsed.GetValue(prompt), saved = parsed.GetValue(save), loaded = parsed.GetValue(load);
            if (text is null && loaded is null)
                throw new MisuseException("--prompt is missing: there is nothing to continue.");
            CheckPrompt(text ?? "");
            if (parsed.GetValue(beams) > 1 && sampling.All.Append(save).Append(load).Any(option => parsed.GetResult(option) is { Implicit: false }))
                throw new MisuseException("--beams searches for the most probable text; it does not go with options of sampling and states.");
            if (parsed.GetValue(beams) > MostBeams)
                throw new MisuseException($"--beams must be at most {MostBeams}; it is {parsed.GetValue(beams)}.");
            if (saved is not null)
                AtomicFile.CheckWritable(saved);
            TextWriter output = parsed.InvocationConfiguration.Output;
            using Backend opened = reader.OpenDevice(parsed);
            using var traced = new Trace(opened, parsed.GetValue(trace), output);
            (Mamba2Model model, Tokenizer tokenizer) = reader.Load(parsed, traced.Backend);
            sampler.CheckBiases(model.Config.VocabularySize);
            var shown = new ShownText(tokenizer, stops, parsed.GetValue(ignoreEnd));
            int most = parsed.GetValue(count);
            int[] tokens = text is null ? [] : tokenizer.Encode(Encoding.UTF8.GetBytes(text));
            output.Write(text);
            if (saved is null && loaded is null)
            {
                int[] beginning = [.. tokenizer.PromptStart, .. tokens];
                shown.Write(
                    parsed.GetValue(beams) > 1
                        ? new BeamSearch(model, parsed.GetValue(beams)).Continue(beginning, most, shown.End, cancellation).Tokens
                        : new Generator(model, sampler).Continue(beginning, most, cancellation),
                    output);
                output.WriteLine(shown.Finish());
            }
            else
            {
                ulong? seed = null;
                Session session;
                if (loaded is null)
                {
                    session = new Session(model);
                    session.Read([.. tokenizer.PromptStart]);
                }
                else
                {
                    (session, seed) = SessionFile.Load(loaded, model);
                    shown.Follow(session.LastTokens);
                }
                using (session)
                {
                    session.Read(tokens);
                    sampler = sampling.Read(parsed, seed);
                    shown.Write(new Generator(model, sampler).Continue(session, most, cancellation), output);
                    if (saved is not null)
                        SessionFile.Save(session, saved, sampler.Seed);
                    // Half a character stays for those who go on from here.
                    output.WriteLine(saved is null ? shown.Finish() : shown.FinishStops());
                }
            }
            cancellation.ThrowIfCancellationRequested();
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }

    private static void CheckPrompt(string prompt)
    {
        // Bytes on the command line that are not UTF-8 arrive as U+FFFD; half a surrogate pair is enumerated as that.
        if (prompt.EnumerateRunes().Any(rune => rune == Rune.ReplacementChar))
            throw new MisuseException("--prompt is not valid UTF-8 text.");
    }
}
