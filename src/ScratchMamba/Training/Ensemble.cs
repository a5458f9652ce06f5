using System.Diagnostics;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>
/// Models that are trained side by side, each as by its own <see cref="Trainer"/>, to the bit: a step of all of them is one submission whose operations take turns, so that small models fill a large device together.
/// They need not be alike.
/// </summary>
/// <param name="members">Their trainers, on one backend. Steps of each have to be such as are captured: one batch an update, from the empty state, without penalty.</param>
public sealed class Ensemble(IReadOnlyList<Trainer> members) : IDisposable
{
    private CapturedStep[] steps = [];
    private CapturedProgram? differentiate, update;

    /// <summary>Makes one update of each model.</summary>
    /// <exception cref="InvalidOperationException">A trainer's steps cannot be captured.</exception>
    /// <exception cref="NumericalException">The loss or a gradient of one of them is not finite; no model has changed.</exception>
    public StepReport[] Step()
    {
        long start = Stopwatch.GetTimestamp();
        CapturedStep[] now = [.. members.Select(member => member.BeginTogether())];
        if (!now.SequenceEqual(steps))
        {
            Dispose();
            Backend backend = members[0].Model.Backend;
            (steps, differentiate, update) = (now, backend.Combine([.. now.Select(step => step.Differentiating)]), backend.Combine([.. now.Select(step => step.Updating)]));
        }
        differentiate!.Run();
        double[] losses = Read();
        for (int i = 0; i < losses.Length; i++)
        {
            if (!double.IsFinite(losses[i] + steps[i].Norm))
                throw new NumericalException($"The loss of model {i} is {losses[i]} and the norm of its gradients {steps[i].Norm} at step {members[i].StepsDone + 1}; no model has changed.");
        }
        StepReport[] reports = [.. members.Select((member, i) => member.EndTogether(steps[i], losses[i]))];
        update!.Run();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return [.. reports.Select(report => report with { Seconds = seconds })];
    }

    /// <summary>The losses: all reports at once, since a device would be waited for each time.</summary>
    private double[] Read()
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        double[] all = TensorOperations.Concatenate(0, [.. steps.Select(step => step.Report)]).ToDoubles();
        var losses = new double[steps.Length];
        int at = 0;
        for (int i = 0; i < losses.Length; i++)
        {
            int count = (int)steps[i].Report.Count;
            losses[i] = steps[i].Take(all.AsSpan(at, count));
            at += count;
        }
        return losses;
    }

    /// <summary>Releases what was prepared; the trainers are their owner's.</summary>
    public void Dispose()
    {
        differentiate?.Dispose();
        update?.Dispose();
        (steps, differentiate, update) = ([], null, null);
    }
}
