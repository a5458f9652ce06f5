using ScratchMamba.Mamba2;
using ScratchMamba.Studies.Data;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Training;

namespace ScratchMamba.Studies.Laboratory;

/// <summary>
/// Truncated backpropagation through time: every row begins where that row of the batch before ended, and in the empty state where it begins a document.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="segments">How many batches continue a document.</param>
/// <remarks>
/// What must not be: rows that begin in the empty state amid a document, whose reads then ask for what was never seen; and states that are carried from one document into the next, which is state passing.
/// </remarks>
internal sealed class ChainedStates(Mamba2Model model, int segments) : InitialStates(model, 0, 0), IDisposable
{
    private Scope home = Scope.Apart();
    private Mamba2State? last;
    private long batches;

    /// <inheritdoc/>
    public override void After(Mamba2State last)
    {
        Scope next = Scope.Apart();
        this.last = last;
        next.Own(last.Tensors);
        home.Dispose();
        home = next;
        batches++;
    }

    /// <summary>Releases the states.</summary>
    public void Dispose()
    {
        home.Dispose();
        last = null;
    }

    /// <inheritdoc/>
    protected override Mamba2State? Draw(Philox random, int rows)
    {
        if (last is null)
            return null;
        double[] goesOn = [.. Enumerable.Range(0, rows).Select(row => StudyData.Begins(batches, row, segments) ? 0.0 : 1)];
        Tensor choice = Model.Backend.Tensor(new TensorType(Model.DType, [rows]), goesOn);
        Tensor Chosen(Tensor carried, Tensor empty) => choice.Reshape([rows, .. Enumerable.Repeat(1, carried.Shape.Rank - 1)]).Where(carried, empty);
        return new Mamba2State(
            [.. last.Layers.Zip(Model.EmptyState(rows).Layers, (layer, empty) => new LayerState(Chosen(layer.Convolution, empty.Convolution), Chosen(layer.Recurrent, empty.Recurrent)))]);
    }
}
