using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public class CrossEntropyTests
{
    [Fact]
    public void IsTheNegativeLogarithmOfTheSoftmax()
    {
        using var backend = new CpuBackend();
        Tensor logits = backend.Tensor<double>([2, 3], 1, 2, 3, 0, 0, 0);
        double[] losses = logits.CrossEntropy(backend.Tensor<int>([2], 0, 2)).ToArray<double>();
        Assert.Equal(Math.Log(Math.Exp(1) + Math.Exp(2) + Math.Exp(3)) - 1, losses[0], 1e-14);
        Assert.Equal(Math.Log(3), losses[1], 1e-14);
    }

    [Fact]
    public void HugeLogitsStayExact()
    {
        using var backend = new CpuBackend();
        Tensor logits = backend.Tensor<float>([4, 3], 1000, 1001, 0, -2e38f, 2e38f, 0, 1e8f, 1e8f, -1e8f, -1e4f, -1e4f, -1e4f).Track();
        Tensor labels = backend.Tensor<int>([4], 1, 1, 0, 2);
        Tensor losses = logits.CrossEntropy(labels);
        Gradients gradients = losses.Keep().Backward(backend.Full(losses.Type, 1));
        float[] values = losses.ToArray<float>();
        Assert.Equal(Math.Log(1 + Math.Exp(-1)), values[0], 1e-7);
        Assert.Equal(0, values[1]);
        Assert.Equal(Math.Log(2), values[2], 1e-7);
        Assert.Equal(Math.Log(3), values[3], 1e-7);
        Assert.All(gradients[logits].ToArray<float>(), value => Assert.InRange(value, -1, 1));
    }

    [Fact]
    public void MinusInfinityMeansImpossible()
    {
        using var backend = new CpuBackend();
        const float Never = float.NegativeInfinity;
        Tensor logits = backend.Tensor<float>([3, 2], 0, Never, 0, Never, Never, Never).Track();
        Tensor losses = logits.CrossEntropy(backend.Tensor<int>([3], 0, 1, -1)).Keep();
        Assert.Equal([0, float.PositiveInfinity, 0], losses.ToArray<float>());
        float[] gradient = losses.Backward(backend.Full(losses.Type, 1))[logits].ToArray<float>();
        Assert.Equal([0, 0, 1, -1, 0, 0], gradient);
    }

    [Fact]
    public void NotANumberIsNotHidden()
    {
        using var backend = new CpuBackend();
        Tensor logits = backend.Tensor<float>([1, 3], 0, float.NaN, 1);
        Assert.True(float.IsNaN(logits.CrossEntropy(backend.Tensor<int>([1], 0)).ToArray<float>()[0]));
    }

    [Fact]
    public void NegativeLabelsAreIgnored()
    {
        using var backend = new CpuBackend();
        Tensor logits = backend.Tensor<float>([3, 2], 5, 1, 2, 2, float.NaN, 9).Track();
        Tensor labels = backend.Tensor<int>([3], -100, 1, -1);
        Tensor losses = logits.CrossEntropy(labels).Keep();
        Assert.Equal([0, MathF.Log(2), 0], losses.ToArray<float>(), (x, y) => Math.Abs(x - y) < 1e-7);
        Assert.Equal([0, 0, 0.5f, -0.5f, 0, 0], losses.Backward(backend.Full(losses.Type, 1))[logits].ToArray<float>(), (x, y) => Math.Abs(x - y) < 1e-7);
    }

    [Fact]
    public void TheMeanIsOverWhatIsNotIgnored()
    {
        using var backend = new CpuBackend();
        Tensor logits = backend.Tensor<float>([2, 2, 2], 0, 0, 0, 0, 0, 0, 3, 4).Track();
        Tensor loss = logits.CrossEntropyMean(backend.Tensor<int>([2, 2], 1, -100, 0, -100)).Keep();
        Assert.Equal(Math.Log(2), loss.Item(), 1e-7);
        Assert.Equal([0.25f, -0.25f, 0, 0, -0.25f, 0.25f, 0, 0], loss.Backward()[logits].ToArray<float>(), (x, y) => Math.Abs(x - y) < 1e-7);
        Assert.Equal(0, logits.CrossEntropyMean(backend.Tensor<int>([2, 2], -1, -1, -1, -1)).Item());
    }

    [Fact]
    public void ALabelThatIsNoClassIsNamed()
    {
        using var backend = new CpuBackend();
        ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(() => backend.Zeros([2, 2, 7]).CrossEntropy(backend.Tensor<int>([2, 2], 0, 6, 7, 0)));
        Assert.Contains("label 7 at position 2 is not one of 7 classes", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1023)]
    [InlineData(1025)]
    [InlineData(50_280)]
    public void AgreesWithDoubleForManyClasses(int classes)
    {
        using var backend = new CpuBackend();
        var draw = new Catalog.Draw([], classes);
        Catalog.Input logits = draw.Normal([5, classes], 4), labels = draw.Integers([5], 0, classes);
        Tensor[] singles = Differentiate(DType.F32), doubles = Differentiate(DType.F64);
        for (int i = 0; i < singles.Length; i++)
            Assert.InRange(RelativeError.Of(singles[i].ToDoubles(), doubles[i].ToDoubles()), 0, 2e-6);

        Tensor[] Differentiate(DType type)
        {
            Tensor x = logits.On(backend, type).Track();
            Tensor losses = x.CrossEntropy(labels.On(backend, type)).Keep();
            return [losses, losses.Backward(backend.Full(losses.Type, 1))[x]];
        }
    }
}
