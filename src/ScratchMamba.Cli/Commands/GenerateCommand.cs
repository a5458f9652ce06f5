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
        Option<double> temperature = CommonOptions.Number(
            "--temperature", 0.8, "0 always takes the most probable token; 1 follows the model's probabilities.", value => value >= 0, "0 or a positive number");
        Option<int> topK = CommonOptions.Count("--top-k", 40, "Consider only this many of the most probable tokens; 0 for all.", least: 0);
        Option<double> topP = CommonOptions.Number(
            "--top-p", 1, "Consider only the most probable tokens that reach this probability together.", value => value is > 0 and <= 1, "above 0 and at most 1");
        Option<ulong> seed = CommonOptions.Seed();
        Option<string?> trace = CommonOptions.Trace();
        var cures = new CureOptions();
        var verb = new Verb(
            "generate", "Continue a text with a model.", "scratchmamba generate --model runs/quickstart --prompt \"public static \" -n 200",
            [model, prompt, count, temperature, topK, topP, seed, .. cures.All, device, trace]);
        verb.SetAction((parsed, cancellation) =>
        {
            var sampler = new Sampler
            {
                Temperature = parsed.GetValue(temperature),
                TopK = parsed.GetValue(topK),
                TopP = parsed.GetValue(topP),
                Seed = parsed.GetValue(seed),
            };
            string text = CheckedPrompt(parsed.GetValue(prompt)!);
            using Backend opened = Devices.Open(parsed.GetValue(device)!);
            using var traced = new Trace(opened, parsed.GetValue(trace), parsed.InvocationConfiguration.Output);
            Backend backend = traced.Backend;
            Mamba2Model loaded = Checkpoint.Load(parsed.GetValue(model)!, backend);
            cures.Apply(parsed, loaded);
            Write(loaded, text, parsed.GetValue(count), sampler, parsed.InvocationConfiguration.Output, cancellation);
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }

    /// <summary>Writes the prompt, and its continuation as it comes.</summary>
    public static void Write(Mamba2Model model, string prompt, int count, Sampler sampler, TextWriter output, CancellationToken cancellation)
    {
        var tokenizer = new ByteTokenizer();
        if (model.Config.VocabularySize < tokenizer.VocabularySize)
            throw new InvalidOperationException($"The model's vocabulary of {model.Config.VocabularySize} tokens is not that of bytes; only byte-level models can be prompted with text.");
        var stream = new Utf8Decoder();
        output.Write(prompt);
        foreach (int token in new Generator(model, sampler).Continue(tokenizer.Encode(Encoding.UTF8.GetBytes(prompt)), count, cancellation))
        {
            output.Write(Shown(stream.Append(token < 256 ? tokenizer.Decode(token).Span : "\uFFFD"u8)));
            output.Flush();
        }
        output.WriteLine(Shown(stream.Finish()));
        cancellation.ThrowIfCancellationRequested();
    }

    /// <summary>A model may write any byte; one that would move a terminal's cursor or change its colours is shown as U+FFFD.</summary>
    private static string Shown(string text) => string.Concat(text.Select(c => char.IsControl(c) && c is not ('\n' or '\t' or '\r') ? '\uFFFD' : c));

    private static string CheckedPrompt(string prompt)
    {
        // Bytes on the command line that are not UTF-8 arrive as U+FFFD; half a surrogate pair is enumerated as that.
        return prompt.EnumerateRunes().All(rune => rune != Rune.ReplacementChar) ? prompt : throw new MisuseException("--prompt is not valid UTF-8 text.");
    }
}
