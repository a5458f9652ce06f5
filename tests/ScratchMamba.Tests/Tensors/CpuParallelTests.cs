using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Tensors;

public unsafe class CpuParallelTests
{
    private const long Costly = 1_000_000;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(2, 2)]
    [InlineData(3, 1000)]
    [InlineData(5, 7)]
    public void EveryPartIsDoneOnce(int threads, int count)
    {
        int* done = stackalloc int[count];
        for (int round = 1; round <= 200; round++)
        {
            CpuParallel.For(threads, count, Costly, new Counting { Done = done });
            for (int i = 0; i < count; i++)
                Assert.Equal(round, done[i]);
        }
    }

    [Fact]
    public void LoopsOfSeveralThreadsAndLoopsWithinLoopsDoNotDisturbEachOther()
    {
        Parallel.For(0, 8, _ =>
        {
            int* done = stackalloc int[64];
            for (int round = 1; round <= 50; round++)
                CpuParallel.For(2, 8, Costly, new Nested { Done = done });
            for (int i = 0; i < 64; i++)
                Assert.Equal(50, done[i]);
        });
    }

    [Fact]
    public void LoopsAfterAPauseFindTheThreadsAgain()
    {
        int* done = stackalloc int[16];
        for (int round = 1; round <= 5; round++)
        {
            Thread.Sleep(20);
            CpuParallel.For(4, 16, Costly, new Counting { Done = done });
            Assert.All(new ReadOnlySpan<int>(done, 16).ToArray(), times => Assert.Equal(round, times));
        }
    }

    [Fact]
    public void AnExceptionOfAnyPartArrives()
    {
        for (int part = 0; part < 8; part++)
            Assert.Contains($"part {part}", Assert.Throws<InvalidOperationException>(() => CpuParallel.For(3, 8, Costly, new Throwing { Part = part })).Message);
        int* done = stackalloc int[8];
        CpuParallel.For(3, 8, Costly, new Counting { Done = done });
        Assert.All(new ReadOnlySpan<int>(done, 8).ToArray(), times => Assert.Equal(1, times));
    }

    private struct Counting : IParallelBody
    {
        public int* Done;

        public readonly void Invoke(int index) => Interlocked.Increment(ref Done[index]);
    }

    private struct Nested : IParallelBody
    {
        public int* Done;

        public readonly void Invoke(int index) => CpuParallel.For(2, 8, Costly, new Counting { Done = Done + 8 * index });
    }

    private struct Throwing : IParallelBody
    {
        public int Part;

        public readonly void Invoke(int index)
        {
            if (index == Part)
                throw new InvalidOperationException($"part {index}");
        }
    }
}
