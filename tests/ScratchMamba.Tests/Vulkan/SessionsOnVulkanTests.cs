using ScratchMamba.Cli;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tests.Cli;
using ScratchMamba.Tests.Mamba2;

namespace ScratchMamba.Tests.Vulkan;

[Collection(nameof(VulkanCollection))]
public class SessionsOnVulkanTests(VulkanFixture fixture)
{
    private static readonly Sampler Sampling = new() { Temperature = 1.2, Seed = 4 };

    [Fact]
    public void ATextIsTheSameWhateverElseIsInTheBatch()
    {
        using var scope = new Scope();
        Mamba2Model model = Samples.Model("plain", fixture.Backend, DType.F32);
        int[] lengths = [3, 20, 8];
        int[][] expected = [.. lengths.Select(length => Write(model, [length])[0])];
        Assert.Equal(expected, Write(model, lengths));
    }

    [Fact]
    public void AStateGoesFromOneDeviceToTheOther()
    {
        using var folder = new TemporaryFolder();
        using var scope = new Scope();
        using var cpu = new CpuBackend();
        Mamba2Model here = Samples.Model("plain", cpu, DType.F32), there = Samples.Model("plain", fixture.Backend, DType.F32);
        using Session session = new(there);
        session.Read(Samples.Tokens(30));
        session.Next(Sampling);
        SessionFile.Save(session, folder.File("text.state"));
        using Session moved = SessionFile.Load(folder.File("text.state"), here).Session, kept = SessionFile.Load(folder.File("text.state"), there).Session;
        int[] Written(Session text) => [.. new Generator(text.Model, Sampling).Continue(text, 20)];
        int[] expected = Written(session);
        Assert.Equal(expected, Written(kept));
        Assert.Equal(expected, Written(moved));
    }

    [Theory, InlineData("hf-tiny", "gguf"), InlineData("ssm-tied", null), InlineData("ssm-tied", "gguf"), InlineData("ssm-tied", "hf")]
    public void TheGoldenSetsAreVerifiedThereInEveryForm(string set, string? form)
    {
        _ = fixture.Backend;
        using var folder = new TemporaryFolder();
        string file = form is null ? Golden.File(set) : folder.File("tiny.gguf");
        if (form is not null)
            Run.Of("convert", "--in", Golden.File(set), "--out", file, "--to", form).Succeeds();
        Run run = Run.Of("verify", "--model", file, "--expected", Golden.File($"{set}/expected.safetensors"), "--device", VulkanFixture.DeviceName is { } name ? $"vulkan:{name}" : "vulkan");
        Assert.True(run.Code == CommandLine.Done, run.Output + run.Error);
        Assert.Contains(set == "hf-tiny" ? "all 26 agree" : "all 22 agree", run.Output, StringComparison.Ordinal);
    }

    /// <summary>What is written when texts of these lengths join one after the other, two steps apart.</summary>
    private static int[][] Write(Mamba2Model model, int[] lengths)
    {
        using var scope = new Scope();
        using var batch = new SessionBatch(model);
        var texts = new Dictionary<Session, List<int>>();
        for (int step = 0; step < 2 * lengths.Length || texts.Values.Any(text => text.Count < 12); step++)
        {
            if (step % 2 == 0 && step / 2 < lengths.Length)
            {
                var session = new Session(model);
                session.Read(Samples.Tokens(lengths[step / 2], seed: lengths[step / 2]));
                texts[session] = [session.Next(Sampling)];
                batch.Add(session);
            }
            double[][] logits = batch.Step();
            foreach ((int row, Session session) in batch.Sessions.Index())
                texts[session].Add(session.Take(Sampling, logits[row]));
        }
        foreach (Session session in texts.Keys)
            session.Dispose();
        return [.. texts.Values.Select(text => text[..12].ToArray())];
    }
}
