using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Tests.Mamba2;
using ScratchMamba.Tokenizers;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Data;

/// <summary>What batches are made of, and that it does not matter how text is divided into them.</summary>
public sealed class TokenBatchesTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void APermutationHasEveryNumberOnce() => Properties.ForAll(30, (choices, seed) =>
    {
        var random = new Random(seed);
        int count = random.Next(1, 3000);
        var order = new Permutation(count, (ulong)seed, 5);
        Assert.Equal(Enumerable.Range(0, count), Enumerable.Range(0, count).Select(i => (int)order[i]).Order());
        Assert.Throws<ArgumentOutOfRangeException>(() => order[count]);
    });

    [Fact]
    public void PermutationsOfOtherSeedsAndHugeCountsAreOthers()
    {
        Assert.NotEqual(Enumerable.Range(0, 50).Select(i => new Permutation(50, 1, 0)[i]), Enumerable.Range(0, 50).Select(i => new Permutation(50, 1, 1)[i]));
        var huge = new Permutation(1L << 40, 3, 0);
        long[] some = [.. Enumerable.Range(0, 1000).Select(i => huge[i])];
        Assert.Equal(1000, some.Distinct().Count());
        Assert.InRange(some.Average() / (1L << 40), 0.45, 0.55);
    }

    [Fact]
    public void EveryWindowIsReadOnceBeforeAnyIsReadAgain()
    {
        var batches = new TokenBatches([.. Enumerable.Range(0, 1004)], rows: 2, length: 10, seed: 3);
        for (int epoch = 0; epoch < 3; epoch++)
        {
            int[] starts = [.. Enumerable.Range(50 * epoch, 50).SelectMany(number => new[] { batches[number].Inputs[0], batches[number].Inputs[10] }).Order()];
            Assert.Equal(Enumerable.Range(0, 100).Select(window => starts[0] + 10 * window), starts);
        }
    }

    [Fact]
    public void RowsGoOnForAsManySegments()
    {
        var batches = new TokenBatches([.. Enumerable.Range(0, 1000)], rows: 3, length: 10, seed: 2) { Segments = 4 };
        for (int number = 0; number < 200; number++)
        {
            TokenBatch batch = batches[number], next = batches[number + 1];
            for (int row = 0; row < 3; row++)
            {
                Assert.Equal(number % 4 != 0, batch.Continues![row]);
                if (next.Continues![row])
                    Assert.Equal(batch.Labels[row * 10 + 9], next.Inputs[row * 10]);
            }
        }
        // Without an end, rows divide the text among themselves.
        var endless = new TokenBatches([.. Enumerable.Range(0, 1000)], rows: 3, length: 10, seed: 2) { Segments = long.MaxValue };
        Assert.All(Enumerable.Range(1, 32), number => Assert.All(endless[number].Continues!, Assert.True));
        Assert.All(endless[33].Continues!, Assert.False);
    }

    [Fact]
    public void SourcesAreMixedByWeight()
    {
        TokenSource a = new TokenArray([.. Enumerable.Repeat(1, 500)]), b = new TokenArray([.. Enumerable.Range(1000, 3000)]);
        var batches = new TokenBatches([a, b], [1, 3], rows: 4, length: 10, seed: 3);
        int[] firsts = [.. Enumerable.Range(0, 256).SelectMany(number => Enumerable.Range(0, 4).Select(row => batches[number].Inputs[row * 10]))];
        Assert.Equal(256, firsts.Count(token => token == 1));
        // 299 windows of the second: all of them before any comes again.
        Assert.Equal(299, firsts.Where(token => token != 1).Take(299).Distinct().Count());
        Assert.Equal(batches[77].Inputs, new TokenBatches([a, b], [1, 3], 4, 10, 3)[77].Inputs);
        Assert.Contains("positive", Assert.Throws<ArgumentException>(() => new TokenBatches([a, b], [1, 0], 4, 10, 3)).Message, StringComparison.Ordinal);
        Assert.Contains("1024th", Assert.Throws<ArgumentException>(() => new TokenBatches([a, b], [1, 1e9], 4, 10, 3)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheLoaderGivesTheSameBatches()
    {
        var batches = new TokenBatches([.. Enumerable.Range(0, 1000)], 2, 10, seed: 3);
        var loader = new BatchLoader(number => batches[number]);
        foreach (long number in new long[] { 0, 1, 2, 2, 7, 8, 3 })
            Assert.Equal(batches[number].Inputs, loader[number].Inputs);
    }

    private TokenFile Prepared(params string[] documents)
    {
        File.WriteAllText(folder.File("text.txt"), string.Join('|', documents));
        new TokenFilePreparation { Inputs = [folder.File("text.txt")], Output = folder.File("text.tokens"), Tokenizer = new ByteTokenizer(), Separator = "|" }.Run(CancellationToken.None);
        return new TokenFile(folder.File("text.tokens"));
    }

    [Fact]
    public void PackedDocumentsHaveTheLossesThatTheyHaveApart()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        var random = new Random(5);
        // Tokens are bytes from 1 to 10: the samples' vocabulary.
        string[] documents = [.. Enumerable.Range(0, 40).Select(_ => new string([.. Enumerable.Range(0, random.Next(2, 40)).Select(_ => (char)random.Next(1, 11))]))];
        using TokenFile file = Prepared(documents);
        Mamba2Model model = Samples.Model("plain", cpu);
        const int Rows = 3, Length = 50;
        var batches = new TokenBatches([file], [1], Rows, Length, seed: 1);
        int several = 0;
        for (int number = 0; number < 4; number++)
        {
            TokenBatch batch = batches[number];
            Tensor sequence = cpu.Tensor<int>([Rows, Length], batch.Documents!);
            double[] packed = model.Losses(cpu.Tensor<int>([Rows, Length], batch.Inputs), cpu.Tensor<int>([Rows, Length], batch.Labels), sequence: sequence).ToDoubles();
            for (int row = 0; row < Rows; row++)
            {
                int[] numbers = batch.Documents.AsSpan(row * Length, Length).ToArray();
                several += numbers[^1];
                foreach (IGrouping<int, int> document in Enumerable.Range(0, Length).GroupBy(i => numbers[i]))
                {
                    int start = row * Length + document.First(), count = document.Count();
                    double[] apart = model.Losses(cpu.Tensor<int>([1, count], batch.Inputs.AsSpan(start, count)), cpu.Tensor<int>([1, count], batch.Labels.AsSpan(start, count))).ToDoubles();
                    Assert.InRange(RelativeError.Of(packed[start..(start + count)], apart), 0, 1e-12);
                    if (document.Key < numbers[^1])
                        Assert.Equal((-1, 0.0), (batch.Labels[start + count - 1], apart[^1]));
                }
            }
        }
        Assert.InRange(several, 8, 1000);
        var joined = new TokenBatches([file], [1], Rows, Length, seed: 1) { JoinsDocuments = true };
        Assert.Null(joined[0].Documents);
        Assert.DoesNotContain(-1, joined[0].Labels);
    }

    [Fact]
    public void CarriedAndPackedLossesAreThoseOfEachDocumentAlone()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        var random = new Random(6);
        // One begins exactly where a segment does.
        int[] lengths = [25, 15, 38, 4, 18, 20, 41];
        string[] documents = [.. lengths.Select(count => new string([.. Enumerable.Range(0, count).Select(_ => (char)random.Next(1, 11))]))];
        using TokenFile file = Prepared(documents);
        Mamba2Model model = Samples.Model("plain", cpu);
        double[] alone = [.. documents.Select(text => text.Select(character => (int)character).ToArray()).SelectMany(tokens =>
            model.Losses(cpu.Tensor<int>([1, tokens.Length], tokens), cpu.Tensor<int>([1, tokens.Length], [.. tokens[1..], -1])).ToDoubles())];
        const int Length = 20;
        var batches = new TokenBatches([file], [1], 1, Length, seed: 1) { Segments = long.MaxValue };
        using var carried = new CarriedStates(model);
        using var trainer = new Trainer(model, number => batches[number], Length, new LearningRateSchedule(1, 100, 0, LearningRateDecay.Constant), new AdamWSettings(ClipNorm: 0, WeightDecay: 0)) { InitialStates = carried };
        // The order of windows is random, and where the first one begins: the first token says.
        byte[] text = [.. documents.SelectMany(document => document.Select(character => (byte)character))];
        int start = text.AsSpan().IndexOf([.. batches[0].Inputs.Select(token => (byte)token)]);
        // Only what begins inside the batches is read from its beginning.
        int known = start == 0 ? 0 : lengths.Select((_, i) => lengths[..(i + 1)].Sum()).First(end => end >= start);
        int segments = (text.Length - 1) / Length, compared = 0;
        for (int segment = 0; segment < segments; segment++)
        {
            int at = start + segment * Length;
            double loss = trainer.Step().Loss;
            if (at < known)
                continue;
            int counted = batches[segment].Labels.Count(label => label >= 0);
            Assert.Equal(alone[at..(at + Length)].Sum() / counted, loss, 1e-12);
            compared++;
        }
        Assert.InRange(compared, 4, 8);
    }

    [Fact]
    public void GradientsThroughTheStateAreThoseOfTheWholeSequence()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        const int Rows = 2, Length = 9, Parts = 4;
        int[] tokens = Samples.Tokens(Rows * (Parts * Length + 1));
        TokenBatch Batch(int start, int length)
        {
            int[] At(int offset) => [.. Enumerable.Range(0, Rows).SelectMany(row => tokens.Skip(row * (Parts * Length + 1) + start + offset).Take(length))];
            return new TokenBatch(At(0), At(1));
        }
        foreach (string name in new[] { "plain", "a learned initial state", "two groups, norm per group" })
        {
            var settings = new AdamWSettings(ClipNorm: double.PositiveInfinity);
            var schedule = new LearningRateSchedule(1e-3, 10, 0, LearningRateDecay.Constant);
            Mamba2Model whole = Samples.Model(name, cpu), parts = Samples.Model(name, cpu), cut = Samples.Model(name, cpu);
            StepReport expected = new Trainer(whole, _ => Batch(0, Parts * Length), Parts * Length, schedule, settings).Step();
            using CarriedStates carried = new(parts), detached = new(cut);
            StepReport actual = new Trainer(parts, number => Batch((int)number * Length, Length), Length, schedule, settings, accumulation: Parts) { InitialStates = carried, Through = Parts }.Step();
            StepReport truncated = new Trainer(cut, number => Batch((int)number * Length, Length), Length, schedule, settings, accumulation: Parts) { InitialStates = detached }.Step();
            Assert.Equal(expected.Loss, actual.Loss, 1e-12);
            Assert.Equal(expected.GradientNorm, actual.GradientNorm, 1e-11);
            Assert.Equal(expected.Loss, truncated.Loss, 1e-12);
            Assert.NotEqual(expected.GradientNorm, truncated.GradientNorm, 1e-6);
            foreach (((_, var one), (_, var other)) in whole.Parameters().Zip(parts.Parameters()))
                Assert.InRange(RelativeError.Of(other.Value.ToDoubles(), one.Value.ToDoubles()), 0, 1e-9);
        }
    }

    [Fact]
    public void GradientsThroughTheStateOfPackedDocumentsAreThoseOfTheWholeRow()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        const int Length = 9, Parts = 4;
        // Documents end inside parts, and one where a part does: the next begins in the empty state.
        int[] ends = [5, 13, 22, 27], tokens = Samples.Tokens(Parts * Length + 1);
        int[] documents = [.. Enumerable.Range(0, Parts * Length).Select(i => ends.Count(end => end <= i))];
        int[] labels = [.. Enumerable.Range(0, Parts * Length).Select(i => ends.Contains(i + 1) || i == Parts * Length - 1 ? -1 : tokens[i + 1])];
        TokenBatch Part(int start, int length) => new(tokens[start..(start + length)], labels[start..(start + length)])
        {
            Documents = [.. documents[start..(start + length)].Select(document => document - documents[start])],
            Continues = [start > 0 && documents[start] == documents[start - 1]],
        };
        foreach (string name in new[] { "plain", "two groups, norm per group" })
        {
            Mamba2Model whole = Samples.Model(name, cpu), parts = Samples.Model(name, cpu);
            (Tensor Losses, Mamba2State Last) Read(Mamba2Model model, TokenBatch batch, Mamba2State? initial)
            {
                Shape shape = [1, batch.Inputs.Length];
                return model.LossesAndState(cpu.Tensor<int>(shape, batch.Inputs), cpu.Tensor<int>(shape, batch.Labels), initial, cpu.Tensor<int>(shape, batch.Documents!));
            }
            Gradients expected = Read(whole, Part(0, Parts * Length), null).Losses.Sum().Backward();
            using var carried = new CarriedStates(parts);
            Tensor? sum = null;
            for (int part = 0; part < Parts; part++)
            {
                TokenBatch batch = Part(part * Length, Length);
                (Tensor losses, Mamba2State last) = Read(parts, batch, carried.Before(part, 1, batch.Continues));
                sum = sum is null ? losses.Sum() : sum + losses.Sum();
                carried.After(last);
            }
            Gradients actual = sum!.Backward();
            foreach (((string path, var one), (_, var other)) in whole.Parameters().Zip(parts.Parameters()))
            {
                Assert.True(expected.TryGet(one.Value, out Tensor? first) & actual.TryGet(other.Value, out Tensor? second), path);
                Assert.InRange(RelativeError.Of(second!.ToDoubles(), first!.ToDoubles()), 0, 1e-11);
            }
        }
    }
}
