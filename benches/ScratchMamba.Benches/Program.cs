using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;

// In process: the catalogue is then built once, and no second project has to be restored.
BenchmarkSwitcher.FromTypes([typeof(OperationBenchmarks)]).Run(args, DefaultConfig.Instance.AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance)));

/// <summary>The time of one call of each operation that has an example of the size that matters, on the CPU.</summary>
public class OperationBenchmarks
{
    private CpuBackend backend = null!;
    private IPrimitive operation = null!;
    private Tensor[] inputs = [];
    private Tensor[] outputs = [];

    /// <summary>The operations that have such an example.</summary>
    public static IEnumerable<string> Operations => Catalog.Rows.Where(row => row.Benchmark is not null).Select(row => row.Name);

    /// <summary>The operation.</summary>
    [ParamsSource(nameof(Operations))]
    public string Operation { get; set; } = "";

    /// <summary>How many threads work on it; 0 for one per core.</summary>
    [Params(1, 0)]
    public int Threads { get; set; }

    /// <summary>Makes the operation's inputs and outputs.</summary>
    [GlobalSetup]
    public void Setup()
    {
        Case example = Catalog.Rows.Single(row => row.Name == Operation).Benchmark!(new Draw([], 1));
        backend = new CpuBackend(Threads);
        operation = example.Operation;
        inputs = [.. example.Inputs.Select(input => input.On(backend, DType.F32))];
        outputs = Tensor.Run(operation, backend, inputs);
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup() => backend.Dispose();

    /// <summary>One call.</summary>
    [Benchmark]
    public void Run() => backend.Execute(new Call(operation, inputs, outputs));
}
