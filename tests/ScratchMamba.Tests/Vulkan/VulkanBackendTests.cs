using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Memory, transfers, recording and faults on a Vulkan device.</summary>
[Collection(nameof(VulkanCollection))]
public class VulkanBackendTests(VulkanFixture fixture)
{
    private static float[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(i => (float)i)];

    private VulkanBackend Open()
    {
        _ = fixture.Backend;
        return new VulkanBackend(VulkanFixture.DeviceName);
    }

    [Fact]
    public void LargeTransfersComeBackWhole()
    {
        using VulkanBackend vulkan = Open();
        // More than a piece of the staging memory, and no multiple of one.
        float[] values = Numbers(3_000_001);
        Tensor x = vulkan.Tensor<float>([values.Length], values);
        Assert.Equal(values, x.ToArray<float>());
        // Written while commands that read the old data may be under way.
        Tensor y = x * 2;
        x.Write<float>(new float[values.Length]);
        Assert.Equal(values.Select(value => 2 * value), y.ToArray<float>());
        Assert.Equal(0, x.ToArray<float>()[^1]);
    }

    [Fact]
    public void WhatIsReadLaterIsWhatWasThereWhenItWasAskedFor()
    {
        using VulkanBackend vulkan = Open();
        Tensor x = vulkan.Tensor<float>([7], Numbers(7));
        Lazy<float[]> early = x.ReadLater<float>();
        Tensor.Overwrite(new Affine(2, 1), [x], x);
        Lazy<float[]> later = x.ReadLater<float>();
        // More passes between than the staging memory holds.
        Tensor large = vulkan.Tensor<float>([9_000_001], Numbers(9_000_001));
        Assert.Equal(Numbers(7).Select(value => 2 * value + 1), later.Value);
        Assert.Equal(Numbers(7), early.Value);
        Assert.Equal(9_000_000, large.ReadLater<float>().Value[^1]);
    }

    [Fact]
    public void MemoryIsReusedWhileCommandsAreUnderWay()
    {
        using VulkanBackend vulkan = Open();
        Tensor x = vulkan.Tensor<float>([1000], Numbers(1000));
        long held = 0;
        for (int i = 0; i < 500; i++)
        {
            using var scope = new Scope();
            Tensor y = ((x + 1) * 2 - 2) * 0.5;
            Tensor.Overwrite(new Affine(1, 1), [y], x);
            held = i == 0 ? vulkan.HeldBytes : held;
        }
        Assert.Equal(Numbers(1000).Select(value => value + 500), x.ToArray<float>());
        Assert.Equal(held, vulkan.HeldBytes);
    }

    [Fact]
    public void ReusedMemoryCanBeWrittenByTheHost()
    {
        using VulkanBackend vulkan = Open();
        Tensor sum = vulkan.Tensor<float>([256], new float[256]);
        for (int i = 1; i <= 300; i++)
        {
            using var scope = new Scope();
            Tensor step = vulkan.Tensor<float>([256], [.. Enumerable.Repeat((float)i, 256)]);
            Tensor.Overwrite(new Add(), [sum, step], sum);
        }
        Assert.All(sum.ToArray<float>(), value => Assert.Equal(300 * 301 / 2, value));
    }

    [Fact]
    public void ACapturedProgramDoesWhatItsOperationsDo()
    {
        using VulkanBackend vulkan = Open();
        using var cpu = new CpuBackend();
        float[][] results = [.. new Backend[] { vulkan, cpu }.Select(backend =>
        {
            Tensor x = backend.Tensor<float>([64], Numbers(64)), sum = backend.Tensor<float>([64], new float[64]);
            using CapturedProgram program = backend.Capture(() =>
            {
                // With temporaries whose memory is used again, and an operation that runs its definition on both.
                for (int i = 0; i < 10; i++)
                {
                    using var scope = new Scope();
                    Tensor y = (x + i).Sigmoid() + (x - i).Sigmoid();
                    Tensor.Overwrite(new Add(), [sum, y], sum);
                }
                Tensor.Overwrite(new Affine(1, 1), [x], x);
            });
            program.Run();
            program.Run();
            Tensor.Overwrite(new Affine(2, 0), [sum], sum);
            program.Run();
            return sum.ToArray<float>();
        })];
        Assert.True(RelativeError.Of(Array.ConvertAll(results[0], x => (double)x), Array.ConvertAll(results[1], x => (double)x)) < 1e-5);
    }

    [Fact]
    public void DefinitionsThatRunOneAfterTheOtherShareTheirMemory()
    {
        using VulkanBackend vulkan = Open();
        using var outer = new Scope();
        const int Count = 1 << 16;
        Tensor x = vulkan.Tensor<float>([Count], Numbers(Count)), y = vulkan.Tensor<float>([Count], new float[Count]);
        float[] expected = x.Sigmoid().Sigmoid().Sigmoid().ToArray<float>();
        long BytesOf(int times, float[]? result)
        {
            long before = vulkan.LiveBytes;
            using CapturedProgram program = vulkan.Capture(() =>
            {
                for (int i = 0; i < times; i++)
                {
                    using var scope = new Scope();
                    Tensor.Overwrite(new Affine(1, 0), [(i == 0 ? x : y).Sigmoid()], y);
                }
            });
            program.Run();
            if (result is not null)
                Assert.Equal(result, y.ToArray<float>());
            return vulkan.LiveBytes - before;
        }
        long start = vulkan.LiveBytes, once = BytesOf(1, null), thrice = BytesOf(3, expected), often = BytesOf(12, null);
        Assert.Equal(thrice, often);
        Assert.True(often <= once + Count * sizeof(float));
        Assert.Equal(start, vulkan.LiveBytes);
    }

    [Fact]
    public void AProgramWhoseTensorsAreGoneRefusesToRun()
    {
        using VulkanBackend vulkan = Open();
        CapturedProgram program;
        using (new Scope())
        {
            Tensor x = vulkan.Tensor<float>([4], Numbers(4));
            program = vulkan.Capture(() => Tensor.Overwrite(new Affine(1, 1), [x], x));
        }
        Assert.Throws<ObjectDisposedException>(program.Run);
        program.Dispose();
    }

    [Fact]
    public void EveryOperationIsTimed()
    {
        using VulkanBackend vulkan = Open();
        // Before, because a device with memory of its own gets its numbers by a copy, which is timed too.
        Tensor x = vulkan.Tensor<float>([64], Numbers(64));
        vulkan.StartTrace();
        for (int i = 0; i < 1000; i++)
            Tensor.Overwrite(new Affine(1, 1), [x], x);
        IReadOnlyList<TraceEvent> events = vulkan.Trace;
        Assert.Equal(1000, events.Count);
        Assert.All(events, item => Assert.True(item is { Operation: "Affine", Duration: >= 0, Bytes: 512 }));
        Assert.Equal(events.Select(item => item.Start).Order(), events.Select(item => item.Start));
    }

    [Fact]
    public void KernelsOfAnOperationAreTimedBesideIt()
    {
        using VulkanBackend vulkan = Open();
        vulkan.StartTrace();
        Tensor x = vulkan.Tensor<float>([1, 4, 2, 4], Numbers(32)), step = vulkan.Tensor<float>([1, 4, 2], Numbers(8)), decay = vulkan.Tensor<float>([2], [-1, -2]);
        x.ChunkState(step, decay, x.Reshape([1, 4, 2, 4]));
        TraceEvent[] events = [.. vulkan.Trace.Where(item => item.Operation == "ChunkState")];
        Assert.Equal([null, "chunk_decay", "chunk_state"], events.Select(item => item.Kernel));
        Assert.Equal(events[0].Duration, events[2].Start + events[2].Duration - events[1].Start, 1e-3);
        Assert.True(events[2].Start >= events[1].Start + events[1].Duration);
        Assert.True(vulkan.BetweenKernels >= TimeSpan.Zero);
        Assert.Equal(1, OperationCost.Of(vulkan.Trace).Single(cost => cost.Operation == "ChunkState").Calls);
    }

    [Fact]
    public void WhatDoesNotFitIsRefusedByName()
    {
        using VulkanBackend vulkan = Open();
        Assert.Contains("F64 [2]", Assert.Throws<NotSupportedException>(() => vulkan.Zeros(new TensorType(DType.F64, [2]))).Message, StringComparison.Ordinal);
        Assert.Contains("2,147,483,647 in one tensor", Assert.Throws<NotSupportedException>(() => vulkan.Zeros([1 << 16, 1 << 15])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ExhaustedMemoryIsNamedAndLeavesTheRestAlone()
    {
        using VulkanBackend vulkan = Open();
        vulkan.MemoryLimit = 128 << 20;
        Tensor kept = vulkan.Tensor<float>([1000], Numbers(1000));
        using (new Scope())
            vulkan.Zeros([40 << 18]);
        string message = Assert.Throws<InsufficientMemoryException>(() => vulkan.Zeros([1000, 100_000])).Message;
        Assert.Contains("F32 [1000, 100000]", message, StringComparison.Ordinal);
        Assert.Contains("400 MB", message, StringComparison.Ordinal);
        Assert.Contains("smaller batch", message, StringComparison.Ordinal);
        Assert.Equal(Numbers(1000), kept.ToArray<float>());
        // Blocks in which nothing lives any more make room for one of another size.
        using (new Scope())
            Assert.Equal(0, vulkan.Zeros([25 << 20]).Slice(0, 5, 1).Item());
    }

    [Fact]
    public void ALostDeviceIsNamed()
    {
        VulkanBackend vulkan = Open();
        Tensor x = vulkan.Tensor<float>([4], Numbers(4));
        Tensor y = x + 1;
        vulkan.SimulateLoss();
        string message = Assert.Throws<DeviceLostException>(() => y.ToArray<float>()).Message;
        Assert.Contains(vulkan.Device.Name, message, StringComparison.Ordinal);
        Assert.Contains("submission", message, StringComparison.Ordinal);
        vulkan.Dispose();
    }

    [Fact]
    public void TwoBackendsShareADevice()
    {
        using VulkanBackend first = Open(), second = Open();
        Tensor x = first.Tensor<float>([4], Numbers(4)), y = second.Tensor<float>([4], Numbers(4));
        for (int i = 0; i < 100; i++)
        {
            Tensor.Overwrite(new Affine(1, 1), [x], x);
            Tensor.Overwrite(new Affine(1, -1), [y], y);
        }
        Assert.Equal([100, 101, 102, 103], x.ToArray<float>());
        Assert.Equal([-100, -99, -98, -97], y.ToArray<float>());
    }

    [Fact]
    public void LockstepWithTheCpuNamesTheOperation()
    {
        using var lockstep = new LockstepBackend(new CpuBackend(), Open());
        Tensor x = lockstep.Tensor<float>([4], Numbers(4));
        Assert.Equal([1, 2, 3, 4], (x + 1).ToArray<float>());
        Assert.True(lockstep.Errors["Affine"] <= 1e-6);
    }

    [Theory, InlineData(0), InlineData(10), InlineData(60), InlineData(-1)]
    public void ADamagedPipelineCacheIsReplaced(int at)
    {
        using var folder = new TemporaryFolder();
        string Run()
        {
            _ = fixture.Backend;
            using (var vulkan = new VulkanBackend(VulkanFixture.DeviceName, folder.Path))
                Assert.Equal([1, 2], (vulkan.Tensor<float>([2], [0, 1]) + 1).ToArray<float>());
            return Assert.Single(Directory.GetFiles(folder.Path));
        }
        string file = Run();
        byte[] good = File.ReadAllBytes(file), bad = [.. good];
        bad[at < 0 ? bad.Length + at : at] ^= 0xFF;
        File.WriteAllBytes(file, bad);
        Assert.Equal(file, Run());
        Assert.Equal(good, File.ReadAllBytes(file));
        File.WriteAllBytes(file, []);
        Run();
        Assert.Equal(good, File.ReadAllBytes(file));
    }
}
