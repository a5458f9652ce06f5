using ScratchMamba.Training;

namespace ScratchMamba.Tests.Cli;

/// <summary>From texts to a model by way of a file of tokens, as users do it.</summary>
public sealed class DataVerbTests(SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private readonly TemporaryFolder folder = new();

    private string Tokens => folder.File("text.tokens");

    private string Out => folder.File("out");

    public void Dispose() => folder.Dispose();

    private string[] Training(params string[] more) => ["train", "--out", Out, .. SmallModel.Tiny, "--steps", "4", .. more];

    [Fact]
    public void TextsArePreparedTrainedOnAndGoneOnWith()
    {
        string tokenizer = folder.File("tokenizer.json"), lines = folder.File("lines.jsonl");
        Run.Of("tokenizer", "train", "--data", small.Text, "--vocabulary", "300", "--out", tokenizer).Succeeds();
        File.WriteAllText(lines, string.Concat(Enumerable.Range(0, 60).Select(i => $"{{\"body\":\"record {i} of the fox and {i * 7} dogs\"}}\n")) + "nonsense\n");
        string output = Run.Of("data", "prepare", "--in", small.Text, lines, "--out", Tokens, "--tokenizer", tokenizer, "--field", "body", "--separator", "\\n").Succeeds().Output;
        Assert.Contains("260 documents", output, StringComparison.Ordinal);
        Assert.Contains("lines.jsonl: line 61 is not JSON; left out", output, StringComparison.Ordinal);
        Assert.Contains("left out 1 damaged lines", output, StringComparison.Ordinal);
        Run.Of(Training("--data", Tokens)).IsMisuseSaying("another tokenizer", "--tokenizer");
        Run.Of(Training("--data", Tokens, small.Text, "--tokenizer", tokenizer)).IsMisuseSaying("not both at once");
        Run.Of(Training("--data", Tokens, "--tokenizer", tokenizer, "--weights", "1", "2")).IsMisuseSaying("--weights", "1 files");
        Run.Of(Training("--data", Tokens, Tokens, "--tokenizer", tokenizer, "--weights", "1", "3", "--save-every", "2", "--initial-state", "carried", "--through", "2", "--accumulate", "2")).Succeeds();
        Run.Of("train", "--resume", "--out", Out, "--steps", "6").Succeeds();
        Assert.Equal(6, RunFolder.CheckpointsIn(Out)[0].Step);
        Run.Of("evaluate", "--model", Out, "--data", small.Text).Succeeds();
        // The file is replaced by that of another text: the training does not go on with it.
        Run.Of("data", "prepare", "--in", lines, "--out", Tokens, "--tokenizer", tokenizer, "--field", "body").Succeeds();
        Run.Of("train", "--resume", "--out", Out, "--steps", "8").FailsSaying("other data");
    }

    [Fact]
    public void WhatCannotBePreparedIsSaidInOneLine()
    {
        Run.Of("data", "prepare", "--in", folder.File("nowhere"), "--out", Tokens).FailsSaying("nowhere");
        string empty = folder.File("empty.txt"), binary = folder.File("binary");
        File.WriteAllText(empty, "");
        File.WriteAllBytes(binary, [1, 0, 2]);
        Run.Of("data", "prepare", "--in", empty, "--out", Tokens).FailsSaying("no document");
        Run.Of("data", "prepare", "--in", binary, "--out", Tokens).FailsSaying("neither text");
        Run.Of("data", "prepare", "--in", small.Text, "--out", Path.Combine(small.Text, "x")).FailsSaying("cannot be written");
        Run.Of("data", "prepare", "--in", small.Text, "--out", Tokens, "--min-tokens", "1").IsMisuseSaying("--min-tokens");
        Run.Of("data", "prepare", "--out", Tokens).IsMisuseSaying("--in");
        string cut = folder.File("cut.gz");
        File.WriteAllBytes(cut, [0x1F, 0x8B, 8, 0, 0]);
        Run.Of("data", "prepare", "--in", cut, "--out", Tokens).FailsSaying("cut.gz");
        Assert.False(File.Exists(Tokens));
    }

    [Fact]
    public void InitialStatesThatDoNotFitAreRefused()
    {
        Run.Of(Training("--data", small.Text, "--segments", "3")).IsMisuseSaying("--segments", "carried");
        Run.Of(Training("--data", small.Text, "--state-deviation", "3")).IsMisuseSaying("--state-deviation", "random");
        Run.Of(Training("--data", small.Text, "--initial-state", "carried", "--through", "2")).IsMisuseSaying("--through", "--accumulate");
        Run.Of(Training("--data", small.Text, "--save-every", "soon")).IsMisuseSaying("--save-every", "soon");
        Run.Of(Training()).IsMisuseSaying("--data");
    }
}
