using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class ElementwiseTests : IDisposable
{
    private readonly CpuBackend backend = new();

    public void Dispose() => backend.Dispose();

    [Theory]
    [InlineData(DType.F32, 4)]
    [InlineData(DType.F64, 8)]
    public void SoftplusIsExactDownToTinyResults(DType type, double ulps)
    {
        // For x below −20 the result is eˣ (1 − eˣ/2 + …); above 40 it is x.
        double[] points = [.. Enumerable.Range(0, 2600).Select(i => type == DType.F32 ? (float)(-80 + i / 20.0) : -80 + i / 20.0)];
        double[] actual = backend.Tensor(new TensorType(type, [points.Length]), points).Softplus().ToDoubles();
        double epsilon = type == DType.F32 ? Math.Pow(2, -23) : Math.Pow(2, -52);
        for (int i = 0; i < points.Length; i++)
        {
            double expected = Math.Max(points[i], 0) + LogOnePlus(Math.Exp(-Math.Abs(points[i])));
            Assert.True(Math.Abs(actual[i] - expected) <= ulps * epsilon * expected, $"softplus({points[i]}) is {expected:R}, not {actual[i]:R}");
        }
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.F64)]
    public void GatesDoNotOverflow(DType type)
    {
        double[] x = [double.NegativeInfinity, -1e30, -1000, -100, -89, -1e-30, 0, 1e-30, 89, 100, 1000, 1e30, double.PositiveInfinity];
        Tensor input = backend.Tensor(new TensorType(type, [x.Length]), x);
        double[] sigmoid = input.Sigmoid().ToDoubles(), silu = input.Silu().ToDoubles(), softplus = input.Softplus().ToDoubles(), tanh = input.Tanh().ToDoubles();
        double[] derivative = Tensor.Apply(new SiluGradient(), backend.Full(input.Type, 1), input).ToDoubles();
        for (int i = 0; i < x.Length; i++)
        {
            double s = 1 / (1 + Math.Exp(-x[i]));
            Assert.Equal(s, sigmoid[i], 1e-7);
            Assert.Equal(Math.Tanh(x[i]), tanh[i], 1e-7);
            Assert.Equal(x[i] <= 0 ? LogOnePlus(Math.Exp(x[i])) : x[i] < 40 ? x[i] + LogOnePlus(Math.Exp(-x[i])) : type == DType.F32 ? (float)x[i] : x[i], softplus[i], 1e-7);
            if (double.IsFinite(x[i]))
            {
                Assert.Equal(x[i] > 40 ? type == DType.F32 ? (float)x[i] : x[i] : x[i] * s, silu[i], 1e-7);
                Assert.Equal(s * (1 + x[i] * (1 - s)), derivative[i], 1e-7);
            }
        }
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.F64)]
    public void ExponentialsAreExactToTwoUnitsInTheLastPlace(DType type)
    {
        // Over all of float32's range, subnormal results included.
        double[] points = [.. Enumerable.Range(0, 40_000).Select(i => (double)(float)(-110 + i * 0.005))];
        double[] actual = backend.Tensor(new TensorType(type, [points.Length]), points).Exp().ToDoubles();
        for (int i = 0; i < points.Length; i++)
        {
            double expected = Math.Exp(points[i]);
            double unit = type == DType.F64 ? double.BitIncrement(expected) - expected : float.BitIncrement((float)expected) - (float)expected;
            if (type == DType.F32 && float.IsInfinity((float)expected))
                Assert.Equal(double.PositiveInfinity, actual[i]);
            else
                Assert.True(Math.Abs(actual[i] - expected) <= 2 * unit, $"exp({points[i]}) is {expected:R}, not {actual[i]:R}");
        }
        double[] edges = [double.NegativeInfinity, -1e30, 1e30, double.PositiveInfinity, double.NaN];
        Assert.Equal([0, 0, double.PositiveInfinity, double.PositiveInfinity, double.NaN], backend.Tensor(new TensorType(type, [5]), edges).Exp().ToDoubles());
    }

    [Fact]
    public void SmallSigmoidsKeepTheirPrecision()
    {
        // Above e⁻⁸⁷ results are normal numbers.
        float[] points = [.. Enumerable.Range(0, 1070).Select(i => -87 + i * 0.1f)];
        float[] sigmoid = backend.Tensor<float>([points.Length], points).Sigmoid().ToArray<float>();
        float[] silu = backend.Tensor<float>([points.Length], points).Silu().ToArray<float>();
        for (int i = 0; i < points.Length; i++)
        {
            double expected = 1 / (1 + Math.Exp(-(double)points[i]));
            Assert.Equal(1, sigmoid[i] / expected, 5e-7);
            Assert.Equal(points[i] * expected, silu[i], Math.Abs(points[i] * expected) * 5e-7);
        }
    }

    [Fact]
    public void NotANumberPropagates()
    {
        Tensor x = backend.Tensor<float>([1], float.NaN);
        foreach (Tensor y in (Tensor[])[x.Sigmoid(), x.Silu(), x.Softplus(), x.Tanh(), x.Log(), x.Exp(), x.ReciprocalSqrt(), x.Square(), x.Clamp(-1, 1)])
            Assert.True(float.IsNaN(y.ToArray<float>()[0]));
    }

    [Fact]
    public void EdgesOfDomains()
    {
        Tensor x = backend.Tensor<float>([3], 0, -1, float.PositiveInfinity);
        Assert.Equal([float.NegativeInfinity, float.NaN, float.PositiveInfinity], x.Log().ToArray<float>());
        Assert.Equal([float.PositiveInfinity, float.NaN, 0], x.ReciprocalSqrt().ToArray<float>());
    }

    [Fact]
    public void ClampPassesGradientsAtItsBounds()
    {
        Tensor x = backend.Tensor<double>([5], -2, -1, 0, 1, 2).Track();
        Tensor y = x.Clamp(-1, 1);
        Assert.Equal([-1, -1, 0, 1, 1], y.ToArray<double>());
        Assert.Equal([0, 1, 1, 1, 0], y.Sum().Backward()[x].ToArray<double>());
    }

    [Fact]
    public void ComparisonsAreOnesAndZeros()
    {
        double[] left = [.. Enumerable.Range(0, 21).Select(i => (double)(i % 3))];
        Tensor x = backend.Tensor<double>([21], left), one = backend.Scalar(1, DType.F64);
        Assert.Equal(left.Select(v => v > 1 ? 1.0 : 0), x.Greater(one).ToDoubles());
        Assert.Equal(left.Select(v => v >= 1 ? 1.0 : 0), x.GreaterOrEqual(one).ToDoubles());
        Assert.Equal(left.Select(v => v == 1 ? 1.0 : 0), x.Equal(one).ToDoubles());
        Assert.Equal(left.Select(v => 1 >= v ? 1.0 : 0), one.GreaterOrEqual(x).ToDoubles());
        Assert.Equal([0], backend.Scalar(double.NaN).Equal(backend.Scalar(double.NaN)).ToDoubles());
    }

    [Fact]
    public void WhereBroadcastsAndSendsGradientsToWhatWasChosen()
    {
        Tensor condition = backend.Tensor<float>([3], 0, -2, 0), x = backend.Tensor<float>([2, 1], 1, 2).Track(), y = backend.Scalar(float.NaN).Track();
        Tensor z = condition.Where(x, y);
        Assert.Equal([float.NaN, 1, float.NaN, float.NaN, 2, float.NaN], z.ToArray<float>());
        Gradients gradients = z.Backward(backend.Tensor<float>([2, 3], 1, 2, 3, 4, 5, 6));
        Assert.Equal([2, 5], gradients[x].ToArray<float>());
        Assert.Equal([14], gradients[y].ToArray<float>());
    }

    [Fact]
    public void NumbersDivide()
    {
        Tensor x = backend.Tensor<float>([2], 4, 0.5f);
        Assert.Equal([2, 0.25f], (x / 2.0).ToArray<float>());
        Assert.Equal([0.5f, 4], (2.0 / x).ToArray<float>());
    }

    [Fact]
    public void CastConvertsAndCastsItsGradientBack()
    {
        Assert.Equal([1, -2], backend.Tensor<int>([2], 1, -2).Cast(DType.F64).ToArray<double>());
        Assert.Equal([float.PositiveInfinity, 0.1f], backend.Tensor<double>([2], 1e300, 0.1).Cast(DType.F32).ToArray<float>());
        Tensor x = backend.Tensor<float>([1], 3).Track();
        Assert.Equal([6], x.Cast(DType.F64).Square().Backward()[x].ToArray<float>());
    }

    // Accurate for arguments in [0, 1]: the rounding of 1 + u is undone.
    private static double LogOnePlus(double u) => 1 + u == 1 ? u : Math.Log(1 + u) * u / (1 + u - 1);
}
