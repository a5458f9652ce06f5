using System.Diagnostics;
using System.Runtime.InteropServices;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Vulkan;

/// <summary>What tuning one operation found.</summary>
/// <param name="Operation">The operation, with the types of its inputs.</param>
/// <param name="Chosen">The name of the kernel that is used from now on.</param>
/// <param name="Times">The seconds that each way to run it took, in the order in which the operation names them; the first is what is used without tuning.</param>
public sealed record TunedOperation(string Operation, string Chosen, IReadOnlyList<(string Name, double Seconds)> Times);

/// <summary>Measures every way to run the operations that it meets, on the data with which they come, and notes the fastest.</summary>
internal sealed class KernelTuner(VulkanBackend backend, KernelSelection kernels)
{
    /// <summary>The name of what everybody uses without tuning.</summary>
    public const string Default = "default";

    // Another kernel must be faster by more than repeats differ.
    private const double Gain = 0.99;

    private const double LeastSample = 0.004, WakeUp = 0.5;

    private const int Samples = 7;

    private readonly Dictionary<string, TunedOperation> results = [];
    private bool isAwake;

    public IReadOnlyList<TunedOperation> Results => [.. results.Values];

    public void Meet(ITunable operation, Call call)
    {
        string name = KernelFile.Describe(operation, Tensor.TypesOf(call.Inputs));
        if (results.ContainsKey(name))
            return;
        LaunchCall planned = kernels.Plan(operation, Tensor.TypesOf(call.Inputs), Tensor.TypesOf(call.Outputs));
        if (operation.Launch(planned) is not { } launch || operation.Alternatives(planned) is not { Count: > 0 } others)
            return;
        Alternative[] ways = [new(Default, launch), .. others];
        int[] runs = [.. ways.Select(_ => 1)];
        double[] least = [.. ways.Select(_ => double.PositiveInfinity)];
        for (int i = 0; i < ways.Length; i++)
        {
            // The first run compiles the kernel.
            Time(call, ways[i].Launch, 1);
            for (double time = 0; (time = Time(call, ways[i].Launch, runs[i])) < LeastSample && runs[i] < 1 << 16;)
                runs[i] *= time < LeastSample / 8 ? 8 : 2;
        }
        for (long start = Stopwatch.GetTimestamp(); !isAwake && Stopwatch.GetElapsedTime(start).TotalSeconds < WakeUp;)
            Time(call, launch, runs[0]);
        isAwake = true;
        // In turn, so that what slows the device down for a while slows all of them.
        for (int sample = 0; sample < Samples; sample++)
        {
            for (int i = 0; i < ways.Length; i++)
                least[i] = Math.Min(least[i], Time(call, ways[i].Launch, runs[i]) / runs[i]);
        }
        int best = Array.IndexOf(least, least.Min());
        if (least[best] > Gain * least[0] || !Agree(call, launch, ways[best].Launch))
            best = 0;
        if (best == 0)
            kernels.File.Choices.Remove(name);
        else
            kernels.File.Choices[name] = ways[best].Name;
        results[name] = new TunedOperation(name, ways[best].Name, [.. ways.Select((way, i) => (way.Name, least[i]))]);
    }

    /// <summary>Whether two ways compute the same, but for the order of additions, in pieces of the first output.</summary>
    private bool Agree(Call call, Launch one, Launch other)
    {
        const int pieces = 64, length = 4096;
        var output = (VulkanStorage)call.Outputs[0].Storage;
        TensorType type = call.Outputs[0].Type;
        backend.Run(call, one);
        double[] expected = Sample();
        backend.Run(call, other);
        return RelativeError.Of(Sample(), expected) < SelfTest.Tolerance;

        double[] Sample()
        {
            var values = new List<double>();
            var bytes = new byte[Math.Min(length, type.Bytes)];
            for (int i = 0; i < pieces; i++)
            {
                backend.ReadAt(output, (type.Bytes - bytes.Length) / 16 * i / pieces * 16, bytes);
                int size = type.DType.Size();
                for (int at = 0; at + size <= bytes.Length; at += size)
                    values.Add(type.DType switch { DType.F32 => BitConverter.ToSingle(bytes, at), DType.F16 => (double)BitConverter.ToHalf(bytes, at), _ => (float)MemoryMarshal.Read<BFloat16>(bytes.AsSpan(at)) });
            }
            return [.. values];
        }
    }

    private double Time(Call call, Launch launch, int runs)
    {
        backend.Finish();
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < runs; i++)
            backend.Run(call, launch);
        backend.Finish();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
