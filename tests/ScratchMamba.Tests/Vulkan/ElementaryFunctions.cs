using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>The functions of <c>shaders/math.glsl</c>, over all of float32's range.</summary>
[Collection(nameof(VulkanCollection))]
public sealed class ElementaryFunctions(VulkanFixture fixture)
{
    // Below this, numbers are subnormal, and devices may take them for 0.
    private const double Smallest = 1.1754943508222875e-38;

    [Fact]
    public void AreExactToAFewUnitsInTheLastPlace()
    {
        float[] spread = [.. Enumerable.Range(0, 20_001).Select(i => -110 + i * 0.0111f)];
        float[] magnitudes = [.. Enumerable.Range(0, 20_001).Select(i => MathF.Pow(2, -125.5f + i * 0.0125f))];
        float[] small = [.. magnitudes.Where(x => x < 90), .. magnitudes.Where(x => x < 90).Select(x => -x)];
        AssertUnits(TensorOperations.Exp, Math.Exp, 2, spread);
        AssertUnits(TensorOperations.Exp, Math.Exp, 2, small);
        AssertUnits(TensorOperations.Log, Math.Log, 2, magnitudes);
        AssertUnits(TensorOperations.Log, Math.Log, 2, [.. Enumerable.Range(1, 20_000).Select(i => i * 1e-4f)]);
        AssertUnits(TensorOperations.Tanh, Math.Tanh, 5, small);
        AssertUnits(TensorOperations.Sigmoid, x => 1 / (1 + Math.Exp(-x)), 5, small);
        // Where the sigmoid inside is subnormal, a device may take it for 0, and x times it with it.
        AssertUnits(TensorOperations.Silu, x => x / (1 + Math.Exp(-x)), 6, [.. small.Where(x => Math.Exp(x) > Smallest)]);
        AssertUnits(TensorOperations.Softplus, x => Math.Max(x, 0) + LogOnePlus(Math.Exp(-Math.Abs(x))), 5, small);
        AssertUnits(TensorOperations.ReciprocalSqrt, x => 1 / Math.Sqrt(x), 4, [.. magnitudes.Where(x => x < 1e37f)]);
    }

    [Fact]
    public void KeepToTheirLimits()
    {
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        float infinity = float.PositiveInfinity, none = float.NaN;
        Tensor x = vulkan.Tensor<float>([8], -infinity, -1e30f, -1000, 0, 1000, 1e30f, infinity, none);
        Assert.Equal([0, 0, 0, 1, infinity, infinity, infinity, none], x.Exp().ToArray<float>());
        Assert.Equal([0, 0, 0, 0.5f, 1, 1, 1, none], x.Sigmoid().ToArray<float>());
        Assert.Equal([-1, -1, -1, 0, 1, 1, 1, none], x.Tanh().ToArray<float>());
        Assert.Equal([0, 0, 0, (float)Math.Log(2), 1000, 1e30f, infinity, none], x.Softplus().ToArray<float>());
        Assert.Equal([none, none, none, -infinity, (float)Math.Log(1000), (float)Math.Log(1e30f), infinity, none], x.Log().ToArray<float>());
        Assert.Equal([-2, -2, -2, 0, 3, 3, 3, none], x.Clamp(-2, 3).ToArray<float>());
        Assert.Equal([0, 0, 1000, 1e30f, infinity, none], x.Silu().Slice(0, 2, 6).ToArray<float>());
        Assert.Equal([infinity, none], vulkan.Tensor<float>([2], 0, none).ReciprocalSqrt().ToArray<float>());
    }

    [Fact]
    public void MaximaAndNormalisersKeepNotANumber()
    {
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        float infinity = float.PositiveInfinity, none = float.NaN;
        Tensor x = vulkan.Tensor<float>([4, 3], 1, none, 2, -infinity, -infinity, -infinity, 0, infinity, 1, none, none, none);
        Assert.Equal([none, -infinity, infinity, none], x.Max(1).ToArray<float>());
        Assert.Equal([none, -infinity, infinity, none], x.LogSumExp(1).ToArray<float>());
        Assert.All(x.Softmax(1).ToArray<float>()[..6], y => Assert.True(float.IsNaN(y)));
    }

    private void AssertUnits(Func<Tensor, Tensor> function, Func<double, double> exact, double units, float[] points)
    {
        SentinelBackend vulkan = fixture.Backend;
        using var scope = new Scope();
        float[] actual = function(vulkan.Tensor<float>([points.Length], points)).ToArray<float>();
        for (int i = 0; i < points.Length; i++)
        {
            double expected = exact(points[i]), unit = Math.Max(Smallest, MathF.BitIncrement(Math.Abs((float)expected)) - (double)Math.Abs((float)expected));
            if (float.IsInfinity((float)expected))
                Assert.Equal((float)expected, actual[i]);
            else
                Assert.True(Math.Abs(actual[i] - expected) <= units * unit, $"{function.Method.Name}({points[i]:R}) is {expected:R}, not {actual[i]:R}");
        }
    }

    // Accurate for arguments in [0, 1]: the rounding of 1 + u is undone.
    private static double LogOnePlus(double u) => 1 + u == 1 ? u : Math.Log(1 + u) * u / (1 + u - 1);
}
