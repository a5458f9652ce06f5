using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tensors.Autograd;

/// <summary>One walk through a recorded computation, from its results to its leaves.</summary>
internal sealed class BackwardPass(Backend backend, bool retain)
{
    private readonly PriorityQueue<Node, long> waiting = new();
    private readonly Dictionary<Node, Tensor?[]> gradients = [];
    private readonly Dictionary<Tensor, Tensor> leaves = [];
    private readonly List<Tensor> taken = [];

    public Backend Backend => backend;

    public bool Retains => retain;

    public void Accumulate(Tensor target, Tensor gradient)
    {
        // With activations of 16 bits a sum over all positions has more than it is the gradient of, and what is only read by products less.
        bool isMixed = gradient.DType is not (DType.F64 or DType.I32) && target.DType is not (DType.F64 or DType.I32);
        if (gradient.Shape != target.Shape || (gradient.DType != target.DType && !isMixed))
            throw new InvalidOperationException($"A gradient for a tensor of {target.Type} has type {gradient.Type}.");
        if (target.Node is { } node)
        {
            if (!gradients.TryGetValue(node, out Tensor?[]? slots))
            {
                gradients.Add(node, slots = new Tensor?[node.OutputCount]);
                waiting.Enqueue(node, -node.Number);
            }
            slots[target.OutputIndex] = Sum(slots[target.OutputIndex], gradient);
        }
        else if (target.IsTracked)
        {
            leaves[target] = Sum(leaves.GetValueOrDefault(target), gradient.Cast(target.DType));
        }
    }

    /// <summary>The sum of the gradients that have arrived for a tensor on the way, which is no longer there then: whoever takes it gives it back as a part of its own. Null for none.</summary>
    public Tensor? Take(Tensor target)
    {
        if (target.Node is not { } node || !gradients.TryGetValue(node, out Tensor?[]? slots) || slots[target.OutputIndex] is not { } gradient)
            return null;
        slots[target.OutputIndex] = null;
        taken.Add(gradient);
        return gradient;
    }

    public Gradients Run()
    {
        using (Differentiation.Pause())
        {
            while (waiting.TryDequeue(out Node? node, out _))
                Step(node);
        }
        foreach (Tensor gradient in leaves.Values)
            gradient.Storage.Pins--;
        return new Gradients(leaves);
    }

    private void Step(Node node)
    {
        gradients.Remove(node, out Tensor?[]? slots);
        using (Scope.Temporaries())
        {
            Tensor?[] results = node.Backward(this, slots!);
            for (int i = 0; i < results.Length; i++)
            {
                if (results[i] is { } gradient && node.Inputs[i].RequiresGradient)
                    Accumulate(node.Inputs[i], gradient);
            }
        }
        foreach (Tensor? gradient in slots!)
        {
            if (gradient is not null)
                Spend(gradient);
        }
        taken.ForEach(Spend);
        taken.Clear();
        if (!retain)
            node.Consume();
    }

    /// <summary>A gradient made on the way is spent with its use. One that came in from outside, or that is also a leaf's, is kept or pinned.</summary>
    private static void Spend(Tensor gradient)
    {
        gradient.Storage.Pins--;
        if (gradient.Storage.Pins == 0 && !gradient.Storage.Kept)
            gradient.Storage.Release();
    }

    private static Tensor Sum(Tensor? left, Tensor right)
    {
        if (left is null)
        {
            right.Storage.Pins++;
            return right;
        }
        Tensor sum = left + right;
        sum.Storage.Pins++;
        Spend(left);
        return sum;
    }
}
