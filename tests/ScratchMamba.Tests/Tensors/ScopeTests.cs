using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public class ScopeTests
{
    [Fact]
    public void AScopeReleasesWhatWasMadeInIt()
    {
        using var cpu = new CpuBackend();
        Tensor inside;
        using (new Scope())
            inside = cpu.Tensor<float>([2], 1, 2).Exp();
        Assert.Equal(0, cpu.LiveCount);
        Assert.Throws<ObjectDisposedException>(() => inside.ToArray<float>());
        Assert.Throws<ObjectDisposedException>(() => inside.Exp());
    }

    [Fact]
    public void WhatIsKeptBelongsToTheEnclosingScope()
    {
        using var cpu = new CpuBackend();
        using (new Scope())
        {
            Tensor kept;
            using (var inner = new Scope())
            {
                Tensor x = cpu.Tensor<float>([1], 1);
                kept = inner.Keep(x.Exp());
            }
            Assert.Equal(1, cpu.LiveCount);
            Assert.Equal(MathF.E, kept.ToArray<float>()[0], 1e-6f);
        }
        Assert.Equal(0, cpu.LiveCount);
    }

    [Fact]
    public void ScopesMustCloseInOrder()
    {
        var outer = new Scope();
        var inner = new Scope();
        Assert.Throws<InvalidOperationException>(outer.Dispose);
        inner.Dispose();
        outer.Dispose();
    }

    [Fact]
    public void AScopeApartOutlivesThoseOfTheThread()
    {
        using var cpu = new CpuBackend();
        Scope home = Scope.Apart();
        Tensor x;
        using (new Scope())
        {
            x = cpu.Tensor<float>([1], 3);
            home.Own([x]);
        }
        Assert.Equal(3, x.Item());
        home.Dispose();
        Assert.Equal(0, cpu.LiveCount);
    }

    [Fact]
    public void TemporariesOfARecordedFunctionLiveUntilTheBackwardPassHasUsedThem()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        Tensor x = cpu.Tensor<float>([1000], new float[1000]).Track();
        long before = cpu.LiveCount;
        Tensor y;
        using (var temporaries = Scope.Temporaries())
            y = temporaries.Keep((x + 1).Exp().Square().Sum());
        // The sum saves nothing, so neither x + 1 nor the squares are needed; the exponential is, twice.
        Assert.Equal(before + 2, cpu.LiveCount);
        Gradients gradients = y.Backward();
        Assert.Equal(2 * Math.Exp(2), gradients[x].ToDoubles()[0], 1e-4);
        Assert.Equal(before + 3, cpu.LiveCount); // y, its seed and the gradient
    }

    [Fact]
    public void TheBackwardPassReturnsActivationsAsItGoes()
    {
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        const int Layers = 50;
        Tensor x = cpu.Tensor<float>([1000], new float[1000]).Track(), y = x;
        for (int i = 0; i < Layers; i++)
            y = (y * 0.9).Tanh();
        Tensor loss = y.Sum();
        long forward = cpu.LiveBytes;
        cpu.ResetPeak();
        loss.Backward();
        // A gradient or two at a time on top of the activations, which shrink meanwhile.
        Assert.InRange(cpu.PeakBytes, forward, forward + 5 * 4000);
        Assert.InRange(cpu.LiveBytes, 0, 3 * 4000 + 100);
    }

    [Fact]
    public void RepeatedStepsReuseMemory()
    {
        using var cpu = new CpuBackend();
        Tensor x = cpu.Tensor<float>([4096], new float[4096]).Track();
        void Step()
        {
            using var scope = new Scope();
            x.Exp().Square().Sum().Backward();
        }
        Step();
        long peak = cpu.PeakBytes, live = cpu.LiveCount;
        for (int i = 0; i < 10; i++)
            Step();
        Assert.Equal(peak, cpu.PeakBytes);
        Assert.Equal(live, cpu.LiveCount);
    }
}
