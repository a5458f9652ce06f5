using System.Diagnostics;
using ScratchMamba.Tensors;

namespace ScratchMamba.Cli;

/// <summary>How long something took, over several repeats.</summary>
/// <param name="Median">The median, in seconds.</param>
/// <param name="Least">The shortest, in seconds.</param>
/// <param name="Most">The longest, in seconds.</param>
internal readonly record struct Timing(double Median, double Least, double Most);

/// <summary>Measures work on a backend.</summary>
internal static class Measurement
{
    // A sample shorter than this would measure the clock and the wait for the device.
    private const double LeastSample = 0.02;

    // A graphics card that has idled works at a third of its speed at first: an NVIDIA H200 takes up to 0.25 s of work to go from 345 to 1,980 MHz. On the CPU the runtime compiles what is called often again.
    private const double WakeUp = 0.6;

    /// <summary>
    /// The time of one run of <paramref name="work"/>: the median over <paramref name="repeats"/> samples, each of as many runs as fill 20 ms, after the first run and a warm-up of
    /// at least 0.6 s.
    /// </summary>
    public static Timing Time(Backend backend, int repeats, Action work)
    {
        // The first run compiles, and a device that waits for that does not wake up.
        Sample(backend, 1, work);
        for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < WakeUp;)
            Sample(backend, 1, work);
        int runs = 1;
        double warm = Sample(backend, runs, work);
        for (int i = 0; i < 12 && warm < LeastSample; i++)
        {
            runs = Math.Max(runs + 1, (int)Math.Min(1e6, runs * Math.Min(8, 1.2 * LeastSample / Math.Max(warm, 1e-7))));
            warm = Sample(backend, runs, work);
        }
        double[] samples = [.. Enumerable.Range(0, repeats).Select(_ => Sample(backend, runs, work) / runs).Order()];
        double median = repeats % 2 == 1 ? samples[repeats / 2] : (samples[repeats / 2 - 1] + samples[repeats / 2]) / 2;
        return new Timing(median, samples[0], samples[^1]);
    }

    private static double Sample(Backend backend, int runs, Action work)
    {
        backend.Finish();
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < runs; i++)
            work();
        backend.Finish();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
