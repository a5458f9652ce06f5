using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class ReductionTests : IDisposable
{
    private const float Infinity = float.PositiveInfinity;

    private readonly CpuBackend backend = new();

    public void Dispose() => backend.Dispose();

    [Fact]
    public void SoftmaxOfLargeNumbers()
    {
        double e = Math.E;
        AssertAlongBothAxes([1000, 1001, 0], x => x.Softmax(0), x => x.Softmax(1), [1 / (1 + e), e / (1 + e), 0]);
        AssertAlongBothAxes([-1000, -1001, -2000], x => x.Softmax(0), x => x.Softmax(1), [e / (1 + e), 1 / (1 + e), 0]);
    }

    [Fact]
    public void SoftmaxWithMaskedElements()
    {
        AssertAlongBothAxes([-Infinity, 3, 3], x => x.Softmax(0), x => x.Softmax(1), [0, 0.5, 0.5]);
        AssertAlongBothAxes([-Infinity, -Infinity], x => x.Softmax(0), x => x.Softmax(1), [double.NaN, double.NaN]);
    }

    [Fact]
    public void LogSumExpIsStable()
    {
        AssertAlongBothAxes([1000, 1000], x => x.LogSumExp(0), x => x.LogSumExp(1), [1000 + Math.Log(2)], 1e-4);
        AssertAlongBothAxes([-1000, -1000], x => x.LogSumExp(0), x => x.LogSumExp(1), [-1000 + Math.Log(2)], 1e-4);
        AssertAlongBothAxes([-Infinity, 2], x => x.LogSumExp(0), x => x.LogSumExp(1), [2]);
        AssertAlongBothAxes([-Infinity, -Infinity], x => x.LogSumExp(0), x => x.LogSumExp(1), [double.NegativeInfinity]);
        AssertAlongBothAxes([Infinity, 0], x => x.LogSumExp(0), x => x.LogSumExp(1), [double.PositiveInfinity]);
        AssertAlongBothAxes([float.NaN, Infinity], x => x.LogSumExp(0), x => x.LogSumExp(1), [double.NaN]);
    }

    [Fact]
    public void LogSumExpOfALongRow()
    {
        Tensor x = backend.Full(new TensorType(DType.F64, [1000]), 2);
        Assert.Equal(2 + Math.Log(1000), x.LogSumExp(0).Item(), 1e-12);
    }

    [Fact]
    public void MaximaShareTheGradient()
    {
        Tensor x = backend.Tensor<float>([2, 3], 1, 5, 5, -1, -3, -2).Track();
        Tensor y = x.Max(1);
        Assert.Equal([5, -1], y.ToArray<float>());
        Assert.Equal([0, 0.5f, 0.5f, 1, 0, 0], y.Sum().Backward()[x].ToArray<float>());
        AssertAlongBothAxes([1, float.NaN, 2], v => v.Max(0), v => v.Max(1), [double.NaN]);
        AssertAlongBothAxes([-Infinity, -4], v => v.Max(0), v => v.Max(1), [-4]);
    }

    [Fact]
    public void CumulativeSumsFromEitherEnd()
    {
        AssertAlongBothAxes([1, 2, 4], x => x.CumulativeSum(0), x => x.CumulativeSum(1), [1, 3, 7]);
        AssertAlongBothAxes([1, 2, 4], x => x.CumulativeSum(0, reverse: true), x => x.CumulativeSum(1, reverse: true), [7, 6, 4]);
    }

    [Fact]
    public void EmptyAxes()
    {
        Tensor x = backend.Zeros([2, 0]);
        Assert.Equal(0, x.Softmax(1).Count);
        Assert.Equal(0, x.Softmax(0).Count);
        Assert.Equal(0, x.CumulativeSum(1).Count);
        Assert.Equal(0, x.Max(0).Count);
        Assert.Equal([0, 0], x.Sum(1).ToArray<float>());
    }

    /// <summary>Once with the values in a row, once in a column beside others.</summary>
    private void AssertAlongBothAxes(float[] values, Func<Tensor, Tensor> alongFirst, Func<Tensor, Tensor> alongSecond, double[] expected, double tolerance = 1e-6)
    {
        double[] row = alongSecond(backend.Tensor<float>([1, values.Length], values)).ToDoubles();
        double[] columns = alongFirst(backend.Tensor<float>([values.Length, 2], [.. values.SelectMany(value => (float[])[value, 0])])).ToDoubles();
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], row[i], tolerance);
            Assert.Equal(expected[i], columns[2 * i], tolerance);
        }
    }
}
