using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tensors.Autograd;

/// <summary>One walk through a recorded computation, from its results to its leaves.</summary>
internal sealed class BackwardPass(Backend backend, bool retain)
{
    private readonly PriorityQueue<Node, long> waiting = new();
    private readonly Dictionary<Node, Tensor?[]> gradients = [];
    private readonly Dictionary<Tensor, Tensor> leaves = [];

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
            if (gradient is null)
                continue;
            gradient.Storage.Pins--;
            // A gradient made on the way is spent now. One that came in from outside, or that is also a leaf's, is kept or pinned.
            if (gradient.Storage.Pins == 0 && !gradient.Storage.Kept)
                gradient.Storage.Release();
        }
        if (!retain)
            node.Consume();
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
        left.Storage.Pins--;
        if (left.Storage.Pins == 0 && !left.Storage.Kept)
            left.Storage.Release();
        return sum;
    }
}
