using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Training;

namespace ScratchMamba.Cli;

/// <summary>How much memory a training takes, found out without taking it.</summary>
internal static class Memory
{
    /// <summary>The bytes that one step of <paramref name="batch"/> rows of <paramref name="length"/> tokens needs at most at a time, in float32.</summary>
    public static long ForTraining(Mamba2Config config, int batch, int length)
    {
        long tokens = (long)batch * length;
        if (tokens > Array.MaxLength)
            throw new MisuseException($"A batch of {batch:#,0} rows of {length:#,0} tokens is too large.");
        using var backend = new NullBackend();
        var model = new Mamba2Model(config, backend, seed: null);
        var trainer = new Trainer(model, _ => new TokenBatch(new int[tokens], new int[tokens]), length, new LearningRateSchedule(1e-3, 1, 0, LearningRateDecay.Constant));
        backend.ResetPeak();
        trainer.Step();
        return backend.PeakBytes;
    }

    /// <summary>Throws unless this machine has the memory for a training.</summary>
    public static void Require(Mamba2Config config, int batch, int length)
    {
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        // Less than the activations take: enough to refuse what is far too large before it is measured.
        double least = 4.0 * batch * length * config.InnerWidth * config.Layers;
        long needed = least > available ? (long)Math.Min(least, long.MaxValue) : ForTraining(config, batch, length);
        if (needed > available)
            throw new InvalidOperationException(
                $"Training this model on batches of {batch:#,0} × {length:#,0} tokens takes at least {Size(needed)}; there is {Size(available)}. Choose a smaller --batch, --length or model.");
    }

    public static string Size(long bytes) => bytes switch
    {
        >= 1L << 40 => $"{bytes / (double)(1L << 40):#,0.0} TiB",
        >= 1 << 30 => $"{bytes / (double)(1 << 30):0.00} GiB",
        >= 1 << 20 => $"{bytes / (double)(1 << 20):0.0} MiB",
        _ => $"{bytes / 1024.0:0.0} KiB",
    };
}
