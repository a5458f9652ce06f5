using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Training;

/// <summary>The loss of a model on a text.</summary>
/// <param name="Loss">The mean cross entropy, in nats per token.</param>
/// <param name="Tokens">How many tokens were predicted.</param>
public readonly record struct Evaluation(double Loss, long Tokens)
{
    /// <summary>e to the loss.</summary>
    public double Perplexity => Math.Exp(Loss);

    /// <summary>The loss in bits for each byte of text, where the tokens stand for <paramref name="bytes"/> bytes.</summary>
    public double BitsPerByte(long bytes) => Loss * Tokens / Math.Log(2) / bytes;
}

/// <summary>Measures models on text that they were not trained on.</summary>
public static class Evaluator
{
    /// <summary>
    /// The mean loss over all tokens but the first. The text is cut into windows of <paramref name="length"/>, each read from an empty state,
    /// <paramref name="rows"/> at a time; every window begins with the last token of the one before, so that each token is predicted once.
    /// </summary>
    /// <exception cref="ArgumentException">There are fewer than two tokens.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static Evaluation Evaluate(Mamba2Model model, ReadOnlySpan<int> tokens, int length, int rows = 8, CancellationToken cancellation = default)
    {
        if (tokens.Length < 2)
            throw new ArgumentException($"Evaluation needs at least two tokens; there {(tokens.Length == 1 ? "is one" : "are none")}.");
        double sum = 0;
        using var pause = Differentiation.Pause();
        int predicted = tokens.Length - 1;
        for (int start = 0; start < predicted;)
        {
            cancellation.ThrowIfCancellationRequested();
            int left = predicted - start;
            int width = Math.Min(length, left), count = Math.Min(rows, left / width);
            using var scope = new Scope();
            Shape shape = [count, width];
            Tensor inputs = model.Backend.Tensor(shape, tokens.Slice(start, count * width));
            Tensor labels = model.Backend.Tensor(shape, tokens.Slice(start + 1, count * width));
            sum += model.Losses(inputs, labels).ToDoubles().Sum();
            start += count * width;
        }
        return new Evaluation(sum / predicted, predicted);
    }
}
