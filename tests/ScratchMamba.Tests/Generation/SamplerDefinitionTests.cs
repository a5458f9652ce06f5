using ScratchMamba.Generation;
using ScratchMamba.Tensors;

namespace ScratchMamba.Tests.Generation;

/// <summary>Each setting against its definition, written out here on all of the probabilities.</summary>
public class SamplerDefinitionTests
{
    /// <summary>Which tokens can come out, found out by drawing: every one that is kept has a share of at least a few hundredths.</summary>
    private static int[] Support(Sampler sampler, double[] logits)
    {
        var seen = new SortedSet<int>();
        for (int draw = 0; draw < 3000; draw++)
            seen.Add(sampler.Next(logits, draw));
        return [.. seen];
    }

    private static double[] Probabilities(double[] logits, double temperature = 1)
    {
        double largest = logits.Max();
        double[] weights = [.. logits.Select(logit => Math.Exp((logit - largest) / temperature))];
        return [.. weights.Select(weight => weight / weights.Sum())];
    }

    private static double[] Logits(int[] choices, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 2 + Math.Min(choices.Length, 10)).Select(_ => Math.Round(2 * random.NextDouble(), 2))];
    }

    [Fact]
    public void TopKKeepsTheMostProbableAndOfEqualsTheFirst()
    {
        Properties.ForAll(40, (choices, seed) =>
        {
            double[] logits = Logits(choices, seed);
            int k = 1 + (int)((uint)seed % (uint)logits.Length);
            Assert.Equal(Enumerable.Range(0, logits.Length).OrderByDescending(i => logits[i]).Take(k).Order(), Support(new Sampler { TopK = k }, logits));
        });
        Assert.Equal([0, 1, 2], Support(new Sampler { TopK = 3 }, new double[40]));
        Assert.Equal([0, 1, 2], Support(new Sampler { TopK = 1000 }, [1, 2, 1.5]));
    }

    [Fact]
    public void TopPKeepsTheFewestThatReachIt() => Properties.ForAll(40, (choices, seed) =>
    {
        double[] logits = Logits(choices, seed), p = Probabilities(logits);
        double share = 0.1 + 0.85 * new Random(seed).NextDouble(), sum = 0;
        var kept = new List<int>();
        foreach (int i in Enumerable.Range(0, p.Length).OrderByDescending(i => p[i]))
        {
            if (sum >= share)
                break;
            kept.Add(i);
            sum += p[i];
        }
        Assert.Equal(kept.Order(), Support(new Sampler { TopP = share }, logits));
    });

    [Fact]
    public void TopPOfALargeVocabularyIsTheSame()
    {
        // More than are sorted at once.
        double[] logits = [.. Enumerable.Range(0, 20_000).Select(i => -(i * 7919 % 20_000) / 4000.0)], p = Probabilities(logits);
        int[] order = [.. Enumerable.Range(0, p.Length).OrderByDescending(i => p[i])];
        double sum = 0;
        int count = order.TakeWhile(i => (sum += p[i]) - p[i] < 0.7).Count();
        var kept = order.Take(count).ToHashSet();
        var sampler = new Sampler { TopP = 0.7 };
        for (int draw = 0; draw < 30; draw++)
            Assert.Contains(sampler.Next(logits, draw), kept);
        // The last of them has its part of the line: a vocabulary that ends there gives the same draws.
        double[] cut = [.. logits.Select((logit, i) => kept.Contains(i) ? logit : double.NegativeInfinity)];
        for (int draw = 0; draw < 30; draw++)
            Assert.Equal(sampler.Next(logits, draw), new Sampler { TopK = count }.Next(cut, draw));
    }

    [Fact]
    public void MinPIsAFractionOfTheLargestProbabilityWhereverItIs() => Properties.ForAll(40, (choices, seed) =>
    {
        double[] logits = Logits(choices, seed), p = Probabilities(logits, 0.7);
        double least = new Random(seed).NextDouble();
        Assert.Equal(Enumerable.Range(0, p.Length).Where(i => p[i] >= least * p.Max()), Support(new Sampler { MinP = least, Temperature = 0.7 }, logits));
    });

    [Fact]
    public void TypicalKeepsWhatIsNearestToTheEntropy() => Properties.ForAll(40, (choices, seed) =>
    {
        double[] logits = Logits(choices, seed), p = Probabilities(logits);
        double share = 0.1 + 0.8 * new Random(seed).NextDouble(), entropy = -p.Sum(x => x * Math.Log(x)), sum = 0;
        var kept = new List<int>();
        foreach (int i in Enumerable.Range(0, p.Length).OrderBy(i => Math.Round(Math.Abs(-Math.Log(p[i]) - entropy), 12)))
        {
            if (sum >= share)
                break;
            kept.Add(i);
            sum += p[i];
        }
        Assert.Equal(kept.Order(), Support(new Sampler { TypicalP = share }, logits));
    });

    [Fact]
    public void PenaltiesAreThoseOfTheirDefinitions()
    {
        double[] logits = [2, -1, 0.5, 3, 2.9];
        var history = new TokenHistory();
        history.Read([0, 1]);
        history.Write(3);
        history.Write(3);
        history.Write(2);
        AssertPenalized(new Sampler { RepetitionPenalty = 2 }, [1, -2, 0.25, 1.5, 2.9]);
        AssertPenalized(new Sampler { PresencePenalty = 0.5 }, [2, -1, 0, 2.5, 2.9]);
        AssertPenalized(new Sampler { FrequencyPenalty = 0.25 }, [2, -1, 0.25, 2.5, 2.9]);
        AssertPenalized(new Sampler { RepetitionPenalty = 2, PresencePenalty = 1, FrequencyPenalty = -1 }, [1, -2, 0.25, 2.5, 2.9]);
        AssertPenalized(new Sampler { LogitBias = new Dictionary<int, double> { [1] = 6, [3] = double.NegativeInfinity }, RepetitionPenalty = 2 }, [1, 2.5, 0.25, double.NegativeInfinity, 2.9]);

        void AssertPenalized(Sampler sampler, double[] expected)
        {
            for (int draw = 0; draw < 200; draw++)
                Assert.Equal(new Sampler().Next(expected, draw), sampler.Next(logits, draw, history: history));
            Assert.Equal(Array.IndexOf(expected, expected.Max()), (sampler with { Temperature = 0 }).Next(logits, 0, history: history));
        }
    }

    [Fact]
    public void TheStepsAreTakenInTheStatedOrder()
    {
        // Top-k before top-p: of two tokens with 5 : 4, the first alone has more than half; of all it has less.
        double[] logits = [Math.Log(5), Math.Log(4), Math.Log(3), Math.Log(3)];
        Assert.Equal([0, 1], Support(new Sampler { TopP = 0.5 }, logits));
        Assert.Equal([0], Support(new Sampler { TopK = 2, TopP = 0.5 }, logits));
        // The temperature before min-p: cold logits are farther apart.
        Assert.Equal([0, 1], Support(new Sampler { MinP = 0.7 }, logits));
        Assert.Equal([0], Support(new Sampler { MinP = 0.7, Temperature = 0.5 }, logits));
        // The bias before the penalty, which divides what it has made positive.
        var history = new TokenHistory();
        history.Read([1]);
        Assert.Equal(0, new Sampler { Temperature = 0, LogitBias = new Dictionary<int, double> { [1] = 3 }, RepetitionPenalty = 2 }.Next([1.6, 0], 0, history: history));
    }

    [Fact]
    public void ForbiddenTokensAreNeverDrawn()
    {
        Assert.Equal([1], Support(new Sampler { TopK = 3, MinP = 0, TypicalP = 0.9 }, [double.NegativeInfinity, 1, double.NegativeInfinity]));
        var nothing = new Sampler { LogitBias = new Dictionary<int, double> { [0] = double.NegativeInfinity } };
        Assert.Throws<NumericalException>(() => nothing.Next([1], 0));
        Assert.Throws<ArgumentException>(() => nothing.Next([], 0));
    }

    public static TheoryData<Sampler> Senseless =>
    [
        new Sampler { MinP = -0.1 }, new Sampler { MinP = 1.1 }, new Sampler { TypicalP = 0 }, new Sampler { RepetitionPenalty = 0 }, new Sampler { PresencePenalty = double.NaN },
        new Sampler { FrequencyPenalty = double.PositiveInfinity }, new Sampler { LogitBias = new Dictionary<int, double> { [-1] = 0 } },
        new Sampler { LogitBias = new Dictionary<int, double> { [1] = double.PositiveInfinity } }, new Sampler { LogitBias = new Dictionary<int, double> { [1] = double.NaN } },
    ];

    [Theory, MemberData(nameof(Senseless))]
    public void SettingsThatMakeNoSenseAreRefused(Sampler sampler) => Assert.Throws<ArgumentException>(sampler.Validated);
}

public class StopStringsTests
{
    [Fact]
    public void ATextEndsBeforeTheFirstStopHoweverItIsCut() => Properties.ForAll(300, (choices, seed) =>
    {
        var random = new Random(seed);
        string text = string.Concat(choices.Select(choice => "ab\n"[(int)((uint)choice % 3)]));
        string[] stops = [.. Enumerable.Range(0, random.Next(3)).Select(_ => string.Concat(Enumerable.Range(0, random.Next(1, 4)).Select(_ => "ab\n"[random.Next(3)])))];
        int end = stops.Select(stop => (Place: text.IndexOf(stop, StringComparison.Ordinal), stop.Length)).Where(stop => stop.Place >= 0)
            .OrderBy(stop => stop.Place + stop.Length).ThenBy(stop => stop.Place).Select(stop => stop.Place).DefaultIfEmpty(text.Length).First();
        var stream = new StopStrings(stops);
        string shown = "";
        int position = 0;
        while (position < text.Length && !stream.IsStopped)
        {
            int length = random.Next(1, 4);
            shown += stream.Append(text[position..Math.Min(text.Length, position + length)]);
            position += length;
        }
        shown += stream.Finish();
        Assert.Equal((text[..end], stops.Any(text.Contains)), (shown, stream.IsStopped));
    });

    [Fact]
    public void NothingFollowsAStop()
    {
        var stream = new StopStrings(["END"]);
        Assert.Equal("text ", stream.Append("text E"));
        Assert.Equal("E", stream.Append("E")[..1]);
        Assert.Equal("", stream.Append("NDmore"));
        Assert.True(stream.IsStopped);
        Assert.Equal("", stream.Append("more") + stream.Finish());
    }
}
