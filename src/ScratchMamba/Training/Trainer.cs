using System.Diagnostics;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>What happens when the loss or a gradient is not finite.</summary>
public enum NonFinite
{
    /// <summary>The step throws.</summary>
    Stop,

    /// <summary>The step's batches are left out: no parameter, moment or carried state changes.</summary>
    Skip,
}

/// <summary>Trains a language model on batches of tokens.</summary>
/// <param name="model">The model; its parameters change in place.</param>
/// <param name="batches">The batches, each a pure function of its number.</param>
/// <param name="length">The length of a batch's rows.</param>
/// <param name="schedule">The learning rate.</param>
/// <param name="settings">The optimizer.</param>
/// <param name="accumulation">How many batches make one update: the gradients are averaged.</param>
public sealed class Trainer(Mamba2Model model, Func<long, TokenBatch> batches, int length, LearningRateSchedule schedule, AdamWSettings? settings = null, int accumulation = 1) : ITrainingPart, IDisposable
{
    // Weights that give no finite loss any more will not give one later.
    private const int MostSkippedInARow = 10;

    // Numbers in the residual streams of all layers, so that a step, which is one submission then, takes some seconds at most on a device that can hold it: systems that draw on
    // the same device stop longer ones. A captured step of 3·10⁸ (the 130m shape, 8 × 2048) took 89.6 ms on an H200, operation by operation 92.1.
    private const long LargestCaptured = 1 << 30;

    private readonly GradientNoise noise = new();
    private CapturedStep? captured;
    private int skippedInARow;

    /// <summary>The model.</summary>
    public Mamba2Model Model => model;

    /// <summary>The learning rate.</summary>
    public LearningRateSchedule Schedule => schedule;

    /// <summary>The optimizer.</summary>
    public AdamWOptimizer Optimizer { get; } = new(model, settings ?? new AdamWSettings());

    /// <summary>Where sequences begin; null for the empty state.</summary>
    public InitialStates? InitialStates { get; init; }

    /// <summary>
    /// Through how many batches of one update gradients pass with the state: each is the continuation of the one before, so that this many of length L have the gradients of one of that many times L.
    /// 1, the default, for truncation at every batch; more needs <see cref="CarriedStates"/>.
    /// </summary>
    public int Through
    {
        get;
        init => field = value >= 1 && accumulation % value == 0
            ? value : throw new ArgumentOutOfRangeException(nameof(value), value, $"Gradients pass through a number of batches that divides the {accumulation} of an update.");
    } = 1;

    /// <summary>What is added to the loss so that the model learns to forget; null for nothing.</summary>
    public ForgettingPenalty? Penalty { get; init; }

    /// <summary>What happens when the loss or a gradient is not finite.</summary>
    public NonFinite OnNonFinite { get; init; }

    /// <summary>What gradients are multiplied with while they are made; used where the model's precision is <see cref="MatMulPrecision.Float16"/>.</summary>
    public LossScale LossScale { get; init; } = new();

    /// <summary>How many steps have been made.</summary>
    public long StepsDone { get; private set; }

    /// <summary>How many batches were left out before the next one: see <see cref="SkipBatches"/>.</summary>
    public long BatchesSkipped { get; private set; }

    /// <summary>How many batches have been read or left out.</summary>
    public long BatchesPassed => StepsDone * accumulation + BatchesSkipped;

    /// <summary>What has to be saved for the training to go on exactly.</summary>
    public IEnumerable<ITrainingPart> Parts => [this, Optimizer, .. IsScaled ? (ITrainingPart[])[LossScale] : [], .. InitialStates is null ? (ITrainingPart[])[] : [InitialStates]];

    /// <inheritdoc/>
    string ITrainingPart.Name => "trainer";

    /// <summary>Makes one update.</summary>
    /// <exception cref="NumericalException">
    /// The loss or a gradient is not finite, and <see cref="OnNonFinite"/> is not to skip, or ten steps in a row were skipped; no parameter was changed. On a <see cref="FiniteBackend"/> the message says
    /// which operation, in which part of the model, made the first number that is not finite.
    /// </exception>
    public StepReport Step()
    {
        bool tracked = model.TracksRetention;
        model.TracksRetention |= Penalty?.Retention > 0;
        long start = Stopwatch.GetTimestamp();
        try
        {
            StepReport report = Attempt();
            if (report.Skipped is null)
                InitialStates?.Commit();
            else
                InitialStates?.Rollback();
            skippedInARow = 0;
            return report with { Seconds = Stopwatch.GetElapsedTime(start).TotalSeconds };
        }
        catch (NumericalException fault)
        {
            InitialStates?.Rollback();
            string message = $"{fault.Message}{Locate()}";
            if (OnNonFinite == NonFinite.Stop)
                throw new NumericalException(message);
            if (++skippedInARow == MostSkippedInARow)
                throw new NumericalException($"{MostSkippedInARow} steps in a row were skipped. {message}");
            return new StepReport(++StepsDone, double.NaN, double.NaN, schedule[StepsDone - 1]) { Skipped = message, Seconds = Stopwatch.GetElapsedTime(start).TotalSeconds };
        }
        catch
        {
            InitialStates?.Rollback();
            throw;
        }
        finally
        {
            model.TracksRetention = tracked;
        }
    }

    /// <summary>Leaves out the next batches: the step to come reads those after them.</summary>
    public void SkipBatches(long count) => BatchesSkipped += count;

    /// <inheritdoc/>
    void ITrainingPart.Save(StateWriter state)
    {
        state.Values["steps"] = StepsDone;
        state.Add("noise", noise.Memory);
        state.Values["batches_skipped"] = BatchesSkipped;
        state.Values["skipped_in_a_row"] = skippedInARow;
    }

    /// <inheritdoc/>
    void ITrainingPart.Restore(StateReader state)
    {
        StepsDone = state.Value<long>("steps");
        noise.Memory = state.Doubles("noise");
        BatchesSkipped = state.Value<long>("batches_skipped");
        skippedInARow = state.Value<int>("skipped_in_a_row");
    }

    /// <summary>Gives back the memory that is held from step to step, so that something else may have it; the next step takes it again.</summary>
    public void Rest()
    {
        Forget();
        model.Backend.Trim();
    }

    /// <summary>Releases what was prepared for steps; the moments live as long as the backend.</summary>
    public void Dispose() => Forget();

    private bool IsScaled => model.Precision == MatMulPrecision.Float16;

    private void Forget()
    {
        captured?.Dispose();
        captured = null;
    }

    private StepReport Attempt()
    {
        double rate = schedule[StepsDone], scale = IsScaled ? LossScale.Value : 1, norm;
        var sums = new Sums();
        TokenBatch? batch = accumulation == 1 ? Next(0, ref sums) : null;
        try
        {
            if (batch is not null && IsCaptured(batch))
            {
                CapturedStep step = CapturedFor(batch);
                sums.Loss = step.Run(batch, scale, rate);
                ThrowUnlessFinite(sums);
                norm = step.Finish();
            }
            else
            {
                using var scope = new Scope();
                Gradients gradients = Gradient(ref sums, scale, batch);
                ThrowUnlessFinite(sums);
                norm = Optimizer.Step(gradients, rate, scale);
            }
        }
        catch (NumericalException) when (IsScaled && double.IsFinite(sums.Loss + sums.Penalty) && LossScale.Shrink())
        {
            string overflow = $"a gradient is too large for float16 at a loss scale of {scale:#,0}; it is {LossScale.Value:#,0} from now on";
            return new StepReport(++StepsDone, sums.Loss, double.NaN, rate, sums.Penalty) { Tokens = sums.Tokens, Waited = sums.Waited, LossScale = scale, Skipped = overflow };
        }
        if (IsScaled)
            LossScale.Succeed();
        return new StepReport(++StepsDone, sums.Loss, norm, rate, sums.Penalty) { Tokens = sums.Tokens, Waited = sums.Waited, NoiseScale = Noise(sums, norm), LossScale = IsScaled ? scale : null };
    }

    /// <summary>The captured step of the next batch, which is written to it.</summary>
    /// <exception cref="InvalidOperationException">Steps of this trainer are not captured, or are measured.</exception>
    internal CapturedStep BeginTogether()
    {
        var sums = new Sums();
        TokenBatch? batch = accumulation == 1 && Optimizer.MeasureEvery == 0 && !IsScaled ? Next(0, ref sums) : null;
        if (batch is null || !IsCaptured(batch))
            throw new InvalidOperationException("Models are trained together on one batch a step, from the empty state, without penalty, observer, cure or loss scale, none of them larger than steps that are captured.");
        CapturedStep step = CapturedFor(batch);
        step.Write(batch, lossScale: 1);
        step.Prepare(schedule[StepsDone]);
        return step;
    }

    /// <summary>Notes a step of which everything but the update has been done.</summary>
    internal StepReport EndTogether(CapturedStep step, double loss)
    {
        double rate = schedule[StepsDone], norm = step.Finish();
        return new StepReport(++StepsDone, loss, norm, rate) { Tokens = step.Tokens };
    }

    private CapturedStep CapturedFor(TokenBatch batch)
    {
        if (captured is not null && captured.Fits(batch))
            return captured;
        Forget();
        return captured = new CapturedStep(model, Optimizer, batch, length);
    }

    /// <summary>
    /// Whether a step on <paramref name="batch"/> is captured once and then costs the host nothing: where nothing but the batch changes from step to step,
    /// and where that work is not hidden behind the device's anyway.
    /// </summary>
    private bool IsCaptured(TokenBatch batch) =>
        InitialStates is null && Penalty is null && model.Observer is null && model.Cure == Cure.None
        && (long)batch.Inputs.Length * model.Config.Width * model.Config.Layers <= LargestCaptured;

    private void ThrowUnlessFinite(in Sums sums)
    {
        if (!double.IsFinite(sums.Loss + sums.Penalty))
            throw new NumericalException($"The loss is {sums.Loss + sums.Penalty} at step {StepsDone + 1}; no parameter was changed.");
    }

    /// <summary>The batch number <paramref name="index"/> of the next step.</summary>
    private TokenBatch Next(int index, ref Sums sums)
    {
        long asked = Stopwatch.GetTimestamp();
        TokenBatch batch = batches(Number(index));
        sums.Waited += Stopwatch.GetElapsedTime(asked).TotalSeconds;
        sums.Tokens += batch.Inputs.Length;
        return batch;
    }

    private long Number(int index) => StepsDone * accumulation + index + BatchesSkipped;

    /// <summary>The gradient noise scale, where the parts of this step's gradient were measured.</summary>
    private double? Noise(in Sums sums, double norm)
    {
        int parts = accumulation / Through;
        if (sums.PartSquares == 0 || parts < 2)
            return null;
        // A part has 1 / accumulation in it for each of its batches.
        double rows = sums.Tokens / (double)length, square = sums.PartSquares * parts;
        noise.Add(rows / parts, square, rows, norm * norm);
        return noise.Scale;
    }

    private struct Sums
    {
        public double Loss, Penalty, Waited, PartSquares;
        public long Tokens;
    }

    /// <summary>The gradient of the mean loss, and of the penalty, over the batches of the next step, times <paramref name="scale"/>.</summary>
    private Gradients Gradient(ref Sums sums, double scale, TokenBatch? first = null)
    {
        Gradients? gradients = null;
        Tensor? together = null;
        List<Tensor> losses = [], penalties = [];
        for (int i = 0; i < accumulation; i++)
        {
            TokenBatch batch = first ?? Next(i, ref sums);
            (Tensor mean, Tensor? penalty, Mamba2State last) = Read(batch, InitialStates?.Before(Number(i), batch.Inputs.Length / length, batch.Continues));
            mean *= 1.0 / accumulation;
            losses.Add(mean.Keep());
            if (penalty is not null)
            {
                penalty *= 1.0 / accumulation;
                penalties.Add(penalty.Keep());
                mean += penalty;
            }
            together = together is null ? mean : together + mean;
            bool isLast = (i + 1) % Through == 0;
            Mamba2State? carried = InitialStates is null ? null : isLast ? last.Detach() : last;
            if (isLast)
            {
                Gradients part = together.Backward(together.Backend.Full(together.Type, scale));
                if (accumulation > Through && Optimizer.IsMeasuring)
                    sums.PartSquares += Math.Pow(AdamWOptimizer.Norm(part) / scale, 2);
                gradients = gradients is null ? part : gradients.Add(part);
                together = null;
            }
            if (carried is not null)
                InitialStates!.After(carried);
        }
        // Read at the end: a device that waits to be asked would stand still between the passes.
        sums.Loss += losses.Sum(loss => loss.Item());
        sums.Penalty += penalties.Sum(penalty => penalty.Item());
        return gradients!;
    }

    /// <summary>Makes the step's gradient again, looking at what every operation makes.</summary>
    private string Locate()
    {
        if (model.Backend is not FiniteBackend { IsChecking: false } finite)
            return "";
        // The captured step is made again as it was, but its memory is needed.
        Forget();
        finite.IsChecking = true;
        finite.Step = StepsDone + 1;
        try
        {
            using var scope = new Scope();
            var sums = new Sums();
            Gradients gradients = Gradient(ref sums, IsScaled ? LossScale.Value : 1);
            // Finite numbers may have squares that are not.
            using Differentiation.Mode pause = Differentiation.Pause();
            Optimizer.ThrowUnlessNormsAreFinite(gradients);
            return " Made again, it was finite: the fault is not in the numbers but in what computes them.";
        }
        catch (NumericalException fault)
        {
            return $" {fault.Message}";
        }
        catch (InsufficientMemoryException)
        {
            return "";
        }
        finally
        {
            finite.IsChecking = false;
            InitialStates?.Rollback();
        }
    }

    private (Tensor Mean, Tensor? Penalty, Mamba2State Last) Read(TokenBatch batch, Mamba2State? initial)
    {
        (Tensor inputs, Tensor labels, Tensor? sequence) = batch.On(model.Backend, length);
        if (Penalty is not null)
            return sequence is null ? Penalty.Read(model, inputs, labels, initial) : throw new InvalidOperationException("A forgetting penalty is one of whole rows: it cannot be had with several documents in a row.");
        (Tensor losses, Mamba2State last) = model.LossesAndState(inputs, labels, initial, sequence);
        return (losses.MeanOverLabels(labels), null, last);
    }

    /// <summary>The mean loss of a batch, as a scalar to differentiate: cross entropy of each token given those before it, in nats.</summary>
    public static Tensor Loss(Mamba2Model model, TokenBatch batch, int length)
    {
        (Tensor inputs, Tensor labels, Tensor? sequence) = batch.On(model.Backend, length);
        return model.Losses(inputs, labels, sequence: sequence).MeanOverLabels(labels);
    }
}
