using System.CommandLine;
using System.Diagnostics;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli.Commands;

/// <summary>data: makes files of tokens of texts of any size.</summary>
internal static class DataCommand
{
    // Enough to see what is wrong; the rest is counted.
    private const int MostBadShown = 5;

    public static Verb Create()
    {
        var verb = new Verb("data", "Make files of tokens to train on.", "scratchmamba data prepare --in corpus/ --out corpus.tokens");
        verb.Subcommands.Add(Prepare());
        return verb;
    }

    private static Verb Prepare()
    {
        var inputs = new Option<string[]>("--in")
        {
            Description = "Files, or folders of files: UTF-8 text, JSON lines (.jsonl, .ndjson, .json), or either compressed by gzip.", Required = true, AllowMultipleArgumentsPerToken = true,
        };
        Option<string> file = CommonOptions.Text("--out", "The file of tokens to write."), field = CommonOptions.Text("--field", "The field of a JSON line that holds the text.", "text");
        var tokenizer = new Option<string?>("--tokenizer") { Description = "A tokenizer.json, or the folder or file of a model that has one; without it, tokens are bytes." };
        var separator = new Option<string?>("--separator") { Description = "What stands between the documents of a text file, such as '<|endoftext|>' or '\\n'; without it, a file is a document." };
        Option<long> least = CommonOptions.Parsed("--min-tokens", 2L, "Leave out documents of fewer tokens.", value => value >= 2, "a whole number from 2"),
            most = CommonOptions.Parsed("--max-tokens", long.MaxValue, "Leave out documents of more tokens.", value => value >= 2, "a whole number from 2");
        var verb = new Verb(
            "prepare", "Make one file of tokens of many texts. A preparation that was stopped goes on when it is started again.",
            "scratchmamba data prepare --in corpus/ more.jsonl.gz --out corpus.tokens --tokenizer tokenizer.json", inputs, file, tokenizer, field, separator, least, most);
        verb.SetAction((parsed, cancellation) =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            string path = parsed.GetValue(file)!;
            bool isLive = ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected;
            long start = Stopwatch.GetTimestamp(), shown = 0;
            double tenths = 0;
            int badShown = 0;
            TokenFilePreparation preparation = null!;
            preparation = new TokenFilePreparation
            {
                Inputs = parsed.GetValue(inputs)!,
                Output = path,
                Tokenizer = parsed.GetValue(tokenizer) is { } given ? Checkpoint.LoadTokenizer(given) : new ByteTokenizer(),
                Field = parsed.GetValue(field)!,
                Separator = Unescaped(parsed.GetValue(separator)),
                MinTokens = parsed.GetValue(least),
                MaxTokens = parsed.GetValue(most),
                Bad = what =>
                {
                    if (badShown++ < MostBadShown)
                        output.WriteLine(isLive ? $"\r{what}; left out\e[K" : $"{what}; left out");
                },
                Progress = Show,
            };
            try
            {
                preparation.Run(cancellation);
            }
            catch (OperationCanceledException)
            {
                throw new OperationCanceledException("stopped; the same command goes on from here");
            }
            using var made = new TokenFile(path);
            if (isLive)
                output.Write("\r\e[K");
            output.WriteLine($"{made.Documents:#,0} documents of {made.TextBytes:#,0} bytes: {made.Count:#,0} tokens in {path}, {Memory.Size(new FileInfo(path).Length)}");
            if (preparation.BadLines > 0)
                output.WriteLine($"left out {preparation.BadLines:#,0} damaged lines");
            if (preparation.TooShort + preparation.TooLong > 0)
                output.WriteLine($"left out {preparation.TooShort:#,0} documents that are too short, {preparation.TooLong:#,0} that are too long");
            return Task.FromResult(CommandLine.Done);

            void Show(PreparationProgress progress)
            {
                double share = progress.Total == 0 ? 1 : progress.Done / (double)progress.Total, seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                if (shown == 0 && preparation.ResumedAt > 0)
                    output.WriteLine($"going on after {preparation.ResumedAt / (double)Math.Max(1, progress.Total):0 %}");
                shown++;
                string line = $"{share,5:0 %}  {progress.TextBytes / 1e6,10:#,0.0} MB  {progress.Documents,12:#,0} documents  {(progress.Done - preparation.ResumedAt) / 1e6 / Math.Max(1e-3, seconds),6:0.0} MB/s";
                if (isLive)
                {
                    output.Write($"\r{line}\e[K");
                }
                else if (share >= tenths)
                {
                    output.WriteLine(line);
                    tenths = Math.Floor(share * 10) / 10 + 0.1;
                }
            }
        });
        return verb;
    }

    /// <summary>A separator as it is meant: \n and \t are what they are elsewhere.</summary>
    private static string? Unescaped(string? text) => text is { Length: > 0 } ? text.Replace("\\n", "\n", StringComparison.Ordinal).Replace("\\t", "\t", StringComparison.Ordinal) : null;
}
