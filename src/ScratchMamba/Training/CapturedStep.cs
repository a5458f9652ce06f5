using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>
/// A training step on batches of one shape as programs that are captured once: the loss and its gradients, and the update. Between them the host reads the loss and the norms,
/// so that a step which is not finite changes nothing. The operations are those of a step that is not captured, in the same order: so are the bits.
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
    private Tensor report = null!, moves = null!, sizes = null!;
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
            report = TensorOperations.Concatenate(0, mean.Reshape([1]), optimizer.SquaredNorms(gradients));
            home.Own([report, .. gradients.Select(entry => entry.Value)]);
        });
        update = backend.Capture(() => optimizer.Update(gradients, settings));
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

    /// <summary>The mean loss of a batch; its gradients, times <paramref name="lossScale"/>, are there then.</summary>
    public double Differentiate(TokenBatch batch, double lossScale)
    {
        Write(batch, lossScale);
        differentiate.Run();
        return Read();
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

    /// <summary>The mean loss of the batch that was read last.</summary>
    public double Read()
    {
        report.ReadDoubles(numbers);
        return numbers[0];
    }

    /// <summary>What a step reports: the mean loss and the squared norms of all gradients.</summary>
    public Tensor Report => report;

    /// <summary>The same, with a report that has been read together with others.</summary>
    public double Take(ReadOnlySpan<double> read)
    {
        read.CopyTo(numbers);
        return numbers[0];
    }

    /// <summary>Writes what an update by these gradients needs.</summary>
    /// <exception cref="NumericalException">Their norm is not finite; nothing has been changed.</exception>
    public void Advance(double learningRate) => optimizer.Advance(Norm, learningRate, written, settings);

    /// <summary>Updates the parameters by those gradients; returns their norm.</summary>
    /// <exception cref="NumericalException">The norm is not finite; nothing has been changed.</exception>
    public double Update(double learningRate)
    {
        double norm = Norm;
        bool measures = optimizer.IsMeasuring;
        Advance(learningRate);
        if (!measures)
        {
            update.Run();
            return norm;
        }
        measuredUpdate ??= model.Backend.Capture(() =>
        {
            (moves, sizes) = optimizer.MeasuredUpdate(gradients, settings);
            home.Own([moves, sizes]);
        });
        measuredUpdate.Run();
        optimizer.SetMeasured(moves, sizes);
        return norm;
    }

    public void Dispose()
    {
        measuredUpdate?.Dispose();
        update.Dispose();
        differentiate.Dispose();
        home.Dispose();
    }
}
