using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Shapes that are cut into parts, which the small ones of the catalogue are not, with the kernels for graphics devices and with those for processors.</summary>
[Collection(nameof(VulkanCollection))]
public sealed class LargeTensors(VulkanFixture fixture)
{
    [Theory]
    [InlineData(1, 1_000_003, 1)]
    [InlineData(3, 70_000, 1)]
    [InlineData(2_000, 130, 1)]
    [InlineData(1, 20_001, 5)]
    [InlineData(1, 4_096, 48)]
    [InlineData(2, 1_500, 3)]
    public void LinesAreReducedToFloat32sPrecision(int outer, int extent, int inner)
    {
        var shape = new Shape(outer, extent, inner);
        // Far from zero: what is lost to rounding would add up.
        double[] values = Values(shape, random => 1 + random.NextDouble());
        AssertClose(new Sum(1), 3e-7, (shape, values));
        // Blocks are added up one by one: observed 1.4e-6.
        AssertClose(new CumulativeSum(1, false), 5e-6, (shape, values));
        AssertClose(new CumulativeSum(1, true), 5e-6, (shape, values));
        AssertClose(new Max(1), 0, (shape, values));
        double[] logits = Values(shape, random => 20 * random.NextDouble());
        AssertClose(new LogSumExp(1), 1e-6, (shape, logits));
        // Observed 1.1e-6.
        AssertClose(new Softmax(1), 5e-6, (shape, logits));
    }

    [Theory]
    [InlineData(5_000, 64, 12)]
    [InlineData(5_000, 30_000, 5)]
    [InlineData(3_000, 1, 8)]
    [InlineData(257, 257, 1)]
    public void ValuesAreAddedByRow(int count, int rows, int width)
    {
        double[] values = Values([count, width], random => random.NextDouble());
        var indices = new Random(2);
        // Rows are not equally frequent, as words are not.
        double[] targets = [.. Enumerable.Range(0, count).Select(_ => (double)(int)(rows * Math.Pow(indices.NextDouble(), 4)))];
        AssertClose(new ScatterAdd(rows), 1e-6, ([count, width], values), ([count], targets));
    }

    [Theory, InlineData(false), InlineData(true)]
    public void RowsThatDoNotExistAreZerosAndReceiveNothing(bool graphics)
    {
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        Tensor table = vulkan.Tensor<float>([3, 2], 1, 2, 3, 4, 5, 6), indices = vulkan.Tensor<int>([5], 2, -1, 3, 0, int.MinValue);
        Assert.Equal([5, 6, 0, 0, 0, 0, 1, 2, 0, 0], Run(new Gather(), graphics, table, indices).ToArray<float>());
        Tensor values = vulkan.Tensor<float>([5, 1], 1, 2, 4, 8, 16);
        Assert.Equal([8, 0, 1], Run(new ScatterAdd(3), graphics, values, indices).ToArray<float>());
        Tensor nothing = Run(new ScatterAdd(3), graphics, vulkan.Tensor<float>([0, 2]), vulkan.Tensor<int>([0]));
        Assert.Equal(new float[6], nothing.ToArray<float>());
    }

    [Theory]
    [InlineData(0, 1, 2)]
    [InlineData(0, 2, 1)]
    [InlineData(1, 0, 2)]
    [InlineData(1, 2, 0)]
    [InlineData(2, 0, 1)]
    [InlineData(2, 1, 0)]
    public void AxesAreReordered(int a, int b, int c)
    {
        Shape shape = [37, 70, 33];
        AssertClose(new Permute([a, b, c]), 0, (shape, Values(shape, random => random.NextSingle())));
    }

    [Fact]
    public void IntegersMoveToo()
    {
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        // The first would be a signalling NaN, the second a subnormal number.
        Tensor x = vulkan.Tensor<int>([2, 2], 0x7F800001, 1, -7, int.MinValue);
        Assert.Equal([0x7F800001, -7, 1, int.MinValue], x.Permute(1, 0).ToArray<int>());
        Assert.Equal([0x7F800001, 1, 9, -7, int.MinValue, 9], x.Pad(1, 0, 1, 9).ToArray<int>());
        Assert.Equal([-7, int.MinValue, 0x7F800001, 1], TensorOperations.Concatenate(0, x.Slice(0, 1, 1), x.Slice(0, 0, 1)).ToArray<int>());
        Assert.Equal([-5, -5], Tensor.Create(vulkan, new Full(new TensorType(DType.I32, [2]), -5)).ToArray<int>());
        Assert.Equal([0x7F800001, 1, -7, int.MinValue], x.Broadcast([1, 2, 2]).ToArray<int>());
        Assert.Equal([1, -7, -2147483648f], x.Reshape([4]).Slice(0, 1, 3).Cast(DType.F32).ToArray<float>());
        Assert.Equal([1, 2, 2], vulkan.Tensor<int>([3], int.MinValue, 0, 0).Where(vulkan.Scalar(1), vulkan.Scalar(2)).ToArray<float>());
        Assert.Equal([1, 2, 1], vulkan.Tensor<float>([3], float.NaN, -0f, -1e-20f).Where(vulkan.Scalar(1), vulkan.Scalar(2)).ToArray<float>());
    }

    [Fact]
    public void RandomNumbersAreThoseOfTheCpu()
    {
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        using var cpu = new CpuBackend();
        ulong seed = 0xFEDCBA9876543210, stream = 0x0123456789ABCDEF;
        Assert.Equal(cpu.Uniform([100_003], seed, stream).ToArray<float>(), vulkan.Uniform([100_003], seed, stream).ToArray<float>());
    }

    // 275, 525 and 1,000 partial sums: those of fewer columns are added up at a time, the more there are.
    [Theory]
    [InlineData(1_100)]
    [InlineData(2_100)]
    [InlineData(5_000)]
    public void WeightsOfNormsReceiveFromAllRows(int rows)
    {
        const int columns = 20;
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        using var cpu = new CpuBackend();
        var operation = new RmsNormGradient(1e-5, false);
        Shape[] shapes = [[rows, columns], [columns], [rows, columns]];
        double[] expected = Tensor.Run(operation, cpu, On(cpu, DType.F64))[1].ToDoubles();
        foreach (bool graphics in (bool[])[false, true])
        {
            double[] actual = Tensor.Run(graphics ? new AsOnGraphics(operation) : operation, vulkan, On(vulkan, DType.F32))[1].ToDoubles();
            Assert.InRange(RelativeError.Of(actual, expected), 0, 1e-5);
        }

        Tensor[] On(Backend backend, DType type) =>
            [.. shapes.Select(shape => backend.Tensor(new TensorType(type, shape), Values(shape, random => random.NextDouble() - 0.3)))];
    }

    private static Tensor Run(IPrimitive operation, bool graphics, params Tensor[] inputs) =>
        Tensor.Run(graphics ? new AsOnGraphics(operation) : operation, inputs[0].Backend, inputs)[0];

    private static double[] Values(Shape shape, Func<Random, double> next)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, (int)shape.Count).Select(_ => (double)(float)next(random))];
    }

    /// <summary>The operation on the device agrees with float64 on the CPU, and gives the same bits twice. A second input is one of indices.</summary>
    private void AssertClose(IPrimitive operation, double tolerance, params (Shape Shape, double[] Values)[] inputs)
    {
        SentinelBackend vulkan = fixture.Backend;
        vulkan.Filling = 0xFF;
        using var scope = new Scope();
        using var cpu = new CpuBackend();
        double[] expected = Tensor.Run(operation, cpu, On(cpu, DType.F64))[0].ToDoubles();
        foreach (bool graphics in (bool[])[false, true])
        {
            float[] actual = Run(operation, graphics, On(vulkan, DType.F32)).ToArray<float>();
            double error = RelativeError.Of(Array.ConvertAll(actual, x => (double)x), expected);
            Assert.True(error <= tolerance, $"{operation.Name} is off by {error:g3}");
            Assert.Equal(actual, Run(operation, graphics, On(vulkan, DType.F32)).ToArray<float>());
        }

        Tensor[] On(Backend backend, DType type) =>
            [.. inputs.Select((input, i) => backend.Tensor(new TensorType(i == 0 ? type : DType.I32, input.Shape), input.Values))];
    }
}
