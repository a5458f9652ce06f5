using ScratchMamba.Tensors;

namespace ScratchMamba.Tests.Tensors;

public class MemoryPlanTests
{
    [Fact]
    public void TensorsThatLiveAtOnceNeverShareMemory() =>
        Properties.ForAll(200, (_, seed) =>
        {
            var random = new Random(seed);
            Lifetime[] tensors = [.. Enumerable.Range(0, random.Next(60)).Select(_ => Drawn(random))];
            long most = random.Next(1, 40) << 10;
            var plan = new MemoryPlan(tensors, most);
            long[] sizes = [.. plan.Sizes];
            for (int i = 0; i < tensors.Length; i++)
            {
                (int arena, long offset) = plan.Places[i];
                Assert.Equal(0, offset % 256);
                Assert.InRange(offset + tensors[i].Bytes, 0, sizes[arena]);
                for (int j = 0; j < i; j++)
                {
                    (int other, long start) = plan.Places[j];
                    bool shares = arena == other && offset < start + tensors[j].Bytes && start < offset + tensors[i].Bytes;
                    Assert.False(shares && tensors[i].Begin < tensors[j].End && tensors[j].Begin < tensors[i].End);
                }
            }
            // Only a tensor that is larger may make an arena larger.
            Assert.All(sizes, size => Assert.True(size <= most || tensors.Any(tensor => (tensor.Bytes + 255) / 256 * 256 == size)));
        });

    [Fact]
    public void WhatIsNotNeededAtOnceTakesTheSameMemory()
    {
        // Activations of growing size that a walk back needs, last one first, while gradients of other sizes appear and stay.
        var tensors = new List<Lifetime>();
        const int Layers = 20;
        for (int i = 0; i < Layers; i++)
        {
            tensors.Add(new Lifetime(10_000 + 256 * i, i, 2 * Layers - i));
            tensors.Add(new Lifetime(7_000, 2 * Layers - 1 - i, int.MaxValue));
            tensors.Add(new Lifetime(50_000, i, i + 1));
        }
        long most = Enumerable.Range(0, 2 * Layers).Max(time => tensors.Where(tensor => tensor.Begin <= time && time < tensor.End).Sum(tensor => tensor.Bytes));
        Assert.InRange(new MemoryPlan([.. tensors], 1 << 30).Sizes.Single(), most, most * 1.15);
    }

    private static Lifetime Drawn(Random random)
    {
        int begin = random.Next(30);
        return new Lifetime(random.Next(random.Next(3) == 0 ? 20_000 : 700), begin, random.Next(5) == 0 ? int.MaxValue : begin + random.Next(1, 12));
    }
}
