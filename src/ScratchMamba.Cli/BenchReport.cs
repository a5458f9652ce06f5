using System.Globalization;
using System.Text.Json.Nodes;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Cli;

/// <summary>Writes measurements, as lines of text or of JSON, and how near each came to what the machine can do.</summary>
/// <param name="output">Where to.</param>
/// <param name="json">One JSON object for each measurement, instead of text.</param>
/// <param name="backend">The backend whose ceilings count.</param>
/// <param name="known">Its ceilings, where they were measured already.</param>
internal sealed class BenchReport(TextWriter output, bool json, Backend backend, Ceilings? known = null)
{
    private const double Giga = 1e9;

    // Far larger than any cache of a processor's core; and what a read beyond it costs no longer depends on how much it is.
    private const long LargeBytes = 256 << 20;

    private Ceilings ceilings;

    /// <summary>Takes a measurement; what is 0 was not counted.</summary>
    /// <param name="name">What was measured.</param>
    /// <param name="time">How long it took.</param>
    /// <param name="flops">Floating-point operations; a multiply-add is two.</param>
    /// <param name="tokens">Tokens that were processed.</param>
    /// <param name="bytes">Bytes that have to be read or written at least.</param>
    /// <param name="isRounded">Whether operands of products are of 16 bits, or may be rounded to them.</param>
    public delegate void Writer(string name, Timing time, double flops, double tokens, double bytes, bool isRounded = false);

    /// <summary>What the ceilings of a backend are; nothing where they cannot be measured.</summary>
    public static Ceilings? Measure(Backend backend)
    {
        if (backend is VulkanBackend vulkan)
            return VulkanCeilings.Measure(vulkan);
        if (backend is not CpuBackend cpu)
            return null;
        double fused = CpuCeilings.FusedOperations(cpu);
        return new Ceilings(fused, fused, CpuCeilings.ReadBandwidth(cpu, LargeBytes));
    }

    /// <summary>Measures and writes the ceilings: on a CPU multiply-adds in registers, reads of memory, the triad a = b + s·c, and what handing out a loop to the threads takes; on a device multiply-adds, matrix units and a copy.</summary>
    public void WriteCeilings()
    {
        if ((known ?? Measure(backend)) is not { } measured)
            return;
        ceilings = measured;
        if (backend is not CpuBackend cpu)
        {
            WriteCeiling("ceiling: multiply-adds", "gflops", "GFLOP/s", ceilings.Flops);
            if (ceilings.RoundedFlops > ceilings.Flops)
                WriteCeiling("ceiling: matrix units", "gflops", "GFLOP/s", ceilings.RoundedFlops);
            WriteCeiling("ceiling: memory copied, read and written", "gbps", "GB/s", ceilings.Bandwidth);
            return;
        }
        string threads = cpu.Threads == 1 ? "1 thread" : $"{cpu.Threads} threads";
        WriteCeiling($"ceiling: multiply-adds, {cpu.VectorBits} bits, {threads}", "gflops", "GFLOP/s", ceilings.Flops);
        WriteCeiling($"ceiling: memory read, {threads}", "gbps", "GB/s", ceilings.Bandwidth);
        WriteCeiling($"ceiling: memory triad, {threads}", "gbps", "GB/s", CpuCeilings.Triad(cpu, LargeBytes));
        double microseconds = 1e6 * CpuCeilings.Dispatch(cpu);
        string loop = $"ceiling: handing out a loop, {threads}";
        output.WriteLine(json ? new JsonObject { ["name"] = loop, ["median_ms"] = microseconds / 1e3 }.ToJsonString() : string.Create(CultureInfo.InvariantCulture, $"{loop}: {microseconds:0.00} µs"));
    }

    /// <inheritdoc cref="Writer"/>
    public void Write(string name, Timing time, double flops, double tokens, double bytes, bool isRounded = false)
    {
        double gigaflops = flops / time.Median / Giga, speed = tokens / time.Median, bandwidth = bytes / time.Median / Giga;
        double share = Share(time, Work.Of(flops, isRounded), bytes);
        if (!json)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{name}: {1e3 * time.Median:0.####} ms ({1e3 * time.Least:0.####} to {1e3 * time.Most:0.####}){(flops > 0 ? $", {gigaflops:#,0} GFLOP/s" : "")}"
                + $"{(tokens > 0 ? $", {speed:#,0} tokens/s" : "")}{(bytes > 0 ? $", {bandwidth:#,0.0} GB/s" : "")}{(share > 0 ? $", {share:0 %} of the ceiling" : "")}"));
            return;
        }
        var line = new JsonObject { ["name"] = name, ["median_ms"] = 1e3 * time.Median, ["least_ms"] = 1e3 * time.Least, ["most_ms"] = 1e3 * time.Most };
        if (flops > 0)
            line["gflops"] = gigaflops;
        if (tokens > 0)
            line["tokens_per_second"] = speed;
        if (bytes > 0)
            line["gbps"] = bandwidth;
        if (share > 0)
            line["share_of_ceiling"] = share;
        output.WriteLine(line.ToJsonString());
    }

    /// <summary>The least time that the operations and the bytes can take, whichever is longer, as a share of the time taken.</summary>
    private double Share(Timing time, Work work, double bytes)
    {
        if (ceilings == default)
            return 0;
        // What fits a processor's cache is read from there: the ceiling is that of reading so much again and again.
        double perSecond = bytes is > 0 and < LargeBytes && backend is CpuBackend cpu ? CpuCeilings.ReadBandwidth(cpu, Math.Max(1 << 16, (long)bytes)) : ceilings.Bandwidth;
        return (ceilings with { Bandwidth = perSecond }).Seconds(work, bytes) / time.Median;
    }

    private void WriteCeiling(string name, string key, string unit, double perSecond) => output.WriteLine(json
        ? new JsonObject { ["name"] = name, [key] = perSecond / Giga }.ToJsonString()
        : string.Create(CultureInfo.InvariantCulture, $"{name}: {perSecond / Giga:#,0.0} {unit}"));
}
