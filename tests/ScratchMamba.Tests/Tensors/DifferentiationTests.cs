using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class DifferentiationTests : IDisposable
{
    private readonly CpuBackend cpu = new();
    private readonly Scope scope = new();

    public void Dispose()
    {
        scope.Dispose();
        cpu.Dispose();
    }

    private Tensor Leaf(params double[] values) => cpu.Tensor<double>([values.Length], values).Track();

    [Fact]
    public void ATensorUsedTwiceGetsBothGradients()
    {
        Tensor x = Leaf(3);
        Gradients gradients = (x * x + x).Sum().Backward();
        Assert.Equal([7.0], gradients[x].ToDoubles());
    }

    [Fact]
    public void GradientsReachEveryLeafAndNothingElse()
    {
        Tensor x = Leaf(2), y = Leaf(5), z = Leaf(1), constant = cpu.Tensor<double>([1], 4);
        Gradients gradients = (x * y * constant).Sum().Backward();
        Assert.Equal([20.0], gradients[x].ToDoubles());
        Assert.Equal([8.0], gradients[y].ToDoubles());
        Assert.Equal(2, gradients.Count);
        Assert.Contains("does not depend", Assert.Throws<KeyNotFoundException>(() => gradients[z]).Message);
        Assert.Contains("not tracked", Assert.Throws<KeyNotFoundException>(() => gradients[constant]).Message);
    }

    [Fact]
    public void DetachingStopsTheGradient()
    {
        Tensor x = Leaf(3);
        Assert.Equal([3.0], (x * x.Detach()).Sum().Backward()[x].ToDoubles());
        Assert.Throws<InvalidOperationException>(() => x.Detach().Sum().Backward());
    }

    [Fact]
    public void NothingIsRecordedInAPause()
    {
        Tensor x = Leaf(3);
        using (Differentiation.Pause())
        {
            Assert.False((x * x).RequiresGradient);
            using (Differentiation.Resume())
                Assert.True((x * x).RequiresGradient);
        }
        Assert.True((x * x).RequiresGradient);
    }

    [Fact]
    public void AGraphIsUsedOnceUnlessItIsRetained()
    {
        Tensor x = Leaf(3);
        Tensor y = x.Square().Sum();
        Assert.Equal([6.0], y.Backward(retain: true)[x].ToDoubles());
        Assert.Equal([6.0], y.Backward()[x].ToDoubles());
        Assert.Contains("retain", Assert.Throws<InvalidOperationException>(() => y.Backward()).Message);
    }

    [Fact]
    public void OverwritingWhatTheGradientNeedsIsNoticed()
    {
        Tensor x = Leaf(3);
        Tensor y = x.Square().Sum();
        x.Write<double>([4.0]);
        Assert.Contains("overwritten", Assert.Throws<InvalidOperationException>(() => y.Backward()).Message);
    }

    [Fact]
    public void ASeedWeighsTheResults()
    {
        Tensor x = Leaf(1, 2, 3);
        Assert.Throws<ArgumentException>(() => x.Square().Backward());
        Assert.Equal([2.0, 0, -6], x.Square().Backward(cpu.Tensor<double>([3], 1, 0, -1))[x].ToDoubles());
    }

    [Fact]
    public void KeptIntermediatesCanBeReadAfterwards()
    {
        Tensor x = Leaf(1);
        Tensor kept = x.Exp().Keep(), gone = kept.Exp();
        gone.Square().Sum().Backward();
        Assert.Equal(Math.E, kept.Item(), 1e-12);
        Assert.Throws<ObjectDisposedException>(() => gone.Item());
    }

    [Fact]
    public void RecomputingGivesTheSameBitsAndHoldsLess()
    {
        var random = new Random(1);
        Tensor x = Leaf([.. Enumerable.Range(0, 500).Select(_ => random.NextDouble())]), w = Leaf([.. Enumerable.Range(0, 500).Select(_ => random.NextDouble())]);
        Tensor Layer(Tensor u) => (u * w).Tanh().Exp().Log() + u.Sigmoid();

        Gradients plain = Run(u => Layer(u), out double plainValue, out long plainBytes);
        Gradients recomputed = Run(u => Differentiation.Recompute(given => [Layer(given[0])], u)[0], out double value, out long bytes);
        Assert.Equal(plainValue, value);
        Assert.Equal(plain[x].ToDoubles(), recomputed[x].ToDoubles());
        Assert.Equal(plain[w].ToDoubles(), recomputed[w].ToDoubles());
        Assert.True(bytes < plainBytes / 3, $"{bytes} against {plainBytes}");

        Gradients Run(Func<Tensor, Tensor> layer, out double result, out long held)
        {
            long before = cpu.LiveBytes;
            Tensor u = x;
            for (int i = 0; i < 4; i++)
            {
                using var temporaries = Scope.Temporaries();
                u = temporaries.Keep(layer(u));
            }
            Tensor loss = u.Sum();
            result = loss.Item();
            held = cpu.LiveBytes - before;
            return loss.Backward();
        }
    }

    [Fact]
    public void RecomputedFunctionsNest()
    {
        Tensor x = Leaf(0.3, -0.2);
        Tensor Inner(Tensor u) => Differentiation.Recompute(given => [given[0].Square()], u)[0];
        Tensor Outer(Tensor u) => Differentiation.Recompute(given => [Inner(given[0].Exp())], u)[0];
        Gradients gradients = Outer(x).Sum().Backward();
        Assert.Equal(2 * Math.Exp(0.6), gradients[x].ToDoubles()[0], 1e-12);
        Assert.Equal(2 * Math.Exp(-0.4), gradients[x].ToDoubles()[1], 1e-12);
    }

    [Fact]
    public void SeveralResultsAreDifferentiatedTogether()
    {
        Tensor x = Leaf(2);
        Tensor square = x.Square(), exp = x.Exp();
        Gradients gradients = Differentiation.Backward([(square, cpu.Tensor<double>([1], 1)), (exp, cpu.Tensor<double>([1], 2))]);
        Assert.Equal(4 + 2 * Math.Exp(2), gradients[x].Item(), 1e-12);
    }

    [Fact]
    public void GradientsAddUpOverBatches()
    {
        Tensor x = Leaf(2), y = Leaf(3);
        Gradients sum = x.Square().Sum().Backward().Add((x * y).Sum().Backward());
        Assert.Equal(7, sum[x].Item());
        Assert.Equal(2, sum[y].Item());
    }
}
