using System.Text.Json.Nodes;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>
/// Gives sequences in training a state to begin with, so that the model learns to read on in states that longer texts lead to. No gradient passes to where the state came from.
/// Source: Buitrago Ruiz and Gu, "Understanding and Improving Length Generalization in Recurrent Models", arXiv 2507.02782.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="emptyProbability">With this probability a row begins in the empty state all the same.</param>
/// <param name="seed">The seed of everything drawn: the same seed and batch number give the same draws.</param>
public abstract class InitialStates(Mamba2Model model, double emptyProbability, ulong seed) : ITrainingPart
{
    private readonly double emptyProbability = emptyProbability is >= 0 and <= 1
        ? emptyProbability : throw new ArgumentOutOfRangeException(nameof(emptyProbability), emptyProbability, "A probability lies between 0 and 1.");

    /// <summary>The model.</summary>
    protected Mamba2Model Model => model;

    /// <inheritdoc/>
    string ITrainingPart.Name => "initial_states";

    /// <summary>The state in which the rows of a batch begin; null for the empty one.</summary>
    /// <param name="batch">The batch's number.</param>
    /// <param name="rows">How many rows it has.</param>
    /// <param name="continues">Whether each row goes on where that row of the batch before ended; null where rows of different batches have nothing to do with each other.</param>
    public Mamba2State? Before(long batch, int rows, bool[]? continues = null)
    {
        var random = new Philox(seed, (ulong)batch);
        double[] begun = [.. Enumerable.Range(0, rows).Select(row => random.NextDouble() < emptyProbability || IsFresh(continues, row) ? 0.0 : 1)];
        if (Draw(random, rows) is not { } drawn || begun.All(value => value == 0))
            return null;
        if (begun.All(value => value == 1))
            return drawn;
        Tensor choice = model.Backend.Tensor(new TensorType(model.DType, [rows]), begun);
        return new Mamba2State(
        [
            .. drawn.Layers.Zip(model.EmptyState(rows).Layers, (layer, empty) => layer.With(
            [
                .. layer.Tensors.Zip(empty.Tensors, (x, y) => choice.Reshape([rows, .. Enumerable.Repeat(1, x.Shape.Rank - 1)]).Where(x, y)),
            ])),
        ]);
    }

    /// <summary>Is told the state in which the rows of a batch ended. What is to be kept of it must be owned: its memory is about to be released.</summary>
    public abstract void After(Mamba2State last);

    /// <summary>The step is made: what was learnt of its batches stays.</summary>
    public virtual void Commit()
    {
    }

    /// <summary>The step was not made: everything is as after the last <see cref="Commit"/>.</summary>
    public virtual void Rollback()
    {
    }

    /// <inheritdoc/>
    public virtual void Save(StateWriter state)
    {
    }

    /// <inheritdoc/>
    public virtual void Restore(StateReader state)
    {
    }

    /// <summary>Whether a row begins anew and must begin in the empty state.</summary>
    private protected virtual bool IsFresh(bool[]? continues, int row) => false;

    /// <summary>The state in which all rows would begin; null where there is none yet.</summary>
    protected abstract Mamba2State? Draw(Philox random, int rows);

    /// <summary>Empty states but for the recurrent ones, which are normal with a mean and a deviation for each layer and head.</summary>
    private protected Mamba2State Noise(Philox random, int rows, Func<int, int, (double Mean, double Deviation)> moments)
    {
        int heads = model.Config.Heads, size = model.Config.HeadSize * model.Config.StateSize;
        return new Mamba2State([.. model.EmptyState(rows).Layers.Select((layer, index) => layer with { Recurrent = model.Backend.Tensor(layer.Recurrent.Type, Values(index)) })]);

        double[] Values(int layer)
        {
            var values = new double[rows * heads * size];
            for (int i = 0; i < values.Length; i++)
            {
                (double mean, double deviation) = moments(layer, i / size % heads);
                values[i] = mean + deviation * random.NextNormal();
            }
            return values;
        }
    }
}

/// <summary>
/// Every row begins where that row of the batch before ended. With batches that continue each other (<see cref="Data.TokenBatches.Segments"/>) this is truncated backpropagation through time;
/// with unrelated ones it is state passing, for a short training after the main one.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="emptyProbability">With this probability a row begins in the empty state all the same.</param>
/// <param name="seed">The seed of that choice.</param>
public sealed class CarriedStates(Mamba2Model model, double emptyProbability = 0, ulong seed = 0) : InitialStates(model, emptyProbability, seed), IDisposable
{
    private (Mamba2State? State, Scope Home) committed = (null, Scope.Apart());
    private (Mamba2State State, Scope Home)? pending;
    private readonly List<Scope> history = [];

    /// <inheritdoc/>
    public override void After(Mamba2State last)
    {
        var own = new Mamba2State([.. last.Layers.Select(layer => layer with { LogRetention = null })]);
        Scope home = Scope.Apart();
        home.Own(own.Tensors);
        // A state that carries its history is not the end of what is differentiated together: its predecessors are still needed.
        if (own.Tensors.Any(tensor => tensor.RequiresGradient))
        {
            if (pending is { } before)
                history.Add(before.Home);
        }
        else
        {
            Rollback();
        }
        pending = (own, home);
    }

    /// <inheritdoc/>
    public override void Commit()
    {
        if (pending is not { } now)
            return;
        committed.Home.Dispose();
        committed = (now.State.Detach(), now.Home);
        pending = null;
        Rollback();
    }

    /// <inheritdoc/>
    public override void Rollback()
    {
        pending?.Home.Dispose();
        pending = null;
        history.ForEach(home => home.Dispose());
        history.Clear();
    }

    /// <inheritdoc/>
    public override void Save(StateWriter state)
    {
        state.Values["rows"] = committed.State?.Batch ?? 0;
        if (committed.State is null)
            return;
        state.Values["positions"] = new JsonArray([.. committed.State.Layers.Select(layer => (JsonNode?)layer.Memory?.Position)]);
        foreach ((string name, Tensor tensor) in Named(committed.State))
            state.Add(name, tensor);
    }

    /// <inheritdoc/>
    public override void Restore(StateReader state)
    {
        Rollback();
        committed.Home.Dispose();
        committed = (null, Scope.Apart());
        int rows = state.Value<int>("rows");
        if (rows == 0)
            return;
        using var scope = new Scope();
        Mamba2State restored = Model.EmptyState(rows);
        restored = new Mamba2State([.. restored.Layers.Select((layer, index) => layer.With([.. Named(layer, index).Select(item => state.Tensor(item.Name, Model.Backend))]))]);
        JsonArray positions = state.Array("positions");
        for (int i = 0; i < restored.Layers.Count; i++)
            restored.Layers[i].Memory?.MoveTo(positions[i]!.GetValue<long>());
        committed.Home.Own(restored.Tensors);
        committed.State = restored;
    }

    /// <summary>Releases the states.</summary>
    public void Dispose()
    {
        Rollback();
        committed.Home.Dispose();
        committed.State = null;
    }

    /// <inheritdoc/>
    protected override Mamba2State? Draw(Philox random, int rows) => (pending?.State ?? committed.State) is { } last && last.Batch == rows ? last : null;

    /// <inheritdoc/>
    private protected override bool IsFresh(bool[]? continues, int row) => continues is not null && !continues[row];

    private static IEnumerable<(string Name, Tensor Tensor)> Named(Mamba2State state) => state.Layers.SelectMany(Named);

    private static IEnumerable<(string Name, Tensor Tensor)> Named(LayerState layer, int index) => layer.Tensors.Select((tensor, place) => ($"{index}/{place}", tensor));
}

/// <summary>Every row begins in a recurrent state of normal numbers with mean 0.</summary>
/// <param name="model">The model.</param>
/// <param name="deviation">σ, the same for all layers and heads.</param>
/// <param name="emptyProbability">With this probability a row begins in the empty state all the same.</param>
/// <param name="seed">The seed of the numbers.</param>
public sealed class RandomNoise(Mamba2Model model, double deviation, double emptyProbability = 0, ulong seed = 0) : InitialStates(model, emptyProbability, seed)
{
    /// <inheritdoc/>
    public override void After(Mamba2State last)
    {
    }

    /// <inheritdoc/>
    protected override Mamba2State? Draw(Philox random, int rows) => Noise(random, rows, (_, _) => (0, deviation));
}

/// <summary>Every row begins in a recurrent state of normal numbers with the mean and the deviation that the last states of each layer and head have had: a moving average over about ten batches.</summary>
/// <param name="model">The model.</param>
/// <param name="emptyProbability">With this probability a row begins in the empty state all the same.</param>
/// <param name="seed">The seed of the numbers.</param>
public sealed class FittedNoise(Mamba2Model model, double emptyProbability = 0, ulong seed = 0) : InitialStates(model, emptyProbability, seed)
{
    private const double Renewal = 0.1;

    private double[][]? means, squares, committedMeans, committedSquares;

    /// <summary>The mean and the deviation of a head's last states; null before the first batch.</summary>
    public (double Mean, double Deviation)? MomentsOf(int layer, int head) => means is null
        ? null : (means[layer][head], Math.Sqrt(Math.Max(0, squares![layer][head] - means[layer][head] * means[layer][head])));

    /// <inheritdoc/>
    public override void After(Mamba2State last)
    {
        using var pause = Differentiation.Pause();
        double[][] newMeans = [.. last.Layers.Select(layer => PerHead(layer.Recurrent))], newSquares = [.. last.Layers.Select(layer => PerHead(layer.Recurrent.Square()))];
        (means, squares) = (Renewed(means, newMeans), Renewed(squares, newSquares));

        static double[] PerHead(Tensor state) => state.Reshape([state.Shape[0], state.Shape[1], state.Shape[2] * state.Shape[3]]).Mean(2).Mean(0).ToDoubles();

        static double[][] Renewed(double[][]? old, double[][] fresh) => old is null
            ? fresh : [.. old.Zip(fresh, (before, now) => before.Zip(now, (x, y) => x + Renewal * (y - x)).ToArray())];
    }

    /// <inheritdoc/>
    public override void Commit() => (committedMeans, committedSquares) = (means, squares);

    /// <inheritdoc/>
    public override void Rollback() => (means, squares) = (committedMeans, committedSquares);

    /// <inheritdoc/>
    public override void Save(StateWriter state)
    {
        state.Values["fitted"] = means is not null;
        for (int layer = 0; layer < (means?.Length ?? 0); layer++)
        {
            state.Add($"{layer}/means", means![layer]);
            state.Add($"{layer}/squares", squares![layer]);
        }
    }

    /// <inheritdoc/>
    public override void Restore(StateReader state)
    {
        bool isFitted = state.Value<bool>("fitted");
        means = isFitted ? [.. Enumerable.Range(0, Model.Config.Layers).Select(layer => state.Doubles($"{layer}/means"))] : null;
        squares = isFitted ? [.. Enumerable.Range(0, Model.Config.Layers).Select(layer => state.Doubles($"{layer}/squares"))] : null;
        Commit();
    }

    /// <inheritdoc/>
    protected override Mamba2State? Draw(Philox random, int rows) => means is null ? null : Noise(random, rows, (layer, head) => MomentsOf(layer, head)!.Value);
}
