using ScratchMamba.Checkpoints;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>
/// The exponential moving average of the weights that are trained: after update t, <c>θ̄ ← θ̄ + (1 − d)(θ − θ̄)</c> with <c>d = min(decay, (1 + t) / (10 + t))</c>,
/// so that the first weights are soon forgotten.
/// </summary>
/// <remarks>Of a run that it observes, it saves itself as a model in the folder <c>average</c>, beside every checkpoint.</remarks>
public sealed class WeightAverage : ITrainingPart, ITrainingObserver
{
    private TrainingRun? run;
    private readonly List<(string Path, Parameter Parameter, Tensor Mean)> entries = [];
    private readonly double decay;

    /// <summary>An average that begins at a model's weights.</summary>
    /// <param name="model">The model; those of its parameters that are frozen have no average.</param>
    /// <param name="decay">The largest share of the average that an update leaves, in [0, 1).</param>
    public WeightAverage(Module model, double decay)
    {
        if (!(decay is >= 0 and < 1))
            throw new ArgumentOutOfRangeException(nameof(decay), decay, "The decay of an average lies between 0 and 1.");
        this.decay = decay;
        using var pause = Differentiation.Pause();
        foreach ((string path, Parameter parameter) in model.Parameters())
        {
            if (!parameter.IsFrozen)
                entries.Add((path, parameter, Copied(parameter.Value)));
        }
    }

    /// <summary>How many updates it has seen.</summary>
    public long Updates { get; private set; }

    /// <summary>The averages, by the parameters' paths.</summary>
    public IEnumerable<(string Path, Tensor Mean)> Means => entries.Select(entry => (entry.Path, entry.Mean));

    /// <summary>Takes note of the weights after an update.</summary>
    public void Add()
    {
        Updates++;
        double share = 1 - Math.Min(decay, (1.0 + Updates) / (10 + Updates));
        using var pause = Differentiation.Pause();
        foreach ((_, Parameter parameter, Tensor mean) in entries)
        {
            using var scope = new Scope();
            Tensor.Overwrite(new Add(), [mean, (parameter.Value - mean) * share], mean);
        }
    }

    /// <summary>Exchanges weights and averages until the result is disposed: for measuring and saving the average as a model. Then all is as it was, bit by bit.</summary>
    public IDisposable Exchange()
    {
        Swap();
        return new Return(this);
    }

    /// <inheritdoc/>
    string ITrainingPart.Name => "average";

    /// <inheritdoc/>
    void ITrainingPart.Save(StateWriter state)
    {
        state.Values["updates"] = Updates;
        foreach ((string path, _, Tensor mean) in entries)
            state.Add(path, mean);
    }

    /// <inheritdoc/>
    void ITrainingPart.Restore(StateReader state)
    {
        foreach ((string path, _, Tensor mean) in entries)
            state.Read(path, mean);
        Updates = state.Value<long>("updates");
    }

    /// <inheritdoc/>
    void ITrainingObserver.Begun(TrainingRun run) => this.run = run;

    /// <inheritdoc/>
    void ITrainingObserver.Stepped(StepReport report)
    {
        if (report.Skipped is null)
            Add();
    }

    /// <inheritdoc/>
    void ITrainingObserver.Saved(long step, string folder)
    {
        using IDisposable exchanged = Exchange();
        Checkpoint.Save(run!.Trainer.Model, Path.Combine(run.Folder.Path, "average"), tokenizer: run.Tokenizer);
    }

    private void Swap()
    {
        using var pause = Differentiation.Pause();
        foreach ((_, Parameter parameter, Tensor mean) in entries)
        {
            using var scope = new Scope();
            Tensor kept = Copied(mean);
            Copy(parameter.Value, mean);
            Copy(kept, parameter.Value);
        }
    }

    private static Tensor Copied(Tensor x)
    {
        Tensor copy = x.Backend.Zeros(x.Type);
        Copy(x, copy);
        return copy;
    }

    /// <summary>Bit by bit, which no arithmetic would do for −0.</summary>
    private static void Copy(Tensor from, Tensor to) => Tensor.Overwrite(new Slice(0, 0, from.Shape[0]), [from], to);

    private sealed class Return(WeightAverage average) : IDisposable
    {
        public void Dispose() => average.Swap();
    }
}
