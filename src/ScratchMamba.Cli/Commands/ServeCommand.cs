using System.CommandLine;
using System.Net;
using ScratchMamba.Mamba2;
using ScratchMamba.Server;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli.Commands;

/// <summary>serve: completes texts for clients of OpenAI's protocol.</summary>
internal static class ServeCommand
{
    private const string KeyVariable = "SCRATCHMAMBA_API_KEY";

    public static Verb Create()
    {
        var reader = new ModelOptions();
        Option<int> port = CommonOptions.Parsed("--port", 8080, "The port to listen on; 0 for any that is free.", value => value is >= 0 and <= 65535, "a whole number from 0 to 65535");
        Option<string> host = CommonOptions.Text("--host", "The address to listen on; others than this machine's own make the server reachable from outside.", "127.0.0.1");
        Option<string> key = CommonOptions.Text("--api-key", $"What clients must send as a key; also from {KeyVariable}, which other users of the machine cannot see.", required: false);
        Option<string> name = CommonOptions.Text("--name", "The model's name for clients; by default that of its folder or file.", required: false);
        Option<int> slots = CommonOptions.Count("--slots", 16, "How many texts are written at a time."),
            queue = CommonOptions.Count("--queue", 128, "How many prompts may wait."),
            most = CommonOptions.Count("--max-tokens", 4096, "The most tokens that a request may ask for."),
            mostPrompt = CommonOptions.Count("--max-prompt", 32768, "The most tokens of a prompt."),
            body = CommonOptions.Count("--max-body", 1 << 20, "The most bytes of a request."),
            grace = CommonOptions.Count("--grace", 10, "How many seconds texts that are being written may go on after Ctrl-C.", least: 0);
        var verb = new Verb(
            "serve", "Complete texts for clients of OpenAI's protocol.", "scratchmamba serve --model runs/quickstart --port 8080",
            [.. reader.All, port, host, key, name, slots, queue, most, mostPrompt, body, grace]);
        verb.SetAction(async (parsed, cancellation) =>
        {
            if (!IPAddress.TryParse(parsed.GetValue(host), out IPAddress? address))
                throw new MisuseException($"--host must be an address such as 127.0.0.1 or 0.0.0.0; it is '{parsed.GetValue(host)}'.");
            string? secret = parsed.GetValue(key) ?? (Environment.GetEnvironmentVariable(KeyVariable) is { Length: > 0 } given ? given : null);
            string path = parsed.GetValue(reader.Model)!;
            using Backend backend = reader.OpenDevice(parsed);
            (Mamba2Model model, Tokenizer tokenizer) = reader.Load(parsed, backend);
            TextWriter output = parsed.InvocationConfiguration.Output;
            var options = new ServerOptions
            {
                Template = Template(path, tokenizer, output),
                Address = address,
                Port = parsed.GetValue(port),
                ApiKey = secret,
                ModelName = parsed.GetValue(name) ?? Path.GetFileNameWithoutExtension(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path))),
                Slots = parsed.GetValue(slots),
                Queue = parsed.GetValue(queue),
                MostTokens = parsed.GetValue(most),
                MostPromptTokens = parsed.GetValue(mostPrompt),
                MostBodyBytes = parsed.GetValue(body),
                Grace = TimeSpan.FromSeconds(parsed.GetValue(grace)),
            };
            await using (InferenceServer server = await InferenceServer.StartAsync(model, tokenizer, options))
            {
                output.WriteLine($"{options.ModelName}: {server.Address}");
                if (!IPAddress.IsLoopback(address) && secret is null)
                    output.WriteLine("Anyone who reaches this machine can use the model; --api-key would ask for a key.");
                output.WriteLine("Ctrl-C stops.");
                output.Flush();
                await Task.Delay(Timeout.Infinite, cancellation).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
                output.WriteLine("stopping");
                output.Flush();
            }
            return CommandLine.Done;
        });
        return verb;
    }

    private static ChatTemplate? Template(string path, Tokenizer tokenizer, TextWriter output)
    {
        try
        {
            return ChatTemplate.Load(path, tokenizer);
        }
        catch (FormatException fault)
        {
            output.WriteLine($"The model's chat template is not used, because {fault.Message}; chats are written as lines that begin with who speaks.");
            return null;
        }
    }
}
