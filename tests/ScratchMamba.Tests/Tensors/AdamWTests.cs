using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public class AdamWTests
{
    [Fact]
    public void TheFirstStepsAreThoseOfTheFormulae()
    {
        using var backend = new CpuBackend();
        var adam = new AdamW(0.9, 0.99, 1e-8, 0.1);
        Tensor p = backend.Tensor<double>([2], 1, -2), m = backend.Zeros(p.Type), v = backend.Zeros(p.Type);
        // In the first step m/c₁ = g and √v/√c₂ = |g|, so that the step is η·sign(g), after the decay of η·λ.
        adam.Apply(p, backend.Tensor<double>([2], 0.5, -4), m, v, backend.Tensor<double>([4], adam.Settings(1, 0.01)));
        Assert.Equal([0.05, -0.4], m.ToDoubles(), (x, y) => Math.Abs(x - y) < 1e-15);
        Assert.Equal([0.0025, 0.16], v.ToDoubles(), (x, y) => Math.Abs(x - y) < 1e-15);
        Assert.Equal([0.999 - 0.01, -1.998 + 0.01], p.ToDoubles(), (x, y) => Math.Abs(x - y) < 1e-9);
        // By hand: g = −1, m = 0.9·0.05 − 0.1 = −0.055, c₁ = 0.19, v = 0.99·0.0025 + 0.01 = 0.012475, c₂ = 0.0199.
        adam.Apply(p, backend.Tensor<double>([2], -2, 0), m, v, backend.Tensor<double>([4], adam.Settings(2, 0.02, gradientScale: 0.5)));
        Assert.Equal(-0.055, m.ToDoubles()[0], 1e-15);
        Assert.Equal(0.012475, v.ToDoubles()[0], 1e-15);
        Assert.Equal(0.989 * 0.998 + 0.02 * (0.055 / 0.19) / Math.Sqrt(0.012475 / 0.0199), p.ToDoubles()[0], 1e-9);
    }

    [Fact]
    public void StepsInPlaceEqualStepsElsewhere()
    {
        foreach (int threads in (int[])[1, 2, 3])
        {
            using var backend = new CpuBackend(threads);
            var draw = new Catalog.Draw([], 1);
            var adam = new AdamW();
            const int Count = 50_001;
            Tensor[] inputs =
            [
                draw.Normal([Count]).On(backend, DType.F32), draw.Normal([Count]).On(backend, DType.F32), draw.Normal([Count]).On(backend, DType.F32),
                draw.Uniform([Count], 0, 1).On(backend, DType.F32), backend.Tensor(new TensorType(DType.F32, [4]), adam.Settings(7, 1e-3)),
            ];
            Tensor[] elsewhere = Tensor.ApplyAll(adam, inputs);
            adam.Apply(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]);
            Assert.Equal(elsewhere[0].ToArray<float>(), inputs[0].ToArray<float>());
            Assert.Equal(elsewhere[1].ToArray<float>(), inputs[2].ToArray<float>());
            Assert.Equal(elsewhere[2].ToArray<float>(), inputs[3].ToArray<float>());
        }
    }

    [Fact]
    public void WithoutAGradientOnlyTheDecayActs()
    {
        using var backend = new CpuBackend();
        var adam = new AdamW(WeightDecay: 0.5);
        Tensor p = backend.Full(new TensorType(DType.F32, [9]), 2), zeros = backend.Zeros([9]);
        adam.Apply(p, zeros, backend.Zeros([9]), backend.Zeros([9]), backend.Tensor(new TensorType(DType.F32, [4]), adam.Settings(1, 0.5)));
        Assert.All(p.ToArray<float>(), value => Assert.Equal(1.5f, value));
    }

    [Fact]
    public void GradientsAreScaledDownToANormAndThoseThatAreNotFiniteAreOfNoUse()
    {
        using var cpu = new CpuBackend();
        NormsAreClipped(cpu);
    }

    internal static void NormsAreClipped(Backend backend)
    {
        using var scope = new Scope();
        // √(0.25 + 3.75) = 2, times the half that gradients are multiplied with: 1.
        Assert.Equal(0.05, Factor(0.25, 4, norm: 0.1), 1e-6);
        Assert.Equal(0.5, Factor(0.25, 4, norm: 100));
        Assert.Equal(0.5, Factor(0.25, 4, norm: double.PositiveInfinity));
        Assert.Equal(1 / Math.Sqrt(6e38), Factor(3e38, 4, norm: 1, rest: 3e38), 1e-26);
        Assert.Equal(0, Factor(double.NaN, 4, norm: 1));
        Assert.Equal(0, Factor(0.25, double.PositiveInfinity, norm: 1));

        double Factor(double square, double other, double norm, double rest = 3.75)
        {
            double[] clipped = Vector(1, 2, 3, 0.5).Clipped(Vector(square, rest), Vector(other), norm).ToDoubles();
            Assert.Equal([1, 2, 3], clipped[..3]);
            return clipped[3];
        }

        Tensor Vector(params double[] values) => backend.Tensor(new TensorType(DType.F32, [values.Length]), values);
    }

    [Fact]
    public void WalksToTheMinimumOfAParabola()
    {
        using var backend = new CpuBackend();
        var adam = new AdamW(WeightDecay: 0);
        Tensor p = backend.Tensor<double>([1], 3), m = backend.Zeros(p.Type), v = backend.Zeros(p.Type);
        for (int step = 1; step <= 300; step++)
        {
            using var scope = new Scope();
            adam.Apply(p, (p - 1) * 2, m, v, backend.Tensor<double>([4], adam.Settings(step, 0.1 * (1 - step / 300.0))));
        }
        Assert.Equal(1, p.Item(), 1e-2);
    }

    /// <summary>Clipping by the global norm squares and sums whole models.</summary>
    [Fact]
    public void SumsOfMillionsOfSquaresAreAccurate()
    {
        using var backend = new CpuBackend();
        var random = new Random(2);
        var values = new float[5_000_011];
        double expected = 0;
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (float)random.NextDouble();
            expected += (double)values[i] * values[i];
        }
        double actual = backend.Tensor<float>([values.Length], values).Square().Sum().Item();
        Assert.InRange(Math.Abs(actual / expected - 1), 0, 1e-6);
    }
}
