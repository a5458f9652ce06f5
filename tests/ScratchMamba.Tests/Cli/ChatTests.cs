using ScratchMamba.Checkpoints;
using ScratchMamba.Cli;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Cli;

public sealed class ChatTests(SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ATextIsGoneOnWithAndTakenBack()
    {
        string[] answers = Answers("line 1", "/rewind", "line 1", "and", "/rewind 2", "line 1", "/reset", "line 1");
        Assert.StartsWith("The model has no chat template", answers[0], StringComparison.Ordinal);
        // What was taken back was never said, and the draws stand where they stood.
        Assert.Equal(20, answers[1].TrimEnd('\n').Length);
        foreach (int again in new[] { 3, 6, 8 })
            Assert.Equal(answers[1], answers[again]);
        Assert.Equal("back at 0 tokens\n", answers[2]);
        Assert.Equal("back at 0 tokens\n", answers[5]);
        Assert.NotEqual(answers[1], answers[4]);
    }

    [Fact]
    public void AStateIsKeptAndGoneOnFrom()
    {
        string file = folder.File("my text.state");
        string[] answers = Answers("line 1", $"/save {file}", "line 2", "/reset", "other", $"/load {file}", "line 2");
        Assert.Equal($"26 tokens kept in {file}\n", answers[2]);
        Assert.StartsWith("a text of 26 tokens, which ends: line 1", answers[6], StringComparison.Ordinal);
        Assert.Equal(answers[3], answers[7]);
    }

    [Fact]
    public void WhatIsNotUnderstoodIsSaidAndNothingIsLost()
    {
        string[] answers = Answers("line 1", "/nothing", "/save", "/load " + folder.File("missing"), "/rewind 2", "/rewind x", $"/save {folder.File("no/folder")}", "/help", "", "/rewind", "line 1");
        Assert.Contains("no command '/nothing'", answers[2], StringComparison.Ordinal);
        Assert.Contains("needs the name of a file", answers[3], StringComparison.Ordinal);
        Assert.Contains("cannot be opened", answers[4], StringComparison.Ordinal);
        Assert.Contains("only 1 turns", answers[5], StringComparison.Ordinal);
        Assert.Contains("no command '/rewind x'", answers[6], StringComparison.Ordinal);
        Assert.Contains("cannot be written", answers[7], StringComparison.Ordinal);
        Assert.Contains("/rewind [N]", answers[8], StringComparison.Ordinal);
        Assert.All(answers[2..8], answer => Assert.StartsWith("error: ", answer, StringComparison.Ordinal));
        Assert.Equal(answers[1], answers[^1]);
    }

    [Fact]
    public void WithATemplateLinesAreTurns()
    {
        string model = Directory.CreateDirectory(folder.File("model")).FullName;
        foreach (string file in Directory.GetFiles(small.Model))
            File.Copy(file, Path.Combine(model, Path.GetFileName(file)));
        File.WriteAllText(Path.Combine(model, "chat_template.jinja"), "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}");
        string[] answers = Answers(model, ["hi", "there"]);
        Assert.StartsWith("What you type is put into the model's chat template", answers[0], StringComparison.Ordinal);
        using var cpu = new CpuBackend();
        Mamba2Model loaded = Checkpoint.Load(model, cpu);
        using var session = new Session(loaded);
        session.Read(new ByteTokenizer().Encode("[user] hi\n[assistant]"u8));
        string Written() => System.Text.Encoding.UTF8.GetString(new ByteTokenizer().Decode([.. new Generator(loaded, Sampler.Greedy).Continue(session, 20)]));
        // What would move a terminal's cursor is shown as U+FFFD.
        string shown = string.Concat(Written().Select(c => char.IsControl(c) && c is not ('\n' or '\t' or '\r') ? '\uFFFD' : c));
        Assert.Equal(shown + "\n", answers[1]);
        File.WriteAllText(Path.Combine(model, "chat_template.jinja"), "{% macro x() %}");
        Assert.Contains("'macro' is not supported", Answers(model, ["hi"])[0], StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnAnswerCanBeEndedWithoutTheProgram()
    {
        using var cpu = new CpuBackend();
        Mamba2Model model = Checkpoint.Load(small.Model, cpu);
        using var output = new StringWriter();
        Chat? chat = null;
        using var interrupting = new Interrupting(output, () => chat!.Interrupt());
        using (chat = new Chat(model, new ByteTokenizer(), Sampler.Greedy, [], int.MaxValue, small.Model, interrupting))
        {
            Assert.False(chat.Interrupt());
            await chat.RunAsync(new StringReader("line 1\n/rewind\n"), CancellationToken.None);
        }
        Assert.Contains("back at 0 tokens", output.ToString(), StringComparison.Ordinal);
    }

    /// <summary>What is shown before the first and after each line.</summary>
    private string[] Answers(params string[] lines) => Answers(small.Model, lines);

    private static string[] Answers(string path, string[] lines)
    {
        using var cpu = new CpuBackend();
        Mamba2Model model = Checkpoint.Load(path, cpu);
        using var output = new StringWriter { NewLine = "\n" };
        using (var chat = new Chat(model, new ByteTokenizer(), Sampler.Greedy, [], 20, path, output))
            chat.RunAsync(new StringReader(string.Join('\n', lines)), CancellationToken.None).GetAwaiter().GetResult();
        string[] answers = output.ToString().Split("> ");
        return answers[..(lines.Length + 1)];
    }

    /// <summary>Ends the answer when a hundred pieces of it have come.</summary>
    private sealed class Interrupting(StringWriter output, Action interrupt) : TextWriter
    {
        private int count;

        public override System.Text.Encoding Encoding => output.Encoding;

        public override void Write(char value) => output.Write(value);

        public override void Write(string? value)
        {
            output.Write(value);
            if (++count == 100)
                interrupt();
        }
    }
}
