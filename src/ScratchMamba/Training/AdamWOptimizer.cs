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
    double Beta1 = 0.9, double Beta2 = 0.95, double Epsilon = 1e-8, double WeightDecay = 0.1, double ClipNorm = 1, bool DecaysEverything = false)
{
    /// <summary>Parameters that are treated apart; of several groups that have a parameter, the last counts.</summary>
    public IReadOnlyList<ParameterGroup> Groups { get; init; } = [];
}

/// <summary>Parameters that an optimizer treats alike.</summary>
/// <param name="WeightDecay">Their decay per unit of learning rate.</param>
/// <param name="RateFactor">What the learning rate is multiplied with; 0 for those that are frozen.</param>
/// <param name="Paths">Their paths.</param>
/// <param name="Count">The number of their elements.</param>
public sealed record OptimizerGroup(double WeightDecay, double RateFactor, IReadOnlyList<string> Paths, long Count);

/// <summary>
/// Adam with decoupled weight decay and clipping by the global norm. Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019).
/// </summary>
public sealed class AdamWOptimizer : ITrainingPart
{
    private readonly AdamWSettings settings;
    private readonly List<Entry> entries = [];
    private readonly OptimizerGroup? frozen;

    private sealed record Entry(string Path, Parameter Parameter, Tensor First, Tensor Second, double Decay, double RateFactor);

    /// <summary>An optimizer for those of a model's parameters that are not frozen, with moments of zero.</summary>
    /// <exception cref="ArgumentException">Parameters are held in fewer bits than 32, or a group has none.</exception>
    public AdamWOptimizer(Module model, AdamWSettings settings)
    {
        this.settings = settings;
        foreach (ParameterGroup group in settings.Groups)
            group.ThrowIfEmpty(model);
        (string Path, Parameter Parameter)[] fixedOnes = [.. model.Parameters().Where(entry => entry.Parameter.IsFrozen)];
        frozen = fixedOnes.Length == 0 ? null : new OptimizerGroup(0, 0, [.. fixedOnes.Select(entry => entry.Path)], fixedOnes.Sum(entry => entry.Parameter.Count));
        foreach ((string path, Parameter parameter) in model.Parameters())
        {
            if (parameter.IsFrozen)
                continue;
            if (parameter.Value.DType.IsCompact())
                throw new ArgumentException($"{path} is held in {parameter.Value.DType}: fewer bits than 32 are for inference. Load the model in F32 to train it.");
            Tensor Moment() => parameter.Value.Backend.Zeros(parameter.Value.Type);
            ParameterGroup? group = settings.Groups.LastOrDefault(group => group.Has(path));
            double decay = group?.WeightDecay ?? (parameter.Decays || settings.DecaysEverything ? settings.WeightDecay : 0);
            entries.Add(new Entry(path, parameter, Moment(), Moment(), decay, group?.RateFactor ?? 1));
        }
    }

    /// <summary>How many updates have been made.</summary>
    public long Updates { get; private set; }

    /// <summary>After how many updates <see cref="UpdateNorm"/> and <see cref="ParameterNorm"/> are measured, which takes as long as the update itself; 0 for never.</summary>
    public int MeasureEvery { get; set; }

    /// <summary>How far the last update moved all parameters together, decay included; null where it was not measured.</summary>
    public double? UpdateNorm { get; private set; }

    /// <summary>The norm of all parameters that are trained, before the last update; null where it was not measured.</summary>
    public double? ParameterNorm { get; private set; }

    /// <summary>Whether the next update will be measured.</summary>
    public bool IsMeasuring => MeasureEvery > 0 && (Updates + 1) % MeasureEvery == 0;

    /// <summary>The parameters that are treated alike: those that decay first, those that are frozen last.</summary>
    public IEnumerable<OptimizerGroup> Groups =>
    [
        .. from entry in entries
           group entry by (entry.Decay, entry.RateFactor) into alike
           orderby alike.Key descending
           select new OptimizerGroup(alike.Key.Decay, alike.Key.RateFactor, [.. alike.Select(entry => entry.Path)], alike.Sum(entry => entry.Parameter.Count)),
        .. frozen is null ? (OptimizerGroup[])[] : [frozen],
    ];

    /// <summary>Updates every parameter that has a gradient, in place.</summary>
    /// <param name="gradients">The gradients, times <paramref name="lossScale"/>.</param>
    /// <param name="learningRate">The learning rate.</param>
    /// <param name="lossScale">See <see cref="LossScale"/>; 1 where there is none.</param>
    /// <returns>The norm of all gradients together, before clipping.</returns>
    /// <exception cref="NumericalException">The norm is not finite; nothing has been updated.</exception>
    public double Step(Gradients gradients, double learningRate, double lossScale = 1)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        Tensor squares = SquaredNorms(gradients);
        Dictionary<double, Tensor> settings = NewSettings();
        Prepare(learningRate, lossScale, settings);
        Func<double[]> read = ReadLater(squares);
        (Tensor Moves, Tensor Sizes)? measured = null;
        if (IsMeasuring)
            measured = MeasuredUpdate(gradients, squares, squares, settings);
        else
            Update(gradients, squares, squares, settings);
        double norm = Root(read()) / lossScale;
        Advance(norm);
        if (measured is { } numbers)
            SetMeasured(numbers.Moves, numbers.Sizes);
        return norm;
    }

    /// <summary>The squared norm of each gradient, as a vector: to be read at once, since reading each would wait for the device each time.</summary>
    internal Tensor SquaredNorms(Gradients gradients)
    {
        List<Tensor> given = [];
        foreach (Entry entry in entries)
        {
            if (gradients.TryGet(entry.Parameter.Value, out Tensor? gradient))
                given.Add(gradient);
        }
        return TensorOperations.SquaredNorms([.. given]);
    }

    /// <summary>The same one by one, where each is to be looked at: for <see cref="Tensors.Backends.FiniteBackend"/>, which then names the parameter.</summary>
    internal void ThrowUnlessNormsAreFinite(Gradients gradients)
    {
        using var scope = new Scope();
        foreach (Entry entry in entries)
        {
            using Place.Mark place = Place.Enter(entry.Path, isGradient: true);
            if (gradients.TryGet(entry.Parameter.Value, out Tensor? gradient))
                TensorOperations.SquaredNorms(gradient);
        }
    }

    /// <summary>Numbers as they are now, to be asked for later: a device goes on meanwhile.</summary>
    internal static Func<double[]> ReadLater(Tensor numbers)
    {
        if (!numbers.Backend.IsQueued)
            return numbers.ToDoubles;
        Lazy<float[]> read = numbers.ReadLater<float>();
        return () => Array.ConvertAll(read.Value, number => (double)number);
    }

    /// <summary>The root of a sum.</summary>
    internal static double Root(ReadOnlySpan<double> squares)
    {
        double sum = 0;
        foreach (double square in squares)
            sum += square;
        return Math.Sqrt(sum);
    }

    /// <summary>Room for what changes from update to update, for each factor of the learning rate.</summary>
    internal Dictionary<double, Tensor> NewSettings() => entries.Select(entry => entry.RateFactor).Distinct()
        .ToDictionary(factor => factor, _ => entries[0].First.Backend.Zeros(new TensorType(entries[0].First.DType, [4])));

    /// <summary>Writes what the next update needs, by gradients that come times <paramref name="lossScale"/>.</summary>
    internal void Prepare(double learningRate, double lossScale, Dictionary<double, Tensor> settings)
    {
        foreach ((double factor, Tensor tensor) in settings)
            Constants(0).Write(tensor, Updates + 1, learningRate * factor, 1 / lossScale);
    }

    /// <summary>Notes an update by gradients of norm <paramref name="norm"/>.</summary>
    /// <exception cref="NumericalException">The norm is not finite; the update has changed nothing.</exception>
    internal void Advance(double norm)
    {
        if (!double.IsFinite(norm))
            throw new NumericalException($"The norm of the gradients is {norm} at update {Updates + 1}; no parameter was changed.");
        Updates++;
        (UpdateNorm, ParameterNorm) = (null, null);
    }

    /// <summary>Changes the parameters, unless a squared norm or one of the other numbers is not finite.</summary>
    internal void Update(Gradients gradients, Tensor squares, Tensor others, Dictionary<double, Tensor> settings)
    {
        using var scope = new Scope();
        settings = Clipped(settings, squares, others);
        foreach (Entry entry in entries)
        {
            if (gradients.TryGet(entry.Parameter.Value, out Tensor? gradient))
                Constants(entry.Decay).Apply(entry.Parameter.Value, gradient, entry.First, entry.Second, settings[entry.RateFactor]);
        }
    }

    private Dictionary<double, Tensor> Clipped(Dictionary<double, Tensor> settings, Tensor squares, Tensor others) =>
        settings.ToDictionary(entry => entry.Key, entry => entry.Value.Clipped(squares, others, this.settings.ClipNorm));

    /// <summary>The same; returns the squared norms of what each parameter moved by, and of what each was.</summary>
    internal (Tensor Moves, Tensor Sizes) MeasuredUpdate(Gradients gradients, Tensor squares, Tensor others, Dictionary<double, Tensor> settings)
    {
        using var scope = new Scope();
        settings = Clipped(settings, squares, others);
        List<Tensor> moves = [], sizes = [];
        foreach (Entry entry in entries)
        {
            Tensor value = entry.Parameter.Value;
            if (!gradients.TryGet(value, out Tensor? gradient))
                continue;
            using var temporaries = new Scope();
            Tensor before = value * 1;
            Constants(entry.Decay).Apply(value, gradient, entry.First, entry.Second, settings[entry.RateFactor]);
            sizes.Add(temporaries.Keep(TensorOperations.SquaredNorms(before)));
            moves.Add(temporaries.Keep(TensorOperations.SquaredNorms(value - before)));
        }
        return (scope.Keep(TensorOperations.Concatenate(0, [.. moves])), scope.Keep(TensorOperations.Concatenate(0, [.. sizes])));
    }

    /// <summary>Notes what <see cref="MeasuredUpdate"/> measured.</summary>
    internal void SetMeasured(Tensor moves, Tensor sizes) => (UpdateNorm, ParameterNorm) = (Root(moves.ToDoubles()), Root(sizes.ToDoubles()));

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

    /// <summary>The norm of gradients together: <c>√Σ g²</c>.</summary>
    public static double Norm(Gradients gradients)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        return Root(TensorOperations.SquaredNorms([.. gradients.Select(entry => entry.Value)]).ToDoubles());
    }

    private AdamW Constants(double decay) => new(settings.Beta1, settings.Beta2, settings.Epsilon, decay);
}
