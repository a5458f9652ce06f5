using System.Collections;
using System.Diagnostics.CodeAnalysis;

namespace ScratchMamba.Tensors.Autograd;

/// <summary>The result of a backward pass: the gradient of every tracked tensor that took part.</summary>
public sealed class Gradients : IReadOnlyCollection<KeyValuePair<Tensor, Tensor>>
{
    private readonly Dictionary<Tensor, Tensor> gradients;

    internal Gradients(Dictionary<Tensor, Tensor> gradients) => this.gradients = gradients;

    /// <summary>The number of tensors that have a gradient.</summary>
    public int Count => gradients.Count;

    /// <summary>The gradient of a tracked tensor.</summary>
    /// <exception cref="KeyNotFoundException">The tensor took no part in what was differentiated, or is not tracked.</exception>
    public Tensor this[Tensor tensor] => gradients.TryGetValue(tensor, out Tensor? gradient)
        ? gradient
        : throw new KeyNotFoundException(tensor.IsTracked
            ? $"A tracked tensor, {tensor.Type}, has no gradient: the differentiated value does not depend on it."
            : $"A tensor, {tensor.Type}, has no gradient: it is not tracked. Call Track() and compute from its result.");

    /// <summary>The gradient of a tracked tensor, if it took part.</summary>
    public bool TryGet(Tensor tensor, [NotNullWhen(true)] out Tensor? gradient) => gradients.TryGetValue(tensor, out gradient);

    /// <summary>The sum of two maps, tensor by tensor: gradients accumulated over several batches.</summary>
    public Gradients Add(Gradients other)
    {
        var sum = new Dictionary<Tensor, Tensor>(gradients);
        using (Differentiation.Pause())
        {
            foreach ((Tensor tensor, Tensor gradient) in other.gradients)
                sum[tensor] = sum.TryGetValue(tensor, out Tensor? mine) ? mine + gradient : gradient;
        }
        return new Gradients(sum);
    }

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<Tensor, Tensor>> GetEnumerator() => gradients.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
