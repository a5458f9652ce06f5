// The program in README.md, between the markers; a test compares the two and runs this one.
//<readme>
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;
//</readme>

namespace ScratchMamba.Tests.Cli;

/// <summary>Alone, because the program writes to the console and below the current folder.</summary>
[Collection(nameof(ReadmeProgram)), CollectionDefinition(nameof(ReadmeProgram), DisableParallelization = true)]
public sealed class ReadmeProgram
{
    [Fact]
    public void Runs()
    {
        using var home = new TemporaryFolder();
        string before = Directory.GetCurrentDirectory();
        TextWriter console = Console.Out;
        using var output = new StringWriter();
        Directory.SetCurrentDirectory(home.Path);
        Console.SetOut(output);
        try
        {
            Program();
            Assert.Equal(20, output.ToString().Count(character => character == '\n'));
            Assert.Equal(64, Checkpoint.LoadConfig("runs/small").Width);
        }
        finally
        {
            Console.SetOut(console);
            Directory.SetCurrentDirectory(before);
        }
    }

    [Fact]
    public void IsTheOneInTheReadme()
    {
        string[] parts = Readme.Source("tests/ScratchMamba.Tests/Cli/ReadmeProgram.cs").Split("//<readme>\n")[1..];
        string program = string.Concat(parts.SelectMany(part => part[..part.IndexOf("//</readme>", StringComparison.Ordinal)].Split('\n').Select(line => line.TrimEnd()))
            .Where(line => line.Length > 0).Select(line => (line.StartsWith("        ", StringComparison.Ordinal) ? line[8..] : line) + "\n"));
        Assert.Equal(15, program.Count(character => character == '\n'));
        Assert.Contains($"```csharp\n{program}```\n", Readme.Text, StringComparison.Ordinal);
    }

    private static void Program()
    {
        //<readme>
        using var cpu = new CpuBackend();
        int[] text = new ByteTokenizer().Encode(TextCorpus.ReadDefault());
        var batches = new TokenBatches(text, rows: 4, length: 64, seed: 1);
        var model = new Mamba2Model(new Mamba2Config { VocabularySize = 256, Layers = 2, Width = 64, StateSize = 16, HeadSize = 32 }, cpu, seed: 1);
        var schedule = new LearningRateSchedule(Peak: 4e-3, Steps: 20, WarmUp: 2, LearningRateDecay.Cosine);
        using var trainer = new Trainer(model, step => batches[step], length: 64, schedule);
        while (trainer.StepsDone < schedule.Steps)
            Console.WriteLine(trainer.Step());
        Checkpoint.Save(model, "runs/small");
        //</readme>
    }
}
