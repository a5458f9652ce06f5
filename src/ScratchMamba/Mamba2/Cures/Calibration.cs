using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>Measures on text what cures need to know of a model.</summary>
public static class Calibration
{
    /// <summary>The time steps above this quantile count as much as it: a few large ones are not to decide alone. Source: LongMamba, arXiv 2504.16053.</summary>
    private const double HighestQuantile = 0.9;

    /// <summary>The cure with the norms and thresholds that it needs, measured on rows of the length that the model was trained on.</summary>
    /// <param name="cure">Any cure; one that needs no calibration is returned as it is.</param>
    /// <param name="model">The model, which is read without any cure.</param>
    /// <param name="tokens">I32 [B, L].</param>
    public static Cure Calibrated(this Cure cure, Mamba2Model model, Tensor tokens)
    {
        if (cure.Normalization is { IsRelative: true, Norms: null } normalization)
            cure = cure with { Normalization = normalization with { Norms = StateNorms(model, tokens) } };
        if (cure.Filter is { Thresholds: null } filter)
            cure = cure with { Filter = filter with { Thresholds = FilterThresholds(model, tokens, filter), TrainingLength = tokens.Shape[1] } };
        return cure;
    }

    /// <summary>The Frobenius norm ‖h‖ of every head's state after the last token, averaged over rows: [layer][head].</summary>
    /// <param name="model">The model, which is read without any cure.</param>
    /// <param name="tokens">I32 [B, L].</param>
    public static double[][] StateNorms(Mamba2Model model, Tensor tokens)
    {
        var norms = new double[model.Config.Layers][];
        int rows = tokens.Shape[0], size = model.Config.HeadSize * model.Config.StateSize;
        Read(model, tokens, (layer, observation) =>
        {
            double[] state = observation.After.Recurrent.ToDoubles();
            norms[layer] = new double[model.Config.Heads];
            for (int i = 0; i < rows * model.Config.Heads; i++)
                norms[layer][i % model.Config.Heads] += StateStatistics.NormOf(state.AsSpan(i * size, size)) / rows;
        });
        return norms;
    }

    /// <summary>
    /// The thresholds g of a filter, [layer][head]. With a head's Δ over L tokens in descending order, stretched to the target length, g is where the running sum reaches the sum over L tokens;
    /// averaged over rows. 0 for a head that retains no more than <see cref="TokenFilter.GlobalRetention"/> of its first token.
    /// </summary>
    /// <param name="model">The model, which is read without any cure.</param>
    /// <param name="tokens">I32 [B, L].</param>
    /// <param name="filter">The target length and the limit.</param>
    public static double[][] FilterThresholds(Mamba2Model model, Tensor tokens, TokenFilter filter)
    {
        var thresholds = new double[model.Config.Layers][];
        int rows = tokens.Shape[0], length = tokens.Shape[1], heads = model.Config.Heads;
        Read(model, tokens, (layer, observation) =>
        {
            double[] steps = observation.TimeStep.ToDoubles(), rates = observation.A.ToDoubles();
            thresholds[layer] = new double[heads];
            for (int head = 0; head < heads; head++)
            {
                double retention = 0, threshold = 0;
                for (int row = 0; row < rows; row++)
                {
                    double[] own = [.. Enumerable.Range(0, length).Select(t => steps[(row * length + t) * heads + head])];
                    retention += Math.Exp(rates[head] * own.Sum()) / rows;
                    threshold += Threshold(own, filter.TargetLength) / rows;
                }
                thresholds[layer][head] = retention > filter.GlobalRetention ? threshold : 0;
            }
        });
        return thresholds;
    }

    /// <summary>Factors for every layer that make a loss small: the cure with them, and the loss, found by <see cref="Spsa"/>. The model is left with the cure.</summary>
    /// <param name="model">The model.</param>
    /// <param name="with">The cure that has given factors, for example <c>factors => new Cure { TimeStep = factors }</c>.</param>
    /// <param name="loss">Measures the model.</param>
    /// <param name="settings">The search.</param>
    /// <remarks>With time steps this is MambaExtend (Azizi et al., ICLR 2025).</remarks>
    public static (Cure Cure, double Loss) Factors(Mamba2Model model, Func<PerLayer, Cure> with, Func<Mamba2Model, double> loss, SpsaSettings settings)
    {
        double[] start = [.. Enumerable.Repeat(1.0, model.Config.Layers)];
        (double[] best, double value) = Spsa.Minimize(
            factors =>
            {
                model.Cure = with(PerLayer.Create(factors));
                return loss(model);
            },
            start, settings);
        model.Cure = with(PerLayer.Create(best));
        return (model.Cure, value);
    }

    private static double Threshold(double[] steps, int target)
    {
        Array.Sort(steps, (x, y) => y.CompareTo(x));
        double most = steps[(int)((1 - HighestQuantile) * (steps.Length - 1))], wanted = 0;
        for (int i = 0; i < steps.Length; i++)
            wanted += steps[i] = Math.Min(steps[i], most);
        double sum = 0;
        for (int i = 0; i < target; i++)
        {
            double place = target == 1 ? 0 : i * (steps.Length - 1.0) / (target - 1);
            int below = (int)place, above = Math.Min(below + 1, steps.Length - 1);
            double step = steps[below] + (place - below) * (steps[above] - steps[below]);
            sum += step;
            if (sum >= wanted && i + 1 < target)
                return step;
        }
        return 0;
    }

    private static void Read(Mamba2Model model, Tensor tokens, Action<int, Observation> observe)
    {
        (Cure cure, IObserver? observer) = (model.Cure, model.Observer);
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        try
        {
            (model.Cure, model.Observer) = (Cure.None, new Observer(observe));
            model.Prefill(tokens);
        }
        finally
        {
            (model.Cure, model.Observer) = (cure, observer);
        }
    }

    private sealed class Observer(Action<int, Observation> observe) : IObserver
    {
        public void Observe(int layer, Observation observation) => observe(layer, observation);
    }
}
