using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>
/// Mamba-2 as its recurrence says it, one token after the other, in the smallest operations there are: the oracle for the chunked scan, the fused operations
/// and the step, values and gradients. It reads the parameters of a model by their checkpoint names and shares no code with it.
/// </summary>
internal sealed class SequentialReference(Mamba2Model model, Cure? cure = null)
{
    private readonly Dictionary<string, Tensor> weights = model.Parameters().ToDictionary(entry => entry.Path, entry => entry.Parameter.Value);
    private readonly Mamba2Config config = model.Config;
    private readonly Cure cure = cure ?? Cure.None;
    private readonly List<(Tensor Decay, Tensor Insert)>[] history = [.. Enumerable.Range(0, model.Config.Layers).Select(_ => new List<(Tensor, Tensor)>())];

    /// <summary>What every token decayed and inserted in a layer, [B, H, 1, 1] and [B, H, P, N].</summary>
    public IReadOnlyList<(Tensor Decay, Tensor Insert)> History(int layer) => history[layer];

    /// <summary>Logits [B, L, V] and the state at the end. <paramref name="sequence"/>, [B, L], numbers documents; the state of a row is emptied where it changes.</summary>
    public (Tensor Logits, Mamba2State State) Forward(int[] tokens, int batch, Mamba2State? initial = null, int[]? sequence = null)
    {
        int length = tokens.Length / batch;
        Backend backend = model.Backend;
        Tensor embedding = weights["backbone.embeddings.weight"];
        var logits = new Tensor[length];
        var states = new LayerState[config.Layers];
        for (int layer = 0; layer < config.Layers; layer++)
            states[layer] = initial?.Layers[layer] ?? Start(layer, batch);
        for (int t = 0; t < length; t++)
        {
            int[] now = [.. Enumerable.Range(0, batch).Select(row => tokens[row * length + t])];
            Tensor u = embedding.Gather(backend.Tensor<int>([batch], now));
            double[] keep = [.. Enumerable.Range(0, batch).Select(row => t > 0 && sequence is not null && sequence[row * length + t] != sequence[row * length + t - 1] ? 0.0 : 1.0)];
            Tensor mask = backend.Tensor(new TensorType(model.DType, [batch, 1]), keep);
            for (int layer = 0; layer < config.Layers; layer++)
            {
                (Tensor mixed, states[layer]) = Mixer(layer, Norm(u, weights[$"backbone.layers.{layer}.norm.weight"]), states[layer], mask);
                u += mixed;
            }
            Tensor head = config.TiedEmbeddings ? embedding : weights["lm_head.weight"];
            logits[t] = Norm(u, weights["backbone.norm_f.weight"]).MatMul(head, transposeB: true).Reshape([batch, 1, config.VocabularySize]);
        }
        return (TensorOperations.Concatenate(1, logits), new Mamba2State(states));
    }

    private LayerState Start(int layer, int batch)
    {
        LayerState zeros = Mamba2State.Zeros(config with { Layers = 1 }, batch, model.Backend, model.DType).Layers[0];
        return config.LearnsInitialState
            ? zeros with { Recurrent = zeros.Recurrent + weights[$"backbone.layers.{layer}.mixer.init_states"] }
            : zeros;
    }

    private Tensor Norm(Tensor x, Tensor weight) => x * (x.Square().Mean(-1, keep: true) + config.NormEpsilon).ReciprocalSqrt() * weight;

    private (Tensor Output, LayerState State) Mixer(int layer, Tensor u, LayerState state, Tensor mask)
    {
        Tensor W(string name) => weights[$"backbone.layers.{layer}.mixer.{name}"];
        int batch = u.Shape[0], heads = config.Heads, headSize = config.HeadSize, stateSize = config.StateSize, inner = config.InnerWidth, groups = config.Groups;

        Tensor projected = u.MatMul(W("in_proj.weight"), transposeB: true);
        if (config.ProjectionBias)
            projected += W("in_proj.bias");
        Tensor z = projected.Slice(1, 0, inner), fresh = projected.Slice(1, inner, config.ConvolutionWidth), raw = projected.Slice(1, inner + config.ConvolutionWidth, heads);

        // Convolution: the last K inputs, oldest first, times the taps.
        Tensor past = state.Convolution * mask.Reshape([batch, 1, 1]);
        Tensor window = TensorOperations.Concatenate(1, past, fresh.Reshape([batch, 1, config.ConvolutionWidth]));
        Tensor taps = W("conv1d.weight").Reshape([config.ConvolutionWidth, config.ConvolutionTaps]).Permute(1, 0);
        Tensor filtered = (window * taps).Sum(1);
        if (config.ConvolutionBias)
            filtered += W("conv1d.bias");
        filtered *= filtered.Sigmoid();
        Tensor x = filtered.Slice(1, 0, inner).Reshape([batch, heads, headSize]);
        Tensor b = PerHead(filtered.Slice(1, inner, groups * stateSize)), c = PerHead(filtered.Slice(1, inner + groups * stateSize, groups * stateSize));

        Tensor step = ((raw + W("dt_bias")).Exp() + 1).Log().Clamp(config.TimeStepLow, config.TimeStepHigh);
        Tensor taken = step * cure.TimeStep[layer];
        Tensor decay = (taken * (-W("A_log").Exp() * cure.Decay[layer])).Exp().Reshape([batch, heads, 1, 1]) * cure.Retention[layer];
        Tensor insert = (x * taken.Reshape([batch, heads, 1])).Reshape([batch, heads, headSize, 1]) * b.Reshape([batch, heads, 1, stateSize]) * cure.Insertion[layer];
        if (cure.Filter is { } filter)
        {
            double[] least = [.. filter.Thresholds![layer].Select(threshold => history[layer].Count < filter.TrainingLength ? -1 : threshold)];
            Tensor passes = step.Greater(step.Backend.Tensor(new TensorType(step.DType, [heads]), least)).Reshape([batch, heads, 1, 1]);
            (decay, insert) = (passes.Where(decay, step.Backend.Scalar(1, step.DType)), insert * passes);
        }
        history[layer].Add((decay, insert));
        Tensor h = Cured(layer, decay * (state.Recurrent * mask.Reshape([batch, 1, 1, 1])) + insert);
        Tensor skip = W("D").Reshape(config.SkipPerChannel ? [heads, headSize] : [heads, 1]);
        Tensor y = ((h * c.Reshape([batch, heads, 1, stateSize])).Sum(3) + skip * x).Reshape([batch, inner]);

        Tensor output = Gate(y, z, config.GatedNorm ? W("norm.weight") : null).MatMul(W("out_proj.weight"), transposeB: true);
        if (config.ProjectionBias)
            output += W("out_proj.bias");
        return (output, new LayerState(window.Slice(1, 1, config.ConvolutionTaps - 1), h));

        Tensor PerHead(Tensor grouped)
        {
            // Head h reads group ⌊h / (H / G)⌋.
            var heads = new Tensor[config.Heads];
            for (int head = 0; head < heads.Length; head++)
                heads[head] = grouped.Slice(1, head / (config.Heads / groups) * stateSize, stateSize).Reshape([batch, 1, stateSize]);
            return TensorOperations.Concatenate(1, heads);
        }
    }

    /// <summary>What becomes of a state: as the cures are defined, from all inserts so far.</summary>
    private Tensor Cured(int layer, Tensor h)
    {
        int last = history[layer].Count - 1;
        if (cure.Window > 0)
            h = Since(last - cure.Window + 1);
        if (cure.Reset > 0)
            h = cure.Normalization is null ? Since(last / cure.Reset * cure.Reset) : last % cure.Reset == 0 ? history[layer][last].Insert : h;
        if (cure.Stagger > 0)
            h = Since((last / (cure.Stagger / 2) - 1) * (cure.Stagger / 2));
        if (cure.Normalization is { } normalization && (last + 1) % normalization.Period == 0)
        {
            // An empty state has no direction for the norm to change in.
            Tensor squares = h.Square().Sum(3, keep: true).Sum(2, keep: true).Clamp(1e-30, double.PositiveInfinity), norm = squares * squares.ReciprocalSqrt();
            Tensor cap = h.Backend.Tensor(new TensorType(h.DType, [config.Heads, 1, 1]), normalization.CapsOf(layer, config.Heads));
            h = norm.Greater(cap).Where(h * (cap / norm), h);
        }
        return h;

        Tensor Since(int first)
        {
            (_, Tensor sum) = history[layer][Math.Max(first, 0)];
            foreach ((Tensor decay, Tensor insert) in history[layer].Skip(Math.Max(first, 0) + 1))
                sum = decay * sum + insert;
            return sum;
        }
    }

    private Tensor Gate(Tensor y, Tensor z, Tensor? weight)
    {
        Tensor gate = z * z.Sigmoid();
        if (weight is null)
            return y * gate;
        int batch = y.Shape[0], parts = config.NormPerGroup ? config.Groups : 1;
        Tensor v = config.NormBeforeGate ? y : y * gate;
        Tensor grouped = v.Reshape([batch, parts, config.InnerWidth / parts]);
        grouped *= (grouped.Square().Mean(-1, keep: true) + config.NormEpsilon).ReciprocalSqrt();
        Tensor normed = grouped.Reshape([batch, config.InnerWidth]) * weight;
        return config.NormBeforeGate ? normed * gate : normed;
    }
}
