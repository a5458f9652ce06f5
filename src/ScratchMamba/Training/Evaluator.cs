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
    /// Where <see cref="Mamba2Model.StateType"/> is narrower than what the model computes in, windows are read token by token, so that the state is rounded after each, as in generation.
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
            ReadOnlySpan<int> inputs = tokens.Slice(start, count * width), labels = tokens.Slice(start + 1, count * width);
            sum += model.StateType == model.DType ? LossByWindows(model, inputs, labels, count) : LossByTokens(model, inputs, labels, count);
            start += count * width;
        }
        return new Evaluation(sum / predicted, predicted);
    }

    private static double LossByWindows(Mamba2Model model, ReadOnlySpan<int> inputs, ReadOnlySpan<int> labels, int rows)
    {
        Shape shape = [rows, inputs.Length / rows];
        return model.Losses(model.Backend.Tensor(shape, inputs), model.Backend.Tensor(shape, labels)).ToDoubles().Sum();
    }

    private static double LossByTokens(Mamba2Model model, ReadOnlySpan<int> inputs, ReadOnlySpan<int> labels, int rows)
    {
        int width = inputs.Length / rows;
        Mamba2State state = model.EmptyState(rows);
        Tensor sums = model.Backend.Zeros(new TensorType(model.DType, [rows]));
        for (int i = 0; i < width; i++)
        {
            using var scope = new Scope();
            Tensor logits = model.StepInPlace(Column(inputs, i), state);
            Tensor.Overwrite(new Add(), [sums, logits.CrossEntropy(Column(labels, i))], sums);
        }
        return sums.ToDoubles().Sum();

        Tensor Column(ReadOnlySpan<int> tokens, int at)
        {
            var column = new int[rows];
            for (int row = 0; row < rows; row++)
                column[row] = tokens[row * width + at];
            return model.Backend.Tensor<int>([rows], column);
        }
    }
}
