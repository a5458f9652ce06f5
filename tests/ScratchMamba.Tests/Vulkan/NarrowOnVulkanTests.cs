using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Numbers of 16 bits on a Vulkan device: the same bits as on the CPU.</summary>
[Collection(nameof(VulkanCollection))]
public class NarrowOnVulkanTests(VulkanFixture fixture)
{
    /// <summary>Of every exponent, on both sides of every rounding, and what is no number.</summary>
    private static readonly float[] Numbers =
        [.. Enumerable.Range(0, 1 << 16).SelectMany(high => Array.ConvertAll<uint, float>([0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001], low => BitConverter.UInt32BitsToSingle((uint)high << 16 | low))), 1];

    [Theory]
    [InlineData(DType.BF16)]
    [InlineData(DType.F16)]
    public void EveryNumberIsRoundedAndWidenedAsOnTheCpu(DType type)
    {
        using var cpu = new CpuBackend();
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        Tensor Narrow(Backend backend) => backend.Tensor<float>([Numbers.Length], Numbers).Cast(type);
        Tensor expected = Narrow(cpu), actual = Narrow(vulkan);
        ushort[] wanted = Bits(expected), found = Bits(actual);
        for (int i = 0; i < wanted.Length; i++)
        {
            // Which of the many NaN is for the machine to choose.
            if (!float.IsNaN(Numbers[i]))
                Assert.True(wanted[i] == found[i], $"{Numbers[i]:R} became {found[i]:X4} instead of {wanted[i]:X4}.");
        }
        double[] widened = actual.Cast(DType.F32).ToDoubles();
        Assert.Equal(actual.ToDoubles(), widened);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(8)]
    [InlineData(257)]
    public void RowsOf16BitsAreGatheredAndFilled(int width)
    {
        using var cpu = new CpuBackend();
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        float[] values = [.. Enumerable.Range(0, 5 * width).Select(i => i - 2.5f)];
        foreach (DType type in (DType[])[DType.BF16, DType.F16])
        {
            double[] Rows(Backend backend) =>
                backend.Tensor<float>([5, width], values).Cast(type).Gather(backend.Tensor<int>([3], 4, 0, 3)).Cast(DType.F32).ToDoubles();
            Assert.Equal(Rows(cpu), Rows(vulkan));
            Assert.All(vulkan.Full(new TensorType(type, [5, width]), 1.5).ToDoubles(), value => Assert.Equal(1.5, value));
        }
    }

    private static ushort[] Bits(Tensor tensor) => tensor.DType == DType.BF16
        ? Array.ConvertAll(tensor.ToArray<BFloat16>(), value => value.Bits)
        : Array.ConvertAll(tensor.ToArray<Half>(), BitConverter.HalfToUInt16Bits);
}
