using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public class CapturedProgramTests
{
    [Fact]
    public void AProgramRunsOnlyWhenToldAndAsOftenAsTold()
    {
        using var cpu = new CpuBackend();
        Tensor total = cpu.Tensor<float>([2], 1, 2), increment = cpu.Tensor<float>([2], 10, 20);
        using CapturedProgram program = cpu.Capture(() => Tensor.Overwrite(new Add(), [total, increment], total));
        Assert.Equal([1f, 2f], total.ToArray<float>());
        program.Run();
        program.Run();
        Assert.Equal([21f, 42f], total.ToArray<float>());
        increment.Write<float>([1, 1]);
        program.Run();
        Assert.Equal([22f, 43f], total.ToArray<float>());
    }

    [Fact]
    public void ItsTensorsKeepTheirMemoryBetweenRuns()
    {
        using var cpu = new CpuBackend();
        Tensor x = cpu.Tensor<float>([1000], new float[1000]), result = cpu.Zeros([1000]);
        long before = cpu.LiveBytes;
        CapturedProgram program = cpu.Capture(() =>
        {
            Tensor y = x;
            for (int i = 0; i < 20; i++)
            {
                using var scope = new Scope();
                y = scope.Keep((y + 1) * 2);
            }
            Tensor.Overwrite(new Affine(1, 0), [y], result);
        });
        // Each pair of intermediates is used again by the one after the next.
        Assert.InRange(cpu.LiveBytes, before + 1, before + 25 * 4000);
        program.Run();
        // What others compute meanwhile must not touch the program's memory.
        using (new Scope())
            (cpu.Tensor<float>([1000], new float[1000]) + 5).Exp();
        float expected = 0;
        for (int i = 0; i < 20; i++)
            expected = (expected + 1) * 2;
        Assert.All(result.ToArray<float>(), value => Assert.Equal(expected, value));
        program.Run();
        Assert.All(result.ToArray<float>(), value => Assert.Equal(expected, value));
        program.Dispose();
        Assert.Equal(before, cpu.LiveBytes);
        Assert.Throws<ObjectDisposedException>(program.Run);
    }

    [Fact]
    public void OperationsWithoutAKernelRunByTheirDefinitionAgain()
    {
        using var cpu = new CpuBackend();
        Tensor x = cpu.Uniform([1, 5, 2, 4], 1), step = cpu.Uniform([1, 5, 2], 2), decay = cpu.Tensor<float>([2], -1, -2), b = cpu.Uniform([1, 5, 1, 3], 3);
        Tensor states = cpu.Uniform([1, 2, 2, 4, 3], 4), result = cpu.Zeros([1, 5, 2, 4]);
        Tensor Scan()
        {
            using var scope = new Scope();
            Tensor twice = x * 2;
            return scope.Keep(twice.ChunkScan(step, decay, b, b * 3, states, chunk: 4));
        }
        using CapturedProgram program = cpu.Capture(() => Tensor.Overwrite(new Affine(1, 0), [Scan()], result));
        for (int run = 0; run < 2; run++)
        {
            x.Write<float>(Enumerable.Range(run, 40).Select(i => i / 40f).ToArray());
            program.Run();
            Assert.Equal(Scan().ToArray<float>(), result.ToArray<float>());
        }
    }

    [Fact]
    public void TheHostCannotLookInsideACapture()
    {
        using var cpu = new CpuBackend();
        Tensor x = cpu.Tensor<float>([1], 1);
        Assert.Contains("read", Assert.Throws<InvalidOperationException>(() => cpu.Capture(() => x.Exp().Item())).Message);
        Assert.Contains("written", Assert.Throws<InvalidOperationException>(() => cpu.Capture(() => x.Write<float>([2]))).Message);
        Assert.Throws<InvalidOperationException>(() => cpu.Capture(() => cpu.Capture(() => { })));
        // After a failure nothing is being captured.
        Assert.Equal(1, x.Item());
    }

    [Fact]
    public void ACaptureThatCannotBePreparedHoldsNothing()
    {
        using var unprepared = new Unprepared(new CpuBackend());
        Tensor x = unprepared.Tensor<float>([1000], new float[1000]);
        long before = unprepared.LiveBytes;
        Assert.Throws<InsufficientMemoryException>(() => unprepared.Capture(() => x.Exp()));
        Assert.Equal(before, unprepared.LiveBytes);
        Assert.Equal(1, x.Exp().ToArray<float>()[0]);
    }

    private sealed class Unprepared(Backend inner) : DecoratedBackend(inner)
    {
        protected internal override CompiledProgram Compile(IReadOnlyList<CapturedCall> calls) => throw new InsufficientMemoryException();
    }
}
