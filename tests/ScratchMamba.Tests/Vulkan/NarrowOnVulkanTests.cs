using ScratchMamba.Catalog;
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

    /// <summary>Products with weights in few bits, by the kernels of graphics devices and by what other devices do.</summary>
    [Theory]
    [InlineData(1, 75, 96)]
    [InlineData(2, 33, 1536)]
    [InlineData(8, 130, 768)]
    [InlineData(9, 5, 64)]
    [InlineData(70, 40, 96)]
    public void ProductsWithWeightsInFewBitsAgreeWithTheCpu(int m, int n, int k)
    {
        using var cpu = new CpuBackend();
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        var draw = new Draw([], 15);
        Input a = draw.Normal([m, k]), w = draw.Normal([n, k], 1 / Math.Sqrt(k)), norm = draw.Uniform([k], 0.5, 2), residual = draw.Normal([m, n]);
        foreach (DType type in (DType[])[DType.F32, DType.BF16, DType.F16, DType.Q8_0, DType.Q4_0])
        {
            double[] numbers = cpu.Tensor(new TensorType(type, [n, k]), w.Values).ToDoubles();
            Tensor weights = vulkan.Tensor(new TensorType(type, [n, k]), w.Values), exact = cpu.Tensor<double>([n, k], numbers);
            Assert.Equal(numbers, weights.ToDoubles());
            Assert.Equal(numbers, weights.Cast(DType.F32).ToDoubles());
            foreach (IPrimitive operation in (IPrimitive[])[new MatMul(false, true), new NormLinear(1e-5, false), new NormLinear(1e-5, true)])
            {
                Tensor[] Inputs(Backend backend, DType one, Tensor matrix) => operation switch
                {
                    MatMul => [a.On(backend, one), matrix],
                    NormLinear { HasResidual: true } => [a.On(backend, one), norm.On(backend, one), matrix, residual.On(backend, one)],
                    _ => [a.On(backend, one), norm.On(backend, one), matrix],
                };
                double[] expected = Run(operation, Inputs(cpu, DType.F64, exact)), own = Run(operation, Inputs(vulkan, DType.F32, weights));
                Assert.InRange(RelativeError.Of(own, expected), 0, 1e-5);
                Assert.InRange(RelativeError.Of(Run(new AsOnGraphics(operation), Inputs(vulkan, DType.F32, weights)), expected), 0, 1e-5);
            }
        }
    }

    [Theory]
    [InlineData(DType.Q8_0, 96)]
    [InlineData(DType.Q4_0, 96)]
    [InlineData(DType.BF16, 96)]
    [InlineData(DType.F16, 96)]
    [InlineData(DType.F16, 33)]
    public void RowsOfNumbersInFewerBitsAreGathered(DType type, int width)
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        Input table = new Draw([], 16).Normal([5, width]);
        foreach (Backend backend in new Backend[] { cpu, fixture.Backend })
        {
            Tensor rows = backend.Tensor(new TensorType(type, [5, width]), table.Values), indices = backend.Tensor<int>([4], 4, 0, 3, 4), gathered = rows.Gather(indices, DType.F32);
            Assert.Equal(DType.F32, gathered.DType);
            Assert.Equal(rows.Cast(DType.F32).Gather(indices).ToDoubles(), gathered.ToDoubles());
        }
    }

    private static double[] Run(IPrimitive operation, Tensor[] inputs) => operation switch
    {
        MatMul product => Tensor.Apply(product, inputs).ToDoubles(),
        NormLinear product => Tensor.Apply(product, inputs).ToDoubles(),
        _ => Tensor.Apply((AsOnGraphics)operation, inputs).ToDoubles(),
    };

    private static ushort[] Bits(Tensor tensor) => tensor.DType == DType.BF16
        ? Array.ConvertAll(tensor.ToArray<BFloat16>(), value => value.Bits)
        : Array.ConvertAll(tensor.ToArray<Half>(), BitConverter.HalfToUInt16Bits);
}
