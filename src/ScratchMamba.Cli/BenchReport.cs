using System.Globalization;
using System.Text.Json.Nodes;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Cli;

/// <summary>Writes measurements, as lines of text or of JSON, and how near each came to what the machine can do.</summary>
/// <param name="output">Where to.</param>
/// <param name="json">One JSON object for each measurement, instead of text.</param>
/// <param name="cpu">The backend whose ceilings count; null where they are not known.</param>
internal sealed class BenchReport(TextWriter output, bool json, CpuBackend? cpu)
{
    private const double Giga = 1e9;

    // Far larger than any cache of a processor's core; and what a read beyond it costs no longer depends on how much it is.
    private const long LargeBytes = 256 << 20;

    private double fusedPerSecond, largePerSecond;

    /// <summary>Takes a measurement; what is 0 was not counted.</summary>
    /// <param name="name">What was measured.</param>
    /// <param name="time">How long it took.</param>
    /// <param name="flops">Floating-point operations; a multiply-add is two.</param>
    /// <param name="tokens">Tokens that were processed.</param>
    /// <param name="bytes">Bytes that have to be read or written at least.</param>
    public delegate void Writer(string name, Timing time, double flops, double tokens, double bytes);

    /// <summary>Measures and writes the ceilings: multiply-adds in registers, reads of memory, the triad a = b + s·c, and what handing out a loop to the threads takes.</summary>
    public void WriteCeilings()
    {
        if (cpu is null)
            return;
        fusedPerSecond = CpuCeilings.FusedOperations(cpu);
        largePerSecond = CpuCeilings.ReadBandwidth(cpu, LargeBytes);
        string threads = cpu.Threads == 1 ? "1 thread" : $"{cpu.Threads} threads";
        WriteCeiling($"ceiling: multiply-adds, {cpu.VectorBits} bits, {threads}", "gflops", "GFLOP/s", fusedPerSecond);
        WriteCeiling($"ceiling: memory read, {threads}", "gbps", "GB/s", largePerSecond);
        WriteCeiling($"ceiling: memory triad, {threads}", "gbps", "GB/s", CpuCeilings.Triad(cpu, LargeBytes));
        double microseconds = 1e6 * CpuCeilings.Dispatch(cpu);
        string loop = $"ceiling: handing out a loop, {threads}";
        output.WriteLine(json ? new JsonObject { ["name"] = loop, ["median_ms"] = microseconds / 1e3 }.ToJsonString() : string.Create(CultureInfo.InvariantCulture, $"{loop}: {microseconds:0.00} µs"));
    }

    /// <inheritdoc cref="Writer"/>
    public void Write(string name, Timing time, double flops, double tokens, double bytes)
    {
        double gigaflops = flops / time.Median / Giga, speed = tokens / time.Median, bandwidth = bytes / time.Median / Giga;
        double? share = Share(time, flops, bytes);
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
    private double? Share(Timing time, double flops, double bytes)
    {
        if (cpu is null)
            return null;
        // What fits a cache is read from there: the ceiling is that of reading so much again and again.
        double perSecond = bytes >= LargeBytes ? largePerSecond : bytes > 0 ? CpuCeilings.ReadBandwidth(cpu, Math.Max(1 << 16, (long)bytes)) : 1;
        return Math.Max(flops / fusedPerSecond, bytes / perSecond) / time.Median;
    }

    private void WriteCeiling(string name, string key, string unit, double perSecond) => output.WriteLine(json
        ? new JsonObject { ["name"] = name, [key] = perSecond / Giga }.ToJsonString()
        : string.Create(CultureInfo.InvariantCulture, $"{name}: {perSecond / Giga:#,0.0} {unit}"));
}
