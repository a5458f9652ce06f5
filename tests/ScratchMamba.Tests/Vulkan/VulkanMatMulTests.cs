using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Every kernel of the matrix product on every device: also those that are chosen only on a GPU, or only for shapes larger than the catalogue's.</summary>
[Collection(nameof(VulkanCollection))]
public class VulkanMatMulTests(VulkanFixture fixture)
{
    /// <summary>The kernel that a shape is to choose on a GPU; the extents; the number of dispatches, two where the inner axis is split.</summary>
    [Theory]
    [InlineData("matmul_tile", 1, 64, 128, 16, 1)]
    [InlineData("matmul_tile", 2, 100, 132, 44, 1)]
    [InlineData("matmul_tile", 1, 640, 260, 24, 1)]
    [InlineData("matmul_tile", 2, 64, 132, 1028, 2)]
    [InlineData("matmul", 1, 9, 5, 3, 1)]
    [InlineData("matmul", 3, 33, 65, 17, 1)]
    [InlineData("matmul", 2, 577, 577, 9, 1)]
    [InlineData("matmul", 2, 34, 31, 1030, 2)]
    [InlineData("matmul", 1, 40, 40, 0, 1)]
    public void TiledKernelsAgreeWithTheCpu(string shader, int batches, int m, int n, int k, int dispatches)
    {
        foreach ((bool transposeA, bool transposeB) in (ReadOnlySpan<(bool, bool)>)[(false, false), (false, true), (true, false), (true, true)])
            Compare(shader, dispatches, new MatMul(transposeA, transposeB), transposeA ? [batches, k, m] : [batches, m, k], transposeB ? [n, k] : [k, n], batches, m);
    }

    [Theory]
    [InlineData(1, 1, 30, 4)]
    [InlineData(1, 1, 257, 768)]
    [InlineData(1, 3, 64, 260)]
    [InlineData(3, 8, 33, 1028)]
    public void FewRowsAgreeWithTheCpu(int batches, int m, int n, int k) =>
        Compare("matmul_few_rows", 1, new MatMul(false, true), [batches, m, k], [batches, n, k], batches, m);

    [Theory]
    [InlineData(1, 1, 4, 7, 1)]
    [InlineData(1, 3, 36, 300, 1)]
    [InlineData(2, 8, 132, 1030, 2)]
    public void FewRowsOfColumnsAgreeWithTheCpu(int batches, int m, int n, int k, int dispatches) =>
        Compare("matmul_few_rows_columns", dispatches, new MatMul(false, false), [batches, m, k], [batches, k, n], batches, m);

    [Fact]
    public void AColumnIsTakenForARow()
    {
        Compare("matmul_few_rows", 1, new MatMul(false, false), [2, 50, 12], [2, 12, 1], 2, 50);
        Compare("matmul_few_rows_columns", 1, new MatMul(true, true), [2, 11, 52], [2, 1, 11], 2, 52);
        Compare("matmul_few_rows", 1, new MatMul(true, true), [2, 12, 1], [2, 50, 12], 2, 1);
    }

    private void Compare(string shader, int dispatches, MatMul product, Shape a, Shape b, int batches, int m)
    {
        SentinelBackend vulkan = fixture.Backend;
        var forced = new OnGpu(product, vulkan.Device.Traits with { IsCpu = false });
        TensorType[] types = [new(DType.F32, a), new(DType.F32, b)];
        Launch launch = forced.Launch(new LaunchCall(types, product.Infer(types), vulkan.Device.Traits))!;
        // Without a batch axis of B the batches may be rows of one product, which is then another shape.
        if (b.Rank == 3 || batches == 1 || product.TransposeA)
        {
            Assert.Equal(shader, launch.Dispatches[0].Shader);
            Assert.Equal(dispatches, launch.Dispatches.Count);
        }
        var draw = new Draw([], m);
        Input left = draw.Normal(a), right = draw.Normal(b, 1 / Math.Sqrt(Math.Max(1, product.TransposeB ? b[^1] : b[^2])));
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        double[] expected = Tensor.Apply(product, left.On(cpu, DType.F64), right.On(cpu, DType.F64)).ToDoubles();
        vulkan.Filling = 0xFF;
        double[] actual = Tensor.Apply(forced, left.On(vulkan, DType.F32), right.On(vulkan, DType.F32)).ToDoubles();
        Assert.InRange(RelativeError.Of(actual, expected), 0, 1e-5);
    }

    /// <summary>A matrix product as another device would run it.</summary>
    private readonly record struct OnGpu(MatMul Product, DeviceTraits Traits) : IPrimitive
    {
        public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Product.Infer(inputs);

        public void Compute(CpuCall call) => Product.Compute(call);

        public Launch? Launch(LaunchCall call) => Product.Launch(new LaunchCall(call.Inputs, call.Outputs, Traits));
    }
}
