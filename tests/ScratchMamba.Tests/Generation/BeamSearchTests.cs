using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Generation;

public class BeamSearchTests
{
    private static readonly Mamba2Config Config = new() { VocabularySize = 4, Width = 16, Layers = 2, StateSize = 4, HeadSize = 8, EmbeddingDeviation = 1 };

    /// <summary>log p of each continuation of <paramref name="length"/> tokens, each read as a whole.</summary>
    private static double LogProbability(Mamba2Model model, int[] prompt, int[] tokens)
    {
        using var scope = new Scope();
        int[] all = [.. prompt, .. tokens];
        double[] logits = model.Forward(model.Backend.Tensor<int>([1, all.Length], all)).Logits.ToDoubles();
        double sum = 0;
        for (int i = 0; i < tokens.Length; i++)
        {
            double[] row = logits[((prompt.Length + i - 1) * 4)..((prompt.Length + i) * 4)];
            sum += row[tokens[i]] - Math.Log(row.Sum(Math.Exp));
        }
        return sum;
    }

    private static IEnumerable<int[]> AllOf(int length) => length == 0 ? [[]] : AllOf(length - 1).SelectMany(head => Enumerable.Range(0, 4).Select(token => (int[])[.. head, token]));

    [Fact]
    public void EnoughBeamsFindTheMostProbableText()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 5);
        int[] prompt = [1, 2, 0];
        int[] best = AllOf(4).MaxBy(tokens => LogProbability(model, prompt, tokens))!;
        (int[] tokens, double score) = new BeamSearch(model, beams: 64).Continue(prompt, 4);
        Assert.Equal(best, tokens);
        Assert.Equal(LogProbability(model, prompt, best), score, 1e-5);
    }

    [Theory, InlineData(0.0), InlineData(1.0), InlineData(2.0)]
    public void TextsThatEndCompeteByTheirLength(double penalty)
    {
        using var cpu = new CpuBackend();
        const int End = 3;
        for (ulong seed = 0; seed < 6; seed++)
        {
            var model = new Mamba2Model(Config, cpu, seed: seed);
            int[] prompt = [1];
            // All texts of at most four tokens that end, and all of four that do not.
            int[] best = Enumerable.Range(1, 4).SelectMany(AllOf).Where(tokens => Array.IndexOf(tokens, End) is var at && (at == tokens.Length - 1 || (at < 0 && tokens.Length == 4)))
                .MaxBy(tokens => LogProbability(model, prompt, tokens) / Math.Pow(tokens.Length, penalty))!;
            Assert.Equal(best, new BeamSearch(model, beams: 64, penalty).Continue(prompt, 4, End).Tokens);
        }
    }

    [Fact]
    public void OneBeamIsGreedy()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 3);
        long before = cpu.LiveBytes;
        Assert.Equal(new Generator(model, Sampler.Greedy).Continue([2, 1], 20), new BeamSearch(model, beams: 1).Continue([2, 1], 20).Tokens);
        Assert.Empty(new BeamSearch(model, beams: 2).Continue([2], 0).Tokens);
        Assert.Equal(before, cpu.LiveBytes);
    }

    [Fact]
    public void MemoryDoesNotGrowWithTheText()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu, seed: 3);
        new BeamSearch(model, beams: 4).Continue([2, 1], 5);
        cpu.ResetPeak();
        new BeamSearch(model, beams: 4).Continue([2, 1], 5);
        long peak = cpu.PeakBytes;
        cpu.ResetPeak();
        new BeamSearch(model, beams: 4).Continue([2, 1], 60);
        Assert.Equal(peak, cpu.PeakBytes);
    }

    [Fact]
    public void BadRequestsAreRefused()
    {
        using var cpu = new CpuBackend();
        var model = new Mamba2Model(Config, cpu);
        Assert.Throws<ArgumentException>(() => new BeamSearch(model, beams: 2).Continue([], 3));
        Assert.Throws<ArgumentException>(() => new BeamSearch(model, beams: 0).Continue([1], 3));
        Assert.Throws<OperationCanceledException>(() => new BeamSearch(model, beams: 2).Continue([1], 3, cancellation: new CancellationToken(canceled: true)));
    }
}
