using System.CommandLine;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli.Commands;

/// <summary>chat: turns of a person and a model, one after the other.</summary>
internal static class ChatCommand
{
    public static Verb Create()
    {
        var reader = new ModelOptions();
        Option<int> count = CommonOptions.Count("-n", 400, "The most tokens of an answer.");
        var sampling = new SamplingOptions();
        var stop = new Option<string[]>("--stop") { Description = "End an answer before any of these strings.", AllowMultipleArgumentsPerToken = true };
        Option<string> load = CommonOptions.Text("--load-state", "Begin with the state in this file.", required: false);
        var verb = new Verb(
            "chat", "Talk with a model, or write a text with it turn by turn.", "scratchmamba chat --model runs/quickstart", [.. reader.All, count, .. sampling.All, stop, load]);
        verb.SetAction(async (parsed, cancellation) =>
        {
            Sampler sampler = sampling.Read(parsed);
            if (parsed.GetValue(stop) is { } stops && stops.Contains(""))
                throw new MisuseException("--stop is empty.");
            using Backend backend = reader.OpenDevice(parsed);
            (Mamba2Model model, Tokenizer tokenizer) = reader.Load(parsed, backend);
            using var chat = new Chat(model, tokenizer, sampler, parsed.GetValue(stop) ?? [], parsed.GetValue(count), parsed.GetValue(reader.Model)!, parsed.InvocationConfiguration.Output);
            if (parsed.GetValue(load) is { } file)
                chat.Load(file);
            Interrupts.Handler = chat.Interrupt;
            try
            {
                await chat.RunAsync(Console.In, cancellation);
            }
            finally
            {
                Interrupts.Handler = null;
            }
            return CommandLine.Done;
        });
        return verb;
    }
}
