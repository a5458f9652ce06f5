using System.Globalization;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Training;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Cli;

/// <summary>What a step of a training reads, and how.</summary>
/// <param name="Batch">Rows of a batch.</param>
/// <param name="Length">Tokens of a row.</param>
/// <param name="Accumulation">How many batches make one update.</param>
/// <param name="Recomputed">How many layers are computed again for their gradients.</param>
internal sealed record StepShape(int Batch, int Length, int Accumulation = 1, int Recomputed = 0)
{
    public override string ToString() => $"--batch {Batch} --length {Length}{(Accumulation > 1 ? $" --accumulate {Accumulation}" : "")}{(Recomputed > 0 ? $" --recompute {Recomputed}" : "")}";
}

/// <summary>How much memory a training takes, found out without taking it.</summary>
internal static class Memory
{
    // What a device takes in blocks is measured as up to 6 % more than the tensors in them. On the host a training grows by what its tensors do (0.57 GB for 0.56, 0.14 for 0.14 recomputed),
    // because captured steps are planned, and by what the runtime compiles and keeps during the first steps: measured 15 to 30 MB.
    private const double DeviceSlack = 1.1;
    private const long RuntimeGrowth = 20 << 20;

    /// <summary>The bytes that one step needs at most at a time: parameters, moments, gradients and activations.</summary>
    /// <param name="make">Makes the model, with or without its weights, and says how exactly it computes.</param>
    /// <param name="shape">What a step reads.</param>
    /// <param name="averages">Whether an average of the weights is kept.</param>
    public static long ForTraining(Func<Backend, Mamba2Model> make, StepShape shape, bool averages = false)
    {
        long tokens = (long)shape.Batch * shape.Length;
        if (tokens > Array.MaxLength)
            throw new MisuseException($"A batch of {shape.Batch:#,0} rows of {shape.Length:#,0} tokens is too large.");
        using var backend = new NullBackend();
        Mamba2Model model = make(backend);
        model.RecomputedLayers = shape.Recomputed;
        var batch = new TokenBatch(new int[tokens], new int[tokens]);
        // A third batch takes no more than the second.
        using var trainer = new Trainer(model, _ => batch, shape.Length, new LearningRateSchedule(1e-3, 1, 0, LearningRateDecay.Constant), accumulation: Math.Min(2, shape.Accumulation));
        WeightAverage? average = averages ? new WeightAverage(model, 0) : null;
        backend.ResetPeak();
        trainer.Step();
        average?.Add();
        return backend.PeakBytes;
    }

    /// <summary>Whether a backend's tensors lie in the host's memory.</summary>
    public static bool IsOnHost(Backend backend) => backend is not VulkanBackend vulkan || vulkan.Device.SharesMemory;

    /// <summary>The bytes that this process will have of the host's memory when <paramref name="tensors"/> bytes of tensors live there, which are not there yet.</summary>
    public static long OfProcess(long tensors) => tensors + RuntimeGrowth + Environment.WorkingSet;

    /// <summary>The bytes of tensors that a training may have: of a device what its own memory holds, lent again as it is, and otherwise what the host has free.</summary>
    public static long Available(Backend backend)
    {
        long host = FreeOnHost();
        return backend is not VulkanBackend vulkan ? host : vulkan.Device.SharesMemory ? Math.Min(host, vulkan.Device.MemoryBytes) : (long)(vulkan.Device.MemoryBytes / DeviceSlack);
    }

    /// <summary>
    /// The shape with as many layers computed again as there must be for a training to fit; with a number of them in <paramref name="recomputed"/>, that many. Throws where it does not fit, and says what would.
    /// </summary>
    /// <returns>That shape, and the bytes that it takes.</returns>
    public static (StepShape Shape, long Bytes) Require(Func<Backend, Mamba2Model> make, Mamba2Config sizes, StepShape shape, int? recomputed, bool averages, long available)
    {
        shape = shape with { Recomputed = Math.Min(recomputed ?? 0, sizes.Layers) };
        // Less than the activations take: enough to refuse what is far too large before it is measured.
        double least = LeastBytes(shape);
        long needed = least > available ? (long)Math.Min(least, long.MaxValue) : ForTraining(make, shape, averages);
        if (needed <= available)
            return (shape, needed);
        if (recomputed is null && Fewest() is var (fewest, bytes))
            return (fewest, bytes);
        string remedy = "Choose a smaller model.";
        foreach (StepShape other in Smaller(shape, recomputed is null ? sizes.Layers : shape.Recomputed, sizes.Layers))
        {
            if (4.0 * other.Batch * other.Length * sizes.Width * sizes.Layers < available && ForTraining(make, other, averages) is var less && less <= available)
            {
                remedy = $"With {other} it takes {Size(less)}.";
                break;
            }
        }
        throw new InvalidOperationException($"This training takes {(least > available ? "at least " : "")}{Size(needed)} with {shape}; there is {Size(available)}. {remedy}");

        double LeastBytes(StepShape shape) => 2.0 * shape.Batch * shape.Length * sizes.InnerWidth * (sizes.Layers - shape.Recomputed);

        // Each layer that is computed again takes less than one that is kept.
        (StepShape, long)? Fewest()
        {
            (int tooFew, StepShape enough) = (0, shape with { Recomputed = sizes.Layers });
            if (4.0 * shape.Batch * shape.Length * sizes.Width * sizes.Layers > available)
                return null;
            long bytes = ForTraining(make, enough, averages);
            if (bytes > available)
                return null;
            while (enough.Recomputed - tooFew > 1)
            {
                StepShape tried = shape with { Recomputed = (tooFew + enough.Recomputed) / 2 };
                if (LeastBytes(tried) <= available && ForTraining(make, tried, averages) is var less && less <= available)
                    (enough, bytes) = (tried, less);
                else
                    tooFew = tried.Recomputed;
            }
            return (enough, bytes);
        }
    }

    public static string Size(long bytes) => bytes switch
    {
        >= 1L << 40 => $"{bytes / (double)(1L << 40):#,0.0} TiB",
        >= 1 << 30 => $"{bytes / (double)(1 << 30):0.00} GiB",
        >= 1 << 20 => $"{bytes / (double)(1 << 20):0.0} MiB",
        _ => $"{bytes / 1024.0:0.0} KiB",
    };

    /// <summary>Ways of taking less, the one that changes least first: the same update from smaller batches, layers computed again, and then shorter rows.</summary>
    private static IEnumerable<StepShape> Smaller(StepShape shape, int recomputed, int layers)
    {
        foreach (int count in recomputed == layers ? [layers] : new[] { recomputed, layers })
        {
            StepShape tried = shape with { Recomputed = count };
            if (count != recomputed)
                yield return tried;
            while (tried.Batch % 2 == 0 && tried.Accumulation <= int.MaxValue / 2)
                yield return tried = tried with { Batch = tried.Batch / 2, Accumulation = 2 * tried.Accumulation };
        }
        for (StepShape tried = shape with { Batch = 1, Recomputed = layers }; tried.Length > 1;)
            yield return tried = tried with { Length = tried.Length / 2 };
    }

    /// <summary>The bytes of the host's memory that are free; where the system does not say, all that the process may have.</summary>
    public static long FreeOnHost()
    {
        const string Table = "/proc/meminfo";
        long most = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        string? line = File.Exists(Table) ? File.ReadLines(Table).FirstOrDefault(line => line.StartsWith("MemAvailable:", StringComparison.Ordinal)) : null;
        return long.TryParse(line?.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture, out long kilobytes) ? Math.Min(most, kilobytes << 10) : most;
    }
}
