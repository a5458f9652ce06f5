using System.Diagnostics;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Vulkan;

/// <summary>What a device can do at best, measured; each takes a few hundredths of a second once the device is awake. The best of several samples counts: a ceiling is what is possible.</summary>
public static class VulkanCeilings
{
    private const int Groups = 2112, Workgroup = 128, Samples = 7, Copies = 4;

    // A card that idled takes so long until it is fast.
    private static readonly TimeSpan WakeUp = TimeSpan.FromSeconds(0.5), LeastSample = TimeSpan.FromMilliseconds(4);

    private readonly record struct Turns(uint Count);

    /// <summary>The shaders that measure.</summary>
    internal static IReadOnlyList<string> Shaders { get; } = ["ceiling_multiply_adds", "ceiling_matrix_units"];

    /// <summary>All of them.</summary>
    public static Ceilings Measure(VulkanBackend backend)
    {
        // More than second-level caches hold.
        long bytes = backend.Traits.IsCpu ? 16 << 20 : 1 << 30;
        // An idle card begins slowly.
        for (long start = Stopwatch.GetTimestamp(); !backend.Traits.IsCpu && Stopwatch.GetElapsedTime(start) < WakeUp;)
            Copy(backend, bytes);
        double fused = FusedOperations(backend), units = MatrixUnits(backend);
        return new Ceilings(fused, Math.Max(fused, units), Copy(backend, bytes));
    }

    /// <summary>Floating-point operations per second of float32 multiply-adds in registers, two for each.</summary>
    public static double FusedOperations(VulkanBackend backend)
    {
        using var scope = new Scope();
        Tensor x = backend.Uniform([Groups * Workgroup, 4], seed: 1, stream: 0), y = backend.Zeros(x.Shape);
        return 64.0 * Groups * Workgroup * TurnsPerSecond(backend, x, y, Shaders[0]);
    }

    /// <summary>Floating-point operations per second of matrix units: products of bfloat16 that are added in float32. 0 where there are none.</summary>
    public static double MatrixUnits(VulkanBackend backend)
    {
        int subgroups = Groups * Workgroup / backend.Traits.SubgroupSize;
        if (!backend.Traits.HasMatrixUnits || Workgroup % backend.Traits.SubgroupSize != 0)
            return 0;
        using var scope = new Scope();
        Tensor x = (backend.Uniform([subgroups, 8, 16, 16], seed: 1, stream: 0) * 2 - 1).Cast(DType.BF16), y = backend.Zeros([subgroups, 16, 16]);
        return 16.0 * 2 * 16 * 16 * 16 * subgroups * TurnsPerSecond(backend, x, y, Shaders[1]);
    }

    /// <summary>Bytes per second, read and written, of a copy; <paramref name="bytes"/> are both.</summary>
    public static double Copy(VulkanBackend backend, long bytes)
    {
        using var scope = new Scope();
        Tensor x = backend.Uniform([(int)(bytes / 2 / sizeof(float))], seed: 1, stream: 0), y = backend.Zeros(x.Shape);
        return Copies * 2.0 * x.Type.Bytes / Least(backend, Run).TotalSeconds;

        void Run()
        {
            for (int i = 0; i < Copies; i++)
                Tensor.Overwrite(new Affine(1, 0), [x], y);
        }
    }

    private static double TurnsPerSecond(VulkanBackend backend, Tensor x, Tensor y, string shader)
    {
        uint turns = 64;
        TimeSpan time;
        while ((time = Least(backend, Run)) < LeastSample && turns < 1 << 20)
            turns *= 4;
        return turns / time.TotalSeconds;

        void Run()
        {
            Dispatch dispatch = Dispatch.Linear(shader, Groups, [Slot.In(0), Slot.Out(0)], new Turns(turns), Workgroup, (uint)backend.Traits.SubgroupSize);
            backend.Run(new Call(new Ceiling(), [x], [y]), dispatch);
        }
    }

    private static TimeSpan Least(VulkanBackend backend, Action work)
    {
        TimeSpan least = TimeSpan.MaxValue;
        for (int i = 0; i <= Samples; i++)
        {
            backend.Finish();
            long start = Stopwatch.GetTimestamp();
            work();
            backend.Finish();
            TimeSpan time = Stopwatch.GetElapsedTime(start);
            least = time < least ? time : least;
        }
        return least;
    }

    /// <summary>Work that is measured and means nothing.</summary>
    private readonly record struct Ceiling : IPrimitive
    {
        public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => throw new NotSupportedException("A ceiling is run, not inferred.");

        public void Compute(CpuCall call) => throw new NotSupportedException("CpuCeilings measures those of a processor.");
    }
}
