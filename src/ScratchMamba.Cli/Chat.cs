using System.Text;
using ScratchMamba.Checkpoints;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Cli;

/// <summary>
/// A read-eval-print loop: a line is read by the model, which then writes until its text ends. With a template lines are turns of a conversation; without, they are part of the text as they are.
/// Lines that begin with / are commands.
/// </summary>
internal sealed class Chat : IDisposable
{
    // Each is a state of the model.
    private const int MostTurns = 16;

    private const string Help = """
        A line is read by the model, which then goes on. Ctrl-C ends an answer.
          /save FILE    keep the state of the text in a file
          /load FILE    go on from a state that was kept
          /rewind [N]   take back the last turn, or the last N (at most 16)
          /reset        begin anew
          /help         show this
          /exit         leave; so does the end of the input
        """;

    private readonly Mamba2Model model;
    private readonly Tokenizer tokenizer;
    private readonly string[] stops;
    private readonly int most;
    private readonly ChatTemplate? template;
    private readonly string? refusal;
    private readonly TextWriter output;
    private readonly List<(Session Before, string Text, int Messages)> turns = [];
    private readonly List<(string Role, string Content)> messages = [];
    private Sampler sampler;
    private Session session;

    // What the session has read and written since it began or was loaded.
    private string text = "";
    private CancellationTokenSource? answering;

    public Chat(Mamba2Model model, Tokenizer tokenizer, Sampler sampler, string[] stops, int most, string path, TextWriter output)
    {
        sampler.CheckBiases(model.Config.VocabularySize);
        (this.model, this.tokenizer, this.sampler, this.stops, this.most, this.output) = (model, tokenizer, sampler, stops, most, output);
        try
        {
            template = ChatTemplate.Load(path, tokenizer);
        }
        catch (FormatException fault)
        {
            refusal = fault.Message;
        }
        session = Begin();
    }

    /// <summary>Ends the answer that is being written; false if there is none.</summary>
    public bool Interrupt()
    {
        CancellationTokenSource? current = answering;
        current?.Cancel();
        return current is not null;
    }

    /// <summary>Reads and answers until the input ends, or somebody says to leave.</summary>
    public async Task RunAsync(TextReader input, CancellationToken cancellation)
    {
        output.WriteLine(template is not null ? "What you type is put into the model's chat template. /help lists what else there is."
            : (refusal is null ? "The model has no chat template" : $"The model's chat template is not used, because {refusal}")
                + ": what you type is read as it is, and the model goes on with the text. /help lists what else there is.");
        while (true)
        {
            output.Write("> ");
            output.Flush();
            string? line;
            try
            {
                // Reading from a terminal cannot be cancelled, but need not be waited for.
                line = await Task.Run(input.ReadLine, cancellation).WaitAsync(cancellation);
            }
            catch (OperationCanceledException)
            {
                line = null;
            }
            if (line is null or "/exit")
            {
                if (line is null)
                    output.WriteLine();
                return;
            }
            try
            {
                if (line.StartsWith('/'))
                    Obey(line);
                else if (line.Length > 0)
                    Answer(line, cancellation);
            }
            catch (Exception fault) when (fault is CheckpointException or ArgumentException or FormatException or InvalidOperationException or NumericalException)
            {
                output.WriteLine($"error: {fault.Message}");
            }
        }
    }

    /// <summary>Goes on from a state in a file.</summary>
    public void Load(string path)
    {
        (Session loaded, ulong seed) = SessionFile.Load(path, model);
        Forget();
        session.Dispose();
        session = loaded;
        sampler = sampler with { Seed = seed };
        output.WriteLine($"a text of {session.Count:#,0} tokens, which ends: {Encoding.UTF8.GetString(tokenizer.Decode([.. session.LastTokens.TakeLast(60).Where(token => token < tokenizer.VocabularySize)])).ReplaceLineEndings(" ")}");
    }

    public void Dispose()
    {
        Forget();
        session.Dispose();
    }

    private void Obey(string line)
    {
        string[] parts = line.Split(' ', 2, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        switch (parts)
        {
            case ["/help"]:
                output.WriteLine(Help);
                break;
            case ["/reset"]:
                Forget();
                session.Dispose();
                session = Begin();
                output.WriteLine("a new text");
                break;
            case ["/rewind"]:
                Rewind(1);
                break;
            case ["/rewind", var given] when int.TryParse(given, out int count) && count > 0:
                Rewind(count);
                break;
            case ["/save", var file]:
                SessionFile.Save(session, file, sampler.Seed);
                output.WriteLine($"{session.Count:#,0} tokens kept in {file}");
                break;
            case ["/load", var file]:
                Load(file);
                break;
            case ["/save" or "/load"]:
                output.WriteLine($"error: {parts[0]} needs the name of a file.");
                break;
            default:
                output.WriteLine($"error: there is no command '{line}'; /help lists them.");
                break;
        }
    }

    private void Answer(string line, CancellationToken cancellation)
    {
        Session before = session.Fork();
        turns.Add((before, text, messages.Count));
        if (turns.Count > MostTurns)
        {
            turns[0].Before.Dispose();
            turns.RemoveAt(0);
        }
        messages.Add(("user", line));
        Read(template?.Format(messages) ?? (session.Drawn > 0 ? $"{text}\n{line}" : text + line));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        answering = stop;
        try
        {
            var shown = new ShownText(tokenizer, stops);
            var written = new StringWriter();
            shown.Write(new Generator(model, sampler).Continue(session, most, stop.Token), new Both(output, written));
            string rest = shown.Finish();
            messages.Add(("assistant", written + rest));
            // The token that ended the text is in the session, but was not shown.
            text += written + rest + (session.LastTokens[^1] == tokenizer.EndOfText ? Encoding.UTF8.GetString(tokenizer.Decode(session.LastTokens[^1]).Span) : "");
            output.WriteLine(rest);
        }
        finally
        {
            answering = null;
        }
    }

    /// <summary>Reads what of a text has not been read; all of it, from the beginning, where it is not a continuation of what has.</summary>
    private void Read(string whole)
    {
        if (!whole.StartsWith(text, StringComparison.Ordinal))
        {
            session.Dispose();
            session = Begin();
            text = "";
        }
        session.Read(tokenizer.Encode(Encoding.UTF8.GetBytes(whole[text.Length..])));
        text = whole;
    }

    private void Rewind(int count)
    {
        if (count > turns.Count)
        {
            output.WriteLine(turns.Count == 0 ? "error: there is no turn to take back." : $"error: only {turns.Count} turns can be taken back.");
            return;
        }
        (Session before, text, int said) = turns[^count];
        session.Dispose();
        session = before;
        messages.RemoveRange(said, messages.Count - said);
        foreach ((Session later, _, _) in turns[^(count - 1)..])
            later.Dispose();
        turns.RemoveRange(turns.Count - count, count);
        output.WriteLine($"back at {session.Count:#,0} tokens");
    }

    private void Forget()
    {
        foreach ((Session before, _, _) in turns)
            before.Dispose();
        turns.Clear();
        messages.Clear();
        text = "";
    }

    private Session Begin()
    {
        var begun = new Session(model);
        begun.Read([.. tokenizer.PromptStart]);
        return begun;
    }

    /// <summary>Writes to two places.</summary>
    private sealed class Both(TextWriter first, TextWriter second) : TextWriter
    {
        public override Encoding Encoding => first.Encoding;

        public override void Write(char value)
        {
            first.Write(value);
            second.Write(value);
        }

        public override void Write(string? value)
        {
            first.Write(value);
            second.Write(value);
        }

        public override void Flush() => first.Flush();
    }
}
