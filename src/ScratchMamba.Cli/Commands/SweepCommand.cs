using System.CommandLine;
using System.Diagnostics;
using System.Text.Json.Nodes;
using ScratchMamba.Checkpoints;
using ScratchMamba.Training;

namespace ScratchMamba.Cli.Commands;

/// <summary>sweep: a grid of trainings.</summary>
internal static class SweepCommand
{
    private const string GridFile = "grid.json", DoneFile = "sweep.json";

    public static Verb Create()
    {
        Option<string> file = CommonOptions.Text("--grid", "A file such as { \"base\": { \"data\": \"book.txt\" }, \"grid\": { \"lr\": [1e-3, 2e-3], \"state\": [16, 64] } }: options of 'train', and lists of values to combine.");
        Option<string> folder = CommonOptions.Text("--out", "The folder for the trainings and what was found. Those that are done are not done again, and those that were stopped go on.");
        Option<int> jobs = CommonOptions.Count("--jobs", 0, "How many trainings run side by side; 0 for as many as there are cores and memory, and one on a graphics card.", least: 0);
        var verb = new Verb("sweep", "Train with every combination of some options' values, and compare.", "scratchmamba sweep --grid grid.json --out runs/sweep", file, folder, jobs);
        verb.SetAction((parsed, cancellation) =>
        {
            SweepGrid grid = SweepGrid.Read(parsed.GetValue(file)!);
            string target = parsed.GetValue(folder)!;
            TextWriter output = parsed.InvocationConfiguration.Output;
            long[] needs = [.. grid.Points.Select(point => Needed(point, target))];
            Claim(grid, target);
            SweepPoint[] left = [.. grid.Points.Where(point => !IsDone(target, point))];
            if (left.Length < grid.Points.Count)
                output.WriteLine($"{grid.Points.Count - left.Length} of {grid.Points.Count} trainings are done already");
            bool isOnHost = !grid.Points.Any(point => point.Arguments.Any(word => word.StartsWith("--device=vulkan", StringComparison.Ordinal)));
            int most = parsed.GetValue(jobs) > 0 ? parsed.GetValue(jobs) : isOnHost ? Environment.ProcessorCount : 1;
            var faults = Run(left, target, needs.DefaultIfEmpty().Max(), Math.Clamp(most, 1, Math.Max(1, left.Length)), isOnHost, output, cancellation);
            (string page, string? best) = SweepReport.Write(target, grid, faults);
            cancellation.ThrowIfCancellationRequested();
            if (best is not null)
                output.WriteLine($"best: {best}");
            output.WriteLine($"report: {page}");
            return Task.FromResult(faults.Count == 0 ? CommandLine.Done : CommandLine.Failed);
        });
        return verb;
    }

    /// <summary>The bytes that a training needs; throws where its options are wrong.</summary>
    private static long Needed(SweepPoint point, string target)
    {
        ParseResult parsed = CommandLine.Parse(Arguments(point, target, threads: 1));
        if (parsed.Errors.Count > 0)
            throw new MisuseException($"{point.Name}: {parsed.Errors[0].Message}");
        try
        {
            return TrainCommand.MemoryNeeded(parsed);
        }
        catch (MisuseException fault)
        {
            throw new MisuseException($"{point.Name}: {fault.Message}");
        }
    }

    /// <summary>Makes the folder, or checks that what is in it is of the same sweep.</summary>
    private static void Claim(SweepGrid grid, string target)
    {
        string path = Path.Combine(target, GridFile), mine = grid.Base.ToJsonString();
        if (File.Exists(path))
        {
            if (File.ReadAllText(path) != mine)
                throw new MisuseException($"{target} has trainings with another 'base'; choose another folder.");
            return;
        }
        if (Directory.Exists(target) && Directory.EnumerateFileSystemEntries(target).Any())
            throw new CheckpointException($"{target}: the folder holds other files and no sweep; choose a new or an empty one");
        AtomicFolder.CheckWritable(target);
        Directory.CreateDirectory(target);
        AtomicFile.Write(path, stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(mine)));
    }

    /// <summary>Runs trainings side by side, each with its share of the cores, as long as the memory lasts.</summary>
    /// <returns>Why those that failed did.</returns>
    private static Dictionary<string, string> Run(SweepPoint[] points, string target, long need, int workers, bool isOnHost, TextWriter output, CancellationToken cancellation)
    {
        if (isOnHost && need > 0)
            workers = (int)Math.Clamp(Memory.FreeOnHost() / need, 1, workers);
        int threads = Math.Max(1, Environment.ProcessorCount / workers), next = 0, done = 0;
        var faults = new Dictionary<string, string>();
        var gate = new Lock();
        Thread[] crew = [.. Enumerable.Range(0, workers).Select(_ => new Thread(Work) { IsBackground = true })];
        foreach (Thread worker in crew)
            worker.Start();
        foreach (Thread worker in crew)
            worker.Join();
        if (cancellation.IsCancellationRequested)
            throw new OperationCanceledException($"stopped after {done} of {points.Length} trainings; the same command goes on");
        return faults;

        void Work()
        {
            while (!cancellation.IsCancellationRequested && Interlocked.Increment(ref next) - 1 is var index && index < points.Length)
            {
                SweepPoint point = points[index];
                long start = Stopwatch.GetTimestamp();
                string fault = Train(point, target, threads, cancellation);
                if (cancellation.IsCancellationRequested && fault.Length > 0)
                    return;
                lock (gate)
                {
                    done++;
                    if (fault.Length > 0)
                        faults[point.Name] = fault;
                    output.WriteLine($"{done}/{points.Length}  {point.Name}  {(fault.Length > 0 ? fault : $"{Stopwatch.GetElapsedTime(start).TotalSeconds:0.0} s")}");
                }
            }
        }
    }

    /// <summary>Runs one training, or goes on with it.</summary>
    /// <returns>Why it failed; empty where it did not.</returns>
    private static string Train(SweepPoint point, string target, int threads, CancellationToken cancellation)
    {
        string folder = Path.Combine(target, point.Name);
        using StringWriter output = new(), error = new();
        string[] args = RunFolder.Newest(folder) is null ? Arguments(point, target, threads) : ["train", $"--out={folder}", "--resume", $"--threads={threads}"];
        int code = CommandLine.Run(args, output, error, cancellation);
        if (code != CommandLine.Done)
            return error.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries) is [var first, ..] ? first.Trim() : "failed";
        AtomicFile.Write(Path.Combine(folder, DoneFile), stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(new JsonObject { ["finished"] = true }.ToJsonString())));
        return "";
    }

    private static bool IsDone(string target, SweepPoint point) => File.Exists(Path.Combine(target, point.Name, DoneFile));

    private static string[] Arguments(SweepPoint point, string target, int threads)
    {
        // Without checkpoints, what is stopped would begin anew.
        string[] saving = point.Arguments.Any(word => word.StartsWith("--save-every", StringComparison.Ordinal)) ? [] : ["--save-every=10m"];
        return ["train", $"--out={Path.Combine(target, point.Name)}", $"--threads={threads}", .. saving, .. point.Arguments];
    }
}
