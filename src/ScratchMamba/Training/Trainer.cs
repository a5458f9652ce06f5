using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>What happened in one step.</summary>
/// <param name="Step">Its number, from 1.</param>
/// <param name="Loss">The mean loss before the update, in nats per token.</param>
/// <param name="GradientNorm">The norm of all gradients together, before clipping.</param>
/// <param name="LearningRate">The learning rate.</param>
/// <param name="Penalty">The forgetting penalty, which the loss does not contain.</param>
public readonly record struct StepReport(long Step, double Loss, double GradientNorm, double LearningRate, double Penalty = 0);

/// <summary>Trains a language model on batches of tokens.</summary>
/// <param name="model">The model; its parameters change in place.</param>
/// <param name="batches">The batches, each a pure function of its number.</param>
/// <param name="length">The length of a batch's rows.</param>
/// <param name="schedule">The learning rate.</param>
/// <param name="settings">The optimizer.</param>
/// <param name="accumulation">How many batches make one update: the gradients are averaged.</param>
public sealed class Trainer(Mamba2Model model, Func<long, TokenBatch> batches, int length, LearningRateSchedule schedule, AdamWSettings? settings = null, int accumulation = 1)
{
    /// <summary>The optimizer.</summary>
    public AdamWOptimizer Optimizer { get; } = new(model, settings ?? new AdamWSettings());

    /// <summary>Where sequences begin; null for the empty state.</summary>
    public InitialStates? InitialStates { get; init; }

    /// <summary>What is added to the loss so that the model learns to forget; null for nothing.</summary>
    public ForgettingPenalty? Penalty { get; init; }

    /// <summary>How many steps have been made.</summary>
    public long StepsDone { get; private set; }

    /// <summary>Makes one update.</summary>
    /// <exception cref="NumericalException">The loss or a gradient is not finite; no parameter was changed.</exception>
    public StepReport Step()
    {
        bool tracked = model.TracksRetention;
        model.TracksRetention |= Penalty?.Retention > 0;
        try
        {
            return Step(StepsDone);
        }
        finally
        {
            model.TracksRetention = tracked;
        }
    }

    private StepReport Step(long done)
    {
        using var scope = new Scope();
        double loss = 0, penalties = 0;
        Gradients? gradients = null;
        for (int i = 0; i < accumulation; i++)
        {
            long number = done * accumulation + i;
            TokenBatch batch = batches(number);
            (Tensor mean, Tensor? penalty, Mamba2State last) = Read(batch, InitialStates?.Before(number, batch.Inputs.Length / length));
            mean *= 1.0 / accumulation;
            loss += mean.Item();
            if (penalty is not null)
            {
                penalty *= 1.0 / accumulation;
                penalties += penalty.Item();
                mean += penalty;
            }
            Mamba2State? carried = InitialStates is null ? null : last.Detach();
            Gradients part = mean.Backward();
            if (carried is not null)
                InitialStates!.After(carried);
            gradients = gradients is null ? part : gradients.Add(part);
        }
        if (!double.IsFinite(loss + penalties))
            throw new NumericalException($"The loss is {loss + penalties} at step {done + 1}; no parameter was changed.");
        double rate = schedule[done];
        double norm = Optimizer.Step(gradients!, rate);
        return new StepReport(++StepsDone, loss, norm, rate, penalties);
    }

    private (Tensor Mean, Tensor? Penalty, Mamba2State Last) Read(TokenBatch batch, Mamba2State? initial)
    {
        int rows = batch.Inputs.Length / length;
        Tensor inputs = model.Backend.Tensor<int>([rows, length], batch.Inputs), labels = model.Backend.Tensor<int>([rows, length], batch.Labels);
        if (Penalty is not null)
            return Penalty.Read(model, inputs, labels, initial);
        (Tensor losses, Mamba2State last) = model.LossesAndState(inputs, labels, initial);
        return (losses.MeanOverLabels(labels), null, last);
    }

    /// <summary>The mean loss of a batch, as a scalar to differentiate: cross entropy of each token given those before it, in nats.</summary>
    public static Tensor Loss(Mamba2Model model, TokenBatch batch, int length)
    {
        Shape shape = [batch.Inputs.Length / length, length];
        Tensor labels = model.Backend.Tensor<int>(shape, batch.Labels);
        return model.Losses(model.Backend.Tensor<int>(shape, batch.Inputs), labels).MeanOverLabels(labels);
    }
}
