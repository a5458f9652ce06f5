using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public class BackendTests
{
    [Fact]
    public void TheNullBackendMeasuresWithoutAllocating()
    {
        using var backend = new NullBackend();
        using var scope = new Scope();
        Tensor large = backend.Zeros([30_000, 50_000]);
        Tensor product = large.Slice(0, 0, 10).MatMul(backend.Zeros([50_000, 7]));
        Assert.Equal([10, 7], product.Shape);
        Assert.Equal(4L * 30_000 * 50_000, backend.LiveBytes - 4 * (10 * 50_000 + 50_000 * 7 + 70));
    }

    [Fact]
    public void TheFiniteBackendNamesTheOperationAndTheStep()
    {
        using var backend = new FiniteBackend(new CpuBackend()) { Step = 12 };
        using var scope = new Scope();
        Tensor x = backend.Tensor<float>([3], 1, 200, 3);
        NumericalException error = Assert.Throws<NumericalException>(() => x.Exp());
        Assert.Equal("Step 12: Exp made Infinity at element 1 of output 0, F32 [3]; its inputs were F32 [3].", error.Message);
    }

    [Fact]
    public void TheLockstepBackendNamesTheOperationThatDiffers()
    {
        using var backend = new LockstepBackend(new CpuBackend(), new WrongExp());
        using var scope = new Scope();
        Tensor x = backend.Tensor<float>([2], 1, 2);
        Tensor sum = x + x;
        NumericalException error = Assert.Throws<NumericalException>(() => sum.Exp());
        Assert.StartsWith("Exp: output 0, F32 [2], differs between cpu and cpu", error.Message, StringComparison.Ordinal);
        Assert.Equal(0, backend.Errors["Add"]);
    }

    [Fact]
    public void TheTracingBackendCountsTimeAndBytes()
    {
        using var backend = new TracingBackend(new CpuBackend());
        using var scope = new Scope();
        Tensor x = backend.Tensor<float>([100], new float[100]);
        x.Exp();
        x.Exp();
        OperationCost cost = backend.Costs.Single(cost => cost.Operation == "Exp");
        Assert.Equal((2, 1600), (cost.Calls, cost.Bytes));
        Assert.True(cost.Time > TimeSpan.Zero);
        backend.Reset();
        Assert.Empty(backend.Costs);
    }

    [Fact]
    public void TensorsOfTwoBackendsDoNotMix()
    {
        using CpuBackend first = new(), second = new();
        Tensor x = first.Tensor<float>([1], 1), y = second.Tensor<float>([1], 1);
        Assert.Throws<ArgumentException>(() => x + y);
    }

    [Fact]
    public void ATensorBeyondWhatTheCpuIndexesIsRefusedByName()
    {
        using var cpu = new CpuBackend();
        NotSupportedException error = Assert.Throws<NotSupportedException>(() => cpu.Zeros([65_536, 32_768]));
        Assert.Contains("F32 [65536, 32768]", error.Message);
    }

    [Fact]
    public void TransfersCheckTypeAndLength()
    {
        using var cpu = new CpuBackend();
        Tensor x = cpu.Tensor<float>([3], 1, 2, 3);
        Assert.Throws<ArgumentException>(() => x.ToArray<double>());
        Assert.Throws<ArgumentException>(() => x.Write<float>([1, 2]));
        Assert.Throws<ArgumentException>(() => cpu.Tensor<float>([2, 2], 1, 2, 3));
        Assert.Throws<ArgumentException>(() => x.Item());
    }

    [Fact]
    public void OperationsCanOverwriteTensorsInPlace()
    {
        using var cpu = new CpuBackend();
        Tensor x = cpu.Tensor<float>([2], 1, 2);
        Tensor.Overwrite(new Add(), [x, x], x);
        Assert.Equal([2f, 4f], x.ToArray<float>());
        Assert.Throws<ArgumentException>(() => Tensor.Overwrite(new Sum(0), [x], x));
    }

    /// <summary>A backend that is right except for one operation.</summary>
    private sealed class WrongExp() : DecoratedBackend(new CpuBackend())
    {
        public override void Execute(Call call)
        {
            base.Execute(call);
            if (call.Operation is Exp)
                Inner.Write(call.Outputs[0].Storage, new byte[call.Outputs[0].Type.Bytes]);
        }
    }
}
