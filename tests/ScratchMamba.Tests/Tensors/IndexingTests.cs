using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class IndexingTests : IDisposable
{
    private readonly CpuBackend backend = new();

    public void Dispose() => backend.Dispose();

    [Fact]
    public void GatherTakesRows()
    {
        Tensor table = backend.Tensor<float>([3, 2], 1, 2, 3, 4, 5, 6), indices = backend.Tensor<int>([2, 2], 2, 0, 2, 1);
        Tensor y = table.Gather(indices);
        Assert.Equal([2, 2, 2], y.Shape.ToArray());
        Assert.Equal([5, 6, 1, 2, 5, 6, 3, 4], y.ToArray<float>());
        Assert.Equal([30, 10], backend.Tensor<int>([3], 10, 20, 30).Gather(backend.Tensor<int>([2], 2, 0)).ToArray<int>());
    }

    [Fact]
    public void ScatterAddSumsWhatFallsOnOneRowAndClearsTheOthers()
    {
        Tensor values = backend.Tensor<float>([3, 2], 1, 2, 3, 4, 5, 6), indices = backend.Tensor<int>([3], 2, 0, 2);
        Assert.Equal([3, 4, 0, 0, 6, 8, 0, 0], values.ScatterAdd(indices, 4).ToArray<float>());
    }

    [Fact]
    public void AnEmbeddingsGradientCountsRepeatedRows()
    {
        Tensor table = backend.Tensor<float>([3, 1], 1, 2, 3).Track();
        Tensor y = table.Gather(backend.Tensor<int>([4], 1, 1, 2, 1)).Sum();
        Assert.Equal([0, 3, 1], y.Backward()[table].ToArray<float>());
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(3)]
    public void AnIndexOutOfRangeIsNamed(int wrong)
    {
        Tensor table = backend.Zeros([3, 2]), indices = backend.Tensor<int>([3], 0, wrong, 2);
        var gather = Assert.Throws<ArgumentOutOfRangeException>(() => table.Gather(indices));
        Assert.StartsWith($"Gather: index {wrong}, number 1 of 3, is not one of the 3 rows.", gather.Message, StringComparison.Ordinal);
        var scatter = Assert.Throws<ArgumentOutOfRangeException>(() => backend.Zeros([3, 2]).ScatterAdd(indices, 3));
        Assert.StartsWith($"ScatterAdd: index {wrong}", scatter.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void NothingFromNothing()
    {
        Tensor none = backend.Tensor<int>([0]);
        Assert.Equal(0, backend.Zeros([3, 2]).Gather(none).Count);
        Assert.Equal([0, 0], backend.Zeros([0, 2]).ScatterAdd(none, 1).ToArray<float>());
    }
}
