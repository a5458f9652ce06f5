using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>
/// A training step on batches of one shape as programs that are captured once: the loss and its gradients, and the update, which changes nothing where those are not finite.
/// The host reads the loss and the norms while the device updates, so that the next step is there when it has done so. The operations are those of a step that is not captured, in the same order: so are the bits.
/// </summary>
internal sealed class CapturedStep : IDisposable
{
    private readonly Scope home = Scope.Apart();
    private readonly Mamba2Model model;
    private readonly AdamWOptimizer optimizer;
    private readonly MatMulPrecision precision;
    private readonly Tensor inputs, labels, seed;
    private readonly Tensor? documents;
    private readonly (Parameter Parameter, Tensor Value)[] parameters;
    private readonly Dictionary<double, Tensor> settings;
    private readonly CapturedProgram differentiate, update;
    private readonly double[] numbers;
    private double written;
    private CapturedProgram? measuredUpdate;
    private Tensor report = null!, loss = null!, squares = null!, moves = null!, sizes = null!;
    private Gradients gradients = null!;

    /// <summary>Captures the step for batches like <paramref name="batch"/>, in rows of <paramref name="length"/>.</summary>
    public CapturedStep(Mamba2Model model, AdamWOptimizer optimizer, TokenBatch batch, int length)
    {
        (this.model, this.optimizer, precision) = (model, optimizer, model.Precision);
        Backend backend = model.Backend;
        (inputs, labels, documents) = batch.On(backend, length);
        seed = backend.Zeros(new TensorType(model.DType, []));
        settings = optimizer.NewSettings();
        home.Own([inputs, labels, seed, .. documents is null ? (Tensor[])[] : [documents], .. settings.Values]);
        parameters = [.. model.Parameters().Select(entry => (entry.Parameter, entry.Parameter.Value))];
        differentiate = backend.Capture(() =>
        {
            using Differentiation.Mode recording = Differentiation.Resume();
            Tensor mean = model.LossesAndState(inputs, labels, null, documents).Losses.MeanOverLabels(labels).Keep();
            gradients = mean.Backward(seed);
            using Differentiation.Mode pause = Differentiation.Pause();
            (loss, squares) = (mean, optimizer.SquaredNorms(gradients));
            report = TensorOperations.Concatenate(0, mean.Reshape([1]), squares);
            home.Own([report, loss, squares, .. gradients.Select(entry => entry.Value)]);
        });
        update = backend.Capture(() => optimizer.Update(gradients, squares, loss, settings));
        numbers = new double[report.Count];
    }

    /// <summary>Whether a step on <paramref name="batch"/> is this one.</summary>
    public bool Fits(TokenBatch batch)
    {
        if (batch.Inputs.Length != inputs.Count || batch.Documents is null != documents is null || model.Precision != precision)
            return false;
        foreach ((Parameter parameter, Tensor value) in parameters)
        {
            if (parameter.Value != value)
                return false;
        }
        return true;
    }

    /// <summary>What computes the loss and its gradients.</summary>
    public CapturedProgram Differentiating => differentiate;

    /// <summary>What changes the parameters.</summary>
    public CapturedProgram Updating => update;

    /// <summary>Tokens of a batch.</summary>
    public long Tokens => inputs.Count;

    /// <summary>The norm of the gradients of the batch that was read last.</summary>
    public double Norm => AdamWOptimizer.Root(numbers.AsSpan(1)) / written;

    /// <summary>
    /// Makes the gradients of a batch, times <paramref name="lossScale"/>, and updates the parameters by them, unless the loss or a gradient is not finite: then nothing changes. Returns the mean loss
    /// as soon as it is known, while the device still updates. <see cref="Finish"/> has to follow where the loss is finite.
    /// </summary>
    public double Run(TokenBatch batch, double lossScale, double learningRate)
    {
        Write(batch, lossScale);
        optimizer.Prepare(learningRate, lossScale, settings);
        differentiate.Run();
        Func<double[]>? later = model.Backend.IsQueued ? AdamWOptimizer.ReadLater(report) : null;
        if (optimizer.IsMeasuring)
            Measuring.Run();
        else
            update.Run();
        if (later is null)
            report.ReadDoubles(numbers);
        else
            later().CopyTo(numbers, 0);
        return numbers[0];
    }

    /// <summary>Writes the batch that is read next, and what its gradients are made with.</summary>
    public void Write(TokenBatch batch, double lossScale)
    {
        if (lossScale != written)
            seed.WriteDoubles([written = lossScale]);
        inputs.Write<int>(batch.Inputs);
        labels.Write<int>(batch.Labels);
        documents?.Write<int>(batch.Documents);
    }

    /// <summary>What a step reports: the mean loss and the squared norms of all gradients.</summary>
    public Tensor Report => report;

    /// <summary>The same, with a report that has been read together with others.</summary>
    public double Take(ReadOnlySpan<double> read)
    {
        read.CopyTo(numbers);
        return numbers[0];
    }

    /// <summary>Writes what an update needs, before gradients are made.</summary>
    public void Prepare(double learningRate) => optimizer.Prepare(learningRate, written, settings);

    /// <summary>Notes an update by those gradients; returns their norm.</summary>
    /// <exception cref="NumericalException">The norm is not finite; nothing has been changed.</exception>
    public double Finish()
    {
        bool measured = optimizer.IsMeasuring;
        optimizer.Advance(Norm);
        if (measured)
            optimizer.SetMeasured(moves, sizes);
        return Norm;
    }

    private CapturedProgram Measuring => measuredUpdate ??= model.Backend.Capture(() =>
    {
        (moves, sizes) = optimizer.MeasuredUpdate(gradients, squares, loss, settings);
        home.Own([moves, sizes]);
    });

    public void Dispose()
    {
        measuredUpdate?.Dispose();
        update.Dispose();
        differentiate.Dispose();
        home.Dispose();
    }
}
