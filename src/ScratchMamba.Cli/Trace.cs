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
        if (backend is VulkanBackend vulkan)
        {
            vulkan.StartTrace();
            events = () => vulkan.Trace;
        }
        else
        {
            var tracing = new TracingBackend(backend);
            Backend = tracing;
            events = () => tracing.Events;
        }
    }

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
        output.WriteLine($"{"operation",-28} {"calls",9} {"ms",11} {"share",6} {"GB/s",8}");
        foreach (OperationCost cost in costs.Take(Shown))
        {
            double milliseconds = cost.Time.TotalMilliseconds;
            output.WriteLine($"{cost.Operation,-28} {cost.Calls,9:#,0} {milliseconds,11:#,0.00} {milliseconds / total,6:0%} {cost.Bytes / 1e6 / Math.Max(milliseconds, 1e-6),8:#,0.0}");
        }
        output.WriteLine($"{"all operations",-28} {costs.Sum(cost => cost.Calls),9:#,0} {total,11:#,0.00}; the timeline is in {path}");
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
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
