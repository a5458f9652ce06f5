using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Mamba2.Probes;

/// <summary>
/// How much a model's next token depends on the beginning of what it has read: <c>EffRem(t) = ½ Σ |q(· | x₀…x_T) − q(· | x_t…x_T)|</c>, the total variation between its predictions
/// with the first t tokens and without them. Source: Buitrago Ruiz and Gu, arXiv 2507.02782.
/// </summary>
public static class EffectiveRemembrance
{
    // Read in pieces: the length does not matter for memory.
    private const int Piece = 1024;

    /// <summary>The effective remembrance at each of some positions t.</summary>
    /// <param name="model">The model, with its cure.</param>
    /// <param name="tokens">x.</param>
    /// <param name="starts">The positions t, each below the number of tokens.</param>
    public static double[] Measure(Mamba2Model model, ReadOnlySpan<int> tokens, params ReadOnlySpan<int> starts)
    {
        double[] whole = Prediction(model, tokens);
        var values = new double[starts.Length];
        for (int i = 0; i < starts.Length; i++)
        {
            double[] part = Prediction(model, tokens[starts[i]..]);
            values[i] = whole.Zip(part, (p, q) => Math.Abs(p - q)).Sum() / 2;
        }
        return values;
    }

    private static double[] Prediction(Mamba2Model model, ReadOnlySpan<int> tokens)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        Mamba2State? state = null;
        double[] logits = [];
        for (int start = 0; start < tokens.Length; start += Piece)
        {
            using var piece = new Scope();
            ReadOnlySpan<int> some = tokens[start..Math.Min(start + Piece, tokens.Length)];
            (Tensor last, state) = model.Prefill(model.Backend.Tensor([1, some.Length], some), state);
            piece.Keep([.. state.Tensors]);
            if (start + Piece >= tokens.Length)
                logits = last.ToDoubles();
        }
        double most = logits.Max(), sum = logits.Sum(logit => Math.Exp(logit - most));
        return Array.ConvertAll(logits, logit => Math.Exp(logit - most) / sum);
    }
}
