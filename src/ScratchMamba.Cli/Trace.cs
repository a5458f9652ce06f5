using System.Text.Json;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Cli;

/// <summary>Times every operation of a command; at the end writes a file for chrome://tracing (or ui.perfetto.dev) and shows the costliest operations.</summary>
internal sealed class Trace : IDisposable
{
    private const int Shown = 10;

    private readonly string? path;
    private readonly TextWriter output;
    private readonly Func<IReadOnlyList<TraceEvent>> events;
    private readonly Func<TimeSpan>? between;

    /// <summary>Watches a backend where <paramref name="path"/> is given.</summary>
    public Trace(Backend backend, string? path, TextWriter output)
    {
        (this.path, this.output) = (path, output);
        Backend = backend;
        events = () => [];
        if (path is null)
            return;
        // A path that cannot be written is found out now, not after hours.
        File.WriteAllText(path, "");
        // Before, lest they are timed themselves.
        Ceilings = BenchReport.Measure(backend);
        if (backend is VulkanBackend vulkan)
        {
            vulkan.StartTrace();
            events = () => vulkan.Trace;
            between = () => vulkan.BetweenKernels;
        }
        else
        {
            var tracing = new TracingBackend(backend);
            Backend = tracing;
            events = () => tracing.Events;
        }
    }

    /// <summary>What the backend can do at best, where operations are timed.</summary>
    public Ceilings? Ceilings { get; }

    /// <summary>The backend to compute on.</summary>
    public Backend Backend { get; }

    /// <summary>Writes what was timed.</summary>
    public void Dispose()
    {
        if (path is null)
            return;
        IReadOnlyList<TraceEvent> timed;
        try
        {
            timed = events();
        }
        catch (VulkanException)
        {
            // The device is gone; whatever ended the command says so.
            return;
        }
        Write(timed);
        IReadOnlyList<OperationCost> costs = OperationCost.Of(timed);
        double total = costs.Sum(cost => cost.Time.TotalMilliseconds);
        output.WriteLine();
        output.WriteLine($"{"operation",-28} {"calls",9} {"ms",11} {"share",6} {"GB/s",8} {"GFLOP/s",9} {"of ceiling",10}");
        foreach (OperationCost cost in costs.Take(Shown))
        {
            double milliseconds = cost.Time.TotalMilliseconds;
            double flops = cost.Work.Flops + cost.Work.RoundedFlops, least = 1e3 * Ceilings?.Seconds(cost.Work, cost.Bytes) ?? 0;
            output.WriteLine(
                $"{cost.Operation,-28} {cost.Calls,9:#,0} {milliseconds,11:#,0.00} {milliseconds / total,6:0%} {PerSecond(cost.Bytes),8:#,0.0} {(flops > 0 ? $"{PerSecond(flops),9:#,0}" : "        –")} {least / milliseconds,10:0%}");

            double PerSecond(double count) => count / 1e6 / Math.Max(milliseconds, 1e-6);
        }
        output.WriteLine($"{"all operations",-28} {costs.Sum(cost => cost.Calls),9:#,0} {total,11:#,0.00}; the timeline is in {path}");
        if (between is not null)
            output.WriteLine($"{"between kernels",-28} {"",9} {between().TotalMilliseconds,11:#,0.00}, where one submission has several");
        if (Ceilings is { } ceiling)
            output.WriteLine($"ceilings, measured before: {ceiling.Flops / 1e9:#,0} GFLOP/s in float32, {ceiling.RoundedFlops / 1e9:#,0} of operands in 16 bits, {ceiling.Bandwidth / 1e9:#,0.0} GB/s");
    }

    private void Write(IReadOnlyList<TraceEvent> timed)
    {
        using FileStream file = File.Create(path!);
        using var json = new Utf8JsonWriter(file);
        json.WriteStartObject();
        json.WriteStartArray("traceEvents");
        foreach (TraceEvent item in timed)
        {
            json.WriteStartObject();
            json.WriteString("name", item.Kernel ?? item.Operation);
            json.WriteString("ph", "X");
            json.WriteNumber("ts", item.Start);
            json.WriteNumber("dur", item.Duration);
            json.WriteNumber("pid", 0);
            json.WriteNumber("tid", item.Kernel is null ? 0 : 1);
            json.WriteStartObject("args");
            json.WriteNumber("bytes", item.Bytes);
            json.WriteNumber("flops", item.Work.Flops + item.Work.RoundedFlops);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
