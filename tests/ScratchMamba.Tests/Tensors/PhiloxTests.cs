using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class PhiloxTests
{
    /// <summary>The known answers that the authors publish with their library, Random123.</summary>
    [Fact]
    public void KnownAnswers()
    {
        Assert.Equal((0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u), Philox.Block(0, 0, 0));
        Assert.Equal((0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu), Philox.Block(ulong.MaxValue, ulong.MaxValue, ulong.MaxValue));
        // The digits of π: counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0.
        Assert.Equal((0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u), Philox.Block(0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void UniformIsTheSameSequenceInEveryTypeAndOnEveryNumberOfThreads(int threads)
    {
        using var backend = new CpuBackend(threads);
        var random = new Philox(seed: 7, stream: 3);
        float[] expected = [.. Enumerable.Range(0, 20_001).Select(_ => random.NextSingle())];
        Assert.Equal(expected, backend.Uniform([20_001], 7, 3).ToArray<float>());
        Assert.Equal(expected.Select(x => (double)x), backend.Uniform(new TensorType(DType.F64, [20_001]), 7, 3).ToArray<double>());
    }

    [Fact]
    public void StreamsAndSeedsDiffer()
    {
        using var backend = new CpuBackend();
        float[] first = backend.Uniform([8], 1, 0).ToArray<float>();
        Assert.NotEqual(first, backend.Uniform([8], 1, 1).ToArray<float>());
        Assert.NotEqual(first, backend.Uniform([8], 2, 0).ToArray<float>());
        Assert.Equal(first, backend.Uniform([8], 1, 0).ToArray<float>());
    }

    [Fact]
    public void ASequenceGoesOnFromItsPosition()
    {
        var random = new Philox(5);
        for (int i = 0; i < 7; i++)
            random.NextUInt32();
        random.NextNormal();
        var resumed = new Philox(5) { Position = random.Position };
        Assert.Equal(11u, random.Position);
        Assert.Equal(random.NextUInt64(), resumed.NextUInt64());
        random.Position = 0;
        Assert.Equal(new Philox(5).NextUInt32(), random.NextUInt32());
    }

    /// <summary>Means over 200,000 draws, within five standard errors.</summary>
    [Fact]
    public void Moments()
    {
        const int Count = 200_000;
        var random = new Philox(11);
        double[] uniform = [.. Enumerable.Range(0, Count).Select(_ => random.NextDouble())];
        Assert.All(uniform, x => Assert.InRange(x, 0, 1 - 1e-16));
        Assert.Equal(0.5, uniform.Average(), 5 * Math.Sqrt(1.0 / 12 / Count));
        Assert.Equal(1.0 / 3, uniform.Average(x => x * x), 5 * Math.Sqrt(4.0 / 45 / Count));
        double[] normal = [.. Enumerable.Range(0, Count).Select(_ => random.NextNormal())];
        Assert.Equal(0, normal.Average(), 5 * Math.Sqrt(1.0 / Count));
        Assert.Equal(1, normal.Average(x => x * x), 5 * Math.Sqrt(2.0 / Count));
        Assert.Equal(3, normal.Average(x => x * x * x * x), 5 * Math.Sqrt(96.0 / Count));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(6)]
    [InlineData(7)]
    public void IntegersAreEquallyLikely(int bound)
    {
        const int Count = 70_000;
        var random = new Philox(13);
        var seen = new int[bound];
        for (int i = 0; i < Count; i++)
            seen[random.Next(bound)]++;
        double p = 1.0 / bound;
        Assert.All(seen, count => Assert.Equal(Count * p, count, 5 * Math.Sqrt(Count * p * (1 - p)) + 1e-9));
        Assert.Throws<ArgumentOutOfRangeException>(() => random.Next(0));
        int[] large = [.. Enumerable.Range(0, 100).Select(_ => random.Next(int.MaxValue))];
        Assert.Contains(large, x => x < int.MaxValue / 2);
        Assert.Contains(large, x => x > int.MaxValue / 2);
    }

    [Fact]
    public void ShufflingKeepsEveryElement()
    {
        int[] values = [.. Enumerable.Range(0, 100)];
        new Philox(1).Shuffle<int>(values);
        Assert.NotEqual(Enumerable.Range(0, 100), values);
        Assert.Equal(Enumerable.Range(0, 100), values.Order());
    }
}
