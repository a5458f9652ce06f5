using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>The settings of AdamW.</summary>
/// <param name="Beta1">The decay of the first moment.</param>
/// <param name="Beta2">The decay of the second moment.</param>
/// <param name="Epsilon">What the root of the second moment is increased by.</param>
/// <param name="WeightDecay">The decay of the weights that decay, per unit of learning rate.</param>
/// <param name="ClipNorm">Gradients are scaled down to this norm, all together, when they exceed it; infinity for never.</param>
/// <param name="DecaysEverything">Whether every parameter decays, norms and biases too.</param>
public sealed record AdamWSettings(
    double Beta1 = 0.9, double Beta2 = 0.95, double Epsilon = 1e-8, double WeightDecay = 0.1, double ClipNorm = 1, bool DecaysEverything = false);

/// <summary>
/// Adam with decoupled weight decay and clipping by the global norm. Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019).
/// </summary>
public sealed class AdamWOptimizer : ITrainingPart
{
    private readonly AdamWSettings settings;
    private readonly List<Entry> entries = [];

    private sealed record Entry(string Path, Parameter Parameter, Tensor First, Tensor Second, double Decay);

    /// <summary>An optimizer for a model's parameters, with moments of zero.</summary>
    /// <exception cref="ArgumentException">Parameters are held in 16 bits.</exception>
    public AdamWOptimizer(Module model, AdamWSettings settings)
    {
        this.settings = settings;
        foreach ((string path, Parameter parameter) in model.Parameters())
        {
            if (parameter.Value.DType.IsNarrow())
                throw new ArgumentException($"{path} is held in {parameter.Value.DType}: 16 bits are for inference. Load the model in F32 to train it.");
            Tensor Moment() => parameter.Value.Backend.Zeros(parameter.Value.Type);
            double decay = parameter.Decays || settings.DecaysEverything ? settings.WeightDecay : 0;
            entries.Add(new Entry(path, parameter, Moment(), Moment(), decay));
        }
    }

    /// <summary>How many updates have been made.</summary>
    public long Updates { get; private set; }

    /// <summary>The parameters that decay and those that do not, each with their number of elements.</summary>
    public IEnumerable<(bool Decays, IReadOnlyList<string> Paths, long Count)> Groups =>
        from entry in entries
        group entry by entry.Decay > 0 into side
        orderby side.Key descending
        select (side.Key, (IReadOnlyList<string>)[.. side.Select(entry => entry.Path)], side.Sum(entry => entry.Parameter.Count));

    /// <summary>Updates every parameter that has a gradient, in place.</summary>
    /// <returns>The norm of all gradients together, before clipping.</returns>
    /// <exception cref="NumericalException">The norm is not finite; nothing has been updated.</exception>
    public double Step(Gradients gradients, double learningRate)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        double norm = GlobalNorm(gradients);
        if (!double.IsFinite(norm))
            throw new NumericalException($"The norm of the gradients is {norm} at update {Updates + 1}; no parameter was changed.");
        // As PyTorch does: a hair more than the norm in the denominator.
        double scale = Math.Min(1, settings.ClipNorm / (norm + 1e-6));
        Updates++;
        Tensor? now = null;
        foreach (Entry entry in entries)
        {
            if (!gradients.TryGet(entry.Parameter.Value, out Tensor? gradient))
                continue;
            Tensor value = entry.Parameter.Value;
            var update = new AdamW(settings.Beta1, settings.Beta2, settings.Epsilon, entry.Decay);
            now ??= value.Backend.Tensor(new TensorType(value.DType, [4]), update.Settings(Updates, learningRate, scale));
            update.Apply(value, gradient, entry.First, entry.Second, now);
        }
        return norm;
    }

    /// <inheritdoc/>
    string ITrainingPart.Name => "optimizer";

    /// <inheritdoc/>
    void ITrainingPart.Save(StateWriter state)
    {
        state.Values["updates"] = Updates;
        foreach (Entry entry in entries)
        {
            state.Add($"first/{entry.Path}", entry.First);
            state.Add($"second/{entry.Path}", entry.Second);
        }
    }

    /// <inheritdoc/>
    void ITrainingPart.Restore(StateReader state)
    {
        foreach (Entry entry in entries)
        {
            state.Read($"first/{entry.Path}", entry.First);
            state.Read($"second/{entry.Path}", entry.Second);
        }
        Updates = state.Value<long>("updates");
    }

    private double GlobalNorm(Gradients gradients)
    {
        double sum = 0;
        foreach (Entry entry in entries)
        {
            if (gradients.TryGet(entry.Parameter.Value, out Tensor? gradient))
                sum += gradient.Square().Sum().Item();
        }
        return Math.Sqrt(sum);
    }
}
