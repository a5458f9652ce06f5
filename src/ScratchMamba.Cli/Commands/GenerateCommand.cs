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
    public static Command Create()
    {
        Option<string> model = CommonOptions.Model(), device = CommonOptions.Device();
        var prompt = new Option<string>("--prompt") { Description = "The text to continue.", Required = true };
        Option<int> count = CommonOptions.Count("-n", 200, "How many tokens to write.", least: 0);
        var temperature = new Option<double>("--temperature") { Description = "0 always takes the most probable token; 1 follows the model's probabilities.", DefaultValueFactory = _ => 0.8 };
        var topK = new Option<int>("--top-k") { Description = "Consider only this many of the most probable tokens; 0 for all.", DefaultValueFactory = _ => 40 };
        var topP = new Option<double>("--top-p") { Description = "Consider only the most probable tokens that reach this probability together.", DefaultValueFactory = _ => 1 };
        Option<ulong> seed = CommonOptions.Seed();
        Command command = new Command("generate", "Continue a text with a model.\n\nExample:\n  scratchmamba generate --model runs/quickstart --prompt \"public static \" -n 200")
            .With(model, prompt, count, temperature, topK, topP, seed, device);
        command.SetAction((parsed, cancellation) =>
        {
            var sampler = new Sampler
            {
                Temperature = parsed.GetValue(temperature),
                TopK = parsed.GetValue(topK),
                TopP = parsed.GetValue(topP),
                Seed = parsed.GetValue(seed),
            };
            try
            {
                sampler.Validated();
            }
            catch (ArgumentException fault)
            {
                throw new MisuseException(fault.Message);
            }
            using Backend backend = CommonOptions.Open(parsed.GetValue(device)!);
            Mamba2Model loaded = Checkpoint.Load(parsed.GetValue(model)!, backend);
            TextWriter output = parsed.InvocationConfiguration.Output;
            output.Write(parsed.GetValue(prompt));
            Write(loaded, parsed.GetValue(prompt)!, parsed.GetValue(count), sampler, output, cancellation);
            output.WriteLine();
            return Task.FromResult(CommandLine.Done);
        });
        return command;
    }

    /// <summary>Writes the continuation as it comes.</summary>
    public static void Write(Mamba2Model model, string prompt, int count, Sampler sampler, TextWriter output, CancellationToken cancellation)
    {
        var tokenizer = new ByteTokenizer();
        if (model.Config.VocabularySize < tokenizer.VocabularySize)
            throw new InvalidOperationException($"The model's vocabulary of {model.Config.VocabularySize} tokens is not that of bytes; only byte-level models can be prompted with text.");
        var stream = new Utf8Decoder();
        foreach (int token in new Generator(model, sampler).Continue(tokenizer.Encode(Utf8(prompt)), count, cancellation))
        {
            output.Write(stream.Append(token < 256 ? tokenizer.Decode(token).Span : "\uFFFD"u8));
            output.Flush();
        }
        output.Write(stream.Finish());
    }

    private static byte[] Utf8(string text)
    {
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetBytes(text);
        }
        catch (EncoderFallbackException)
        {
            throw new MisuseException("The prompt is not valid text: it holds half a surrogate pair, or bytes that are not UTF-8.");
        }
    }
}
