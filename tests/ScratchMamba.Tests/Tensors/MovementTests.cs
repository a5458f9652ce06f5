using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class MovementTests : IDisposable
{
    private readonly CpuBackend backend = new();

    public void Dispose() => backend.Dispose();

    [Fact]
    public void PermuteMovesEachElementToItsPlace()
    {
        Shape shape = [5, 33, 2, 40];
        Tensor x = Numbered(shape);
        int[][] orders = [[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3], [1, 0, 2, 3], [0, 3, 1, 2], [2, 3, 0, 1], [0, 1, 3, 2], [3, 0, 1, 2]];
        foreach (int[] axes in orders)
        {
            Tensor y = x.Permute(axes);
            float[] values = y.ToArray<float>();
            int[] index = new int[4];
            for (int i = 0; i < values.Length; i++)
            {
                int rest = i;
                for (int axis = 3; axis >= 0; axis--)
                {
                    index[axes[axis]] = rest % y.Shape[axis];
                    rest /= y.Shape[axis];
                }
                Assert.Equal(((index[0] * 33 + index[1]) * 2 + index[2]) * 40 + index[3], values[i]);
            }
        }
    }

    [Fact]
    public void TransposeTwiceIsTheTensorItself()
    {
        Tensor x = backend.Tensor<int>([2, 3], 1, 2, 3, 4, 5, 6);
        Assert.Equal([1, 4, 2, 5, 3, 6], x.Transpose(0, -1).ToArray<int>());
        Assert.Equal(x.ToArray<int>(), x.Transpose(0, 1).Transpose(0, 1).ToArray<int>());
    }

    [Fact]
    public void PartsPutTogetherAreTheWhole()
    {
        Tensor x = Numbered([3, 10, 4]);
        for (int axis = 0; axis < 3; axis++)
        {
            Tensor[] parts = x.Split(axis, 1, 0, x.Shape[axis] - 1);
            Assert.Equal(x.ToArray<float>(), TensorOperations.Concatenate(axis, parts).ToArray<float>());
            Assert.Equal(parts[2].ToArray<float>(), x.Slice(axis, 1, x.Shape[axis] - 1).ToArray<float>());
        }
    }

    [Fact]
    public void PadSurroundsAndSliceUndoesIt()
    {
        Tensor x = backend.Tensor<float>([2, 2], 1, 2, 3, 4);
        Tensor y = x.Pad(-1, 1, 2, value: -7);
        Assert.Equal([-7, 1, 2, -7, -7, -7, 3, 4, -7, -7], y.ToArray<float>());
        Assert.Equal(x.ToArray<float>(), y.Slice(-1, 1, 2).ToArray<float>());
        Assert.Equal([0, 0, 1, 2, 3, 4], x.Pad(0, 1, 0).ToArray<float>());
        Assert.Equal([9, 1, 2], backend.Tensor<int>([2], 1, 2).Pad(0, 1, 0, 9).ToArray<int>());
    }

    [Fact]
    public void APartWithoutGradientCountsAsZero()
    {
        Tensor x = Numbered([2, 3]).Track();
        Tensor[] parts = x.Split(1, 1, 2);
        Assert.Equal([0, 1, 1, 0, 1, 1], parts[1].Sum().Backward()[x].ToArray<float>());
    }

    [Fact]
    public void NothingIsCopiedWhereNothingChanges()
    {
        Tensor x = Numbered([2, 3]);
        Assert.Same(x, x.Slice(1, 0, 3));
        Assert.Same(x, x.Pad(1, 0, 0));
        Assert.Same(x, TensorOperations.Concatenate(0, x));
        Assert.Same(x, x.Cast(DType.F32));
    }

    private Tensor Numbered(Shape shape) => backend.Tensor<float>(shape, [.. Enumerable.Range(0, (int)shape.Count).Select(i => (float)i)]);
}
