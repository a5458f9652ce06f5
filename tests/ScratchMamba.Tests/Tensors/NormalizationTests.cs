using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class NormalizationTests : IDisposable
{
    private const double Epsilon = 1e-3;

    private readonly CpuBackend cpu = new();
    private readonly Random random = new(11);

    public void Dispose() => cpu.Dispose();

    [Theory]
    [InlineData(1, 1)]
    [InlineData(5, 7)]
    [InlineData(3, 5000)]
    public void RmsNormIsItsFormula(int rows, int columns)
    {
        double[] x = Values(rows * columns), weight = Values(columns);
        double[] actual = cpu.Tensor<double>([rows, columns], x).RmsNorm(cpu.Tensor<double>([columns], weight), Epsilon).ToDoubles();
        Assert.True(RelativeError.Of(actual, Naive(x, null, weight, groups: 1, before: false)) < 1e-13);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(3, false)]
    [InlineData(3, true)]
    [InlineData(12, false)]
    public void GatedRmsNormIsItsFormula(int groups, bool before)
    {
        double[] x = Values(5 * 12), gate = Values(5 * 12), weight = Values(12);
        double[] actual = cpu.Tensor<double>([5, 12], x)
            .GatedRmsNorm(cpu.Tensor<double>([5, 12], gate), cpu.Tensor<double>([12], weight), Epsilon, groups, before).ToDoubles();
        Assert.True(RelativeError.Of(actual, Naive(x, gate, weight, groups, before)) < 1e-13);
    }

    [Fact]
    public void TheOrderOfGateAndNormMatters()
    {
        Tensor x = cpu.Tensor<double>([1, 4], 1, 2, 3, 4), gate = cpu.Tensor<double>([1, 4], -1, 0, 1, 2), weight = cpu.Full(new TensorType(DType.F64, [4]), 1);
        Assert.NotEqual(x.GatedRmsNorm(gate, weight).ToDoubles(), x.GatedRmsNorm(gate, weight, normBeforeGate: true).ToDoubles());
    }

    [Fact]
    public void AnExtremeGateGivesFiniteValues()
    {
        Tensor x = cpu.Tensor<float>([1, 4], 1, 2, 3, 4).Track(), gate = cpu.Tensor<float>([1, 4], -1000, 1000, -90, 0).Track();
        Tensor weight = cpu.Tensor<float>([4], 1, 1, 1, 1).Track();
        foreach (bool before in new[] { false, true })
        {
            Tensor y = x.GatedRmsNorm(gate, weight, normBeforeGate: before);
            Assert.All(y.ToDoubles(), value => Assert.True(double.IsFinite(value)));
            Gradients gradients = y.Backward(cpu.Tensor<float>([1, 4], 1, -1, 1, -1));
            Assert.All(gradients, pair => Assert.All(pair.Value.ToDoubles(), value => Assert.True(double.IsFinite(value))));
        }
    }

    [Fact]
    public void ARowOfZerosStaysZero()
    {
        Tensor x = cpu.Zeros([2, 3]).Track(), weight = cpu.Tensor<float>([3], 1, 2, 3).Track();
        Tensor y = x.RmsNorm(weight);
        Assert.Equal(new double[6], y.ToDoubles());
        Assert.Equal(new double[3], y.Backward(cpu.Tensor<float>([2, 3], 1, 1, 1, 1, 1, 1))[weight].ToDoubles());
    }

    [Theory]
    [InlineData(0, 3)]
    [InlineData(3, 0)]
    [InlineData(0, 0)]
    public void EmptyExtentsAreAllowed(int rows, int columns)
    {
        Tensor x = cpu.Zeros([rows, columns]).Track(), weight = cpu.Zeros([columns]).Track();
        Assert.Equal(new double[columns], x.RmsNorm(weight).Backward(cpu.Zeros([rows, columns]))[weight].ToDoubles());
        Gradients gradients = x.GatedRmsNorm(x, weight).Backward(cpu.Zeros([rows, columns]));
        Assert.Equal(new double[columns], gradients[weight].ToDoubles());
        Assert.Empty(gradients[x].ToDoubles());
    }

    private static double[] Naive(double[] x, double[]? gate, double[] weight, int groups, bool before)
    {
        int columns = weight.Length, width = columns / groups;
        var y = new double[x.Length];
        for (int start = 0; start < x.Length; start += width)
        {
            double sum = 0;
            for (int i = start; i < start + width; i++)
            {
                double v = x[i] * (gate is null || before ? 1 : Silu(gate[i]));
                sum += v * v;
            }
            double scale = 1 / Math.Sqrt(sum / width + Epsilon);
            for (int i = start; i < start + width; i++)
                y[i] = weight[i % columns] * x[i] * (gate is null ? 1 : Silu(gate[i])) * scale;
        }
        return y;
    }

    private static double Silu(double x) => x / (1 + Math.Exp(-x));

    private double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => 4 * random.NextDouble() - 2)];
}
