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
    public static Verb Create()
    {
        Option<string> model = CommonOptions.Model(), device = CommonOptions.Device();
        Option<string> prompt = CommonOptions.Text("--prompt", "The text to continue.");
        Option<int> count = CommonOptions.Count("-n", 200, "How many tokens to write.", least: 0);
        var sampling = new SamplingOptions();
        var stop = new Option<string[]>("--stop") { Description = "End the text before any of these strings.", AllowMultipleArgumentsPerToken = true };
        Option<int> beams = CommonOptions.Count("--beams", 1, "Search with this many beams instead of sampling; 1 samples.");
        var ignoreEnd = new Option<bool>("--ignore-eos") { Description = "Write on after the token that ends a text." };
        Option<string> type = CommonOptions.WeightType();
        Option<string?> trace = CommonOptions.Trace();
        var cures = new CureOptions();
        var verb = new Verb(
            "generate", "Continue a text with a model.", "scratchmamba generate --model runs/quickstart --prompt \"public static \" -n 200",
            [model, prompt, count, .. sampling.All, stop, beams, ignoreEnd, .. cures.All, device, CommonOptions.Threads, type, trace]);
        verb.SetAction((parsed, cancellation) =>
        {
            Sampler sampler = sampling.Read(parsed);
            string[] stops = parsed.GetValue(stop) ?? [];
            if (stops.Contains(""))
                throw new MisuseException("--stop is empty.");
            if (parsed.GetValue(beams) > 1 && sampling.All.Any(option => parsed.GetResult(option) is { Implicit: false }))
                throw new MisuseException("--beams searches for the most probable text; it does not go with options of sampling.");
            string text = CheckedPrompt(parsed.GetValue(prompt)!);
            using Backend opened = Devices.Open(parsed, device);
            using var traced = new Trace(opened, parsed.GetValue(trace), parsed.InvocationConfiguration.Output);
            Backend backend = traced.Backend;
            Mamba2Model loaded = Checkpoint.Load(parsed.GetValue(model)!, backend, weights: CommonOptions.WeightTypeOf(parsed.GetValue(type)!, parsed.GetValue(model)!));
            Tokenizer tokenizer = Checkpoint.LoadTokenizer(parsed.GetValue(model)!, loaded.Config);
            cures.Apply(parsed, loaded, tokenizer);
            var continuation = new Continuation(tokenizer, stops, parsed.GetValue(ignoreEnd));
            if (parsed.GetValue(beams) > 1)
                continuation.Write(text, prompt => new BeamSearch(loaded, parsed.GetValue(beams)).Continue(prompt, parsed.GetValue(count), continuation.End, cancellation).Tokens, parsed.InvocationConfiguration.Output);
            else
                continuation.Write(text, prompt => new Generator(loaded, sampler).Continue(prompt, parsed.GetValue(count), cancellation), parsed.InvocationConfiguration.Output);
            cancellation.ThrowIfCancellationRequested();
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }

    /// <summary>How tokens become text that is shown.</summary>
    internal sealed record Continuation(Tokenizer Tokenizer, string[] Stops, bool IgnoresEnd = false)
    {
        /// <summary>The token that ends the text.</summary>
        public int? End => IgnoresEnd ? null : Tokenizer.EndOfText;

        /// <summary>Writes the prompt, and its continuation as it comes.</summary>
        public void Write(string prompt, Func<int[], IEnumerable<int>> continued, TextWriter output)
        {
            var stream = new Utf8Decoder();
            var stops = new StopStrings(Stops);
            output.Write(prompt);
            foreach (int token in continued([.. Tokenizer.PromptStart, .. Tokenizer.Encode(Encoding.UTF8.GetBytes(prompt))]))
            {
                if (token == End)
                    break;
                // A vocabulary may be padded with tokens that mean nothing.
                output.Write(Shown(stops.Append(stream.Append(token < Tokenizer.VocabularySize ? Tokenizer.Decode(token).Span : "\uFFFD"u8))));
                output.Flush();
                if (stops.IsStopped)
                    break;
            }
            output.WriteLine(Shown(stops.Append(stream.Finish()) + stops.Finish()));
        }
    }

    /// <summary>A model may write any byte; one that would move a terminal's cursor or change its colours is shown as U+FFFD.</summary>
    private static string Shown(string text) => string.Concat(text.Select(c => char.IsControl(c) && c is not ('\n' or '\t' or '\r') ? '\uFFFD' : c));

    private static string CheckedPrompt(string prompt)
    {
        // Bytes on the command line that are not UTF-8 arrive as U+FFFD; half a surrogate pair is enumerated as that.
        return prompt.EnumerateRunes().All(rune => rune != Rune.ReplacementChar) ? prompt : throw new MisuseException("--prompt is not valid UTF-8 text.");
    }
}
