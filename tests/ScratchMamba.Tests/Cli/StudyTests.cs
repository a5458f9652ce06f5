namespace ScratchMamba.Tests.Cli;

/// <summary>The verb study.</summary>
public sealed class StudyTests : IDisposable
{
    private static readonly string[] Few = ["--steps", "4", "--seeds", "1", "--width", "16", "--layers", "1", "--tokens", "128", "--length", "16", "--prompts", "2", "--factor", "8", "--stream", "256"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void AStudySaysWhatItFoundAndWhere()
    {
        string output = Run.Of(["study", "collapse", .. Few, "--out", folder.File("out")]).Succeeds().Output;
        string report = output.Split('\n').Single(line => line.StartsWith("report: ", StringComparison.Ordinal))["report: ".Length..].Trim();
        Assert.Contains("scratchmamba study collapse --steps 4", File.ReadAllText(report), StringComparison.Ordinal);
        Assert.Contains("E2", output, StringComparison.Ordinal);
        Assert.Contains(" left ", output, StringComparison.Ordinal);
        // The second time everything is there.
        Assert.DoesNotContain(" left ", Run.Of(["study", "collapse", .. Few, "--out", folder.File("out")]).Succeeds().Output, StringComparison.Ordinal);
    }

    [Fact]
    public void AModelOfTextIsStudiedOnText()
    {
        File.WriteAllText(folder.File("text.txt"), string.Concat(Enumerable.Repeat("To be, or not to be, that is the question. ", 40)));
        Run.Of("train", "--data", folder.File("text.txt"), "--out", folder.File("model"), "--layers", "1", "--width", "16", "--state", "4", "--head", "8", "--steps", "2", "--length", "32", "--batch", "2").Succeeds();
        string output = Run.Of(
            "study", "collapse", "cures", "stream", "--model", folder.File("model"), "--data", folder.File("text.txt"), "--length", "32", "--prompts", "2", "--factor", "16", "--stream", "64", "--out", folder.File("out")).Succeeds().Output;
        Assert.Contains("E8", output, StringComparison.Ordinal);
        Assert.Contains("E13", output, StringComparison.Ordinal);
        Run.Of("study", "collapse", "--model", folder.File("model"), "--data", folder.File("text.txt")).IsMisuseSaying("--length");
    }

    [Fact]
    public void TextIsStudiedInTokensOfAVocabulary()
    {
        File.WriteAllText(folder.File("text.txt"), string.Concat(Enumerable.Repeat("To be, or not to be, that is the question. ", 40)));
        Run.Of("tokenizer", "train", "--data", folder.File("text.txt"), "--vocabulary", "270", "--out", folder.File("tokenizer.json")).Succeeds();
        Run.Of(["study", "collapse", .. Few, "--data", folder.File("text.txt"), "--tokenizer", folder.File("tokenizer.json"), "--out", folder.File("out")]).Succeeds();
        Assert.Contains("\"vocab_size\": 270", File.ReadAllText(Directory.GetFiles(folder.File("out"), "config.json", SearchOption.AllDirectories)[0]), StringComparison.Ordinal);
        Assert.NotEmpty(Directory.GetFiles(folder.File("out"), "tokenizer.json", SearchOption.AllDirectories));
        Run.Of("study", "recall", "--model", "model", "--length", "32", "--tokenizer", "tokenizer.json").IsMisuseSaying("--tokenizer");
    }

    [Fact]
    public void WhatIsWrongIsSaid()
    {
        Run.Of("study", "collaps").IsMisuseSaying("collaps");
        Run.Of("study").IsMisuseSaying("study");
        Run.Of("study", "collapse", "--steps", "0").IsMisuseSaying("--steps", "whole number");
    }
}
