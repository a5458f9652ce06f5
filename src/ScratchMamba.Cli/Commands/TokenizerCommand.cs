using System.CommandLine;
using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli.Commands;

/// <summary>tokenizer: learns a vocabulary from text, and shows what it makes of text.</summary>
internal static class TokenizerCommand
{
    public static Verb Create()
    {
        var verb = new Verb("tokenizer", "Learn a vocabulary from text, and use it.", "scratchmamba tokenizer train --data book.txt --vocabulary 4096 --out tokenizer.json");
        verb.Subcommands.Add(Train());
        verb.Subcommands.Add(Encode());
        verb.Subcommands.Add(Decode());
        return verb;
    }

    private static Verb Train()
    {
        Option<string[]> data = CommonOptions.Data();
        data.Required = false;
        data.Description = "Files or folders of UTF-8 text; this project's sources, if it is left out.";
        Option<int> vocabulary = CommonOptions.Count("--vocabulary", 4096, "How many tokens, bytes and special ones included.", least: 257),
            least = CommonOptions.Count("--min-frequency", 2, "How often a pair must be seen to become a token.");
        Option<string> file = CommonOptions.Text("--out", "The tokenizer.json to write.");
        var special = new Option<string[]>("--special")
        {
            Description = "Tokens that stand for no text; the first one ends a text.",
            DefaultValueFactory = _ => ["<|endoftext|>"],
            AllowMultipleArgumentsPerToken = true,
        };
        var verb = new Verb(
            "train", "Learn a byte-level vocabulary from text.", "scratchmamba tokenizer train --data book.txt --vocabulary 4096 --out tokenizer.json", data, vocabulary, least, special, file);
        verb.SetAction(parsed =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            byte[] text = parsed.GetValue(data) is { Length: > 0 } paths ? TextCorpus.ReadFiles(paths) : TextCorpus.ReadDefault();
            BpeTokenizer tokenizer = BpeTrainer.Train(text, parsed.GetValue(vocabulary), parsed.GetValue(least), parsed.GetValue(special)!);
            tokenizer.Save(parsed.GetValue(file)!);
            int tokens = tokenizer.Encode(text).Length;
            output.WriteLine($"{tokenizer.VocabularySize:#,0} tokens; the text's {text.Length:#,0} bytes are {tokens:#,0} of them, {(double)text.Length / tokens:0.00} bytes each");
            output.WriteLine($"saved in {parsed.GetValue(file)}");
            return CommandLine.Done;
        });
        return verb;
    }

    private static Verb Encode()
    {
        Option<string> tokenizer = Tokenizer();
        var text = new Option<string?>("--text") { Description = "A text to encode." };
        var data = new Option<string?>("--data") { Description = "A file; each of its lines is encoded, without its line break, to a line of ids." };
        var verb = new Verb("encode", "Show the token ids of text.", "scratchmamba tokenizer encode --tokenizer tokenizer.json --text \"Hello, world\"", tokenizer, text, data);
        verb.SetAction(parsed =>
        {
            if (parsed.GetValue(text) is null == parsed.GetValue(data) is null)
                throw new MisuseException("Give either --text or --data.");
            Tokenizer opened = Checkpoint.LoadTokenizer(parsed.GetValue(tokenizer)!);
            byte[] content = parsed.GetValue(text) is { } given ? Encoding.UTF8.GetBytes(given) : File.ReadAllBytes(parsed.GetValue(data)!);
            using var output = new StringWriter { NewLine = "\n" };
            if (parsed.GetValue(text) is not null)
            {
                output.WriteLine(string.Join(' ', opened.Encode(content)));
            }
            else
            {
                foreach (Range line in Lines(content))
                    output.WriteLine(string.Join(' ', opened.Encode(content.AsSpan(line))));
            }
            parsed.InvocationConfiguration.Output.Write(output);
            return CommandLine.Done;
        });
        return verb;
    }

    private static Verb Decode()
    {
        Option<string> tokenizer = Tokenizer();
        var ids = new Option<int[]>("--ids") { Description = "Token ids.", Required = true, AllowMultipleArgumentsPerToken = true };
        var verb = new Verb("decode", "Show the text of token ids.", "scratchmamba tokenizer decode --tokenizer tokenizer.json --ids 40 271 9", tokenizer, ids);
        verb.SetAction(parsed =>
        {
            Tokenizer opened = Checkpoint.LoadTokenizer(parsed.GetValue(tokenizer)!);
            parsed.InvocationConfiguration.Output.WriteLine(Encoding.UTF8.GetString(opened.Decode(parsed.GetValue(ids)!.AsSpan())));
            return CommandLine.Done;
        });
        return verb;
    }

    private static Option<string> Tokenizer() => CommonOptions.Text("--tokenizer", "A tokenizer.json, or the folder or file of a model that has one.");

    private static List<Range> Lines(byte[] content)
    {
        var lines = new List<Range>();
        for (int start = 0; start < content.Length;)
        {
            int length = content.AsSpan(start).IndexOf((byte)'\n');
            int end = length < 0 ? content.Length : start + length;
            lines.Add(start..end);
            start = end + 1;
        }
        return lines;
    }
}
