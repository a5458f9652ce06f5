namespace ScratchMamba.Tensors.Autograd;

/// <summary>Reverse-mode automatic differentiation: recording is on by default and follows tracked tensors.</summary>
public static class Differentiation
{
    // Stored inverted, so that a new thread starts recording.
    [ThreadStatic]
    private static bool isPaused;

    /// <summary>Whether operations on tracked tensors are recorded on this thread.</summary>
    public static bool IsRecording => !isPaused;

    /// <summary>Stops recording until the result is disposed: for inference and evaluation.</summary>
    public static Mode Pause() => new(paused: true);

    /// <summary>Records again until the result is disposed, inside a <see cref="Pause"/>.</summary>
    public static Mode Resume() => new(paused: false);

    /// <summary>
    /// The gradients of a tensor with respect to every tracked leaf it was computed from, as a new map. Activations are released as the pass goes,
    /// so the same computation cannot be differentiated twice unless <paramref name="retain"/> is set; <see cref="Tensor.Keep"/> spares a single one.
    /// </summary>
    /// <param name="result">What to differentiate.</param>
    /// <param name="seed">The gradient of whatever follows with respect to <paramref name="result"/>; may be left out where it has one element, and is 1 then.</param>
    /// <param name="retain">Whether to keep activations for another pass.</param>
    public static Gradients Backward(this Tensor result, Tensor? seed = null, bool retain = false)
    {
        if (!result.RequiresGradient)
            throw new InvalidOperationException("Backward: nothing that this tensor was computed from is tracked, or recording was paused.");
        if (seed is null && result.Count != 1)
            throw new ArgumentException($"Backward from a tensor of {result.Type} needs a seed of the same shape.", nameof(seed));
        return Backward([(result, seed ?? result.Backend.Full(result.Type, 1))], retain);
    }

    /// <summary>The gradients of Σ ⟨seed, result⟩ over several results.</summary>
    public static Gradients Backward(ReadOnlySpan<(Tensor Result, Tensor Seed)> results, bool retain = false)
    {
        var pass = new BackwardPass(results[0].Result.Backend, retain);
        foreach ((Tensor result, Tensor seed) in results)
            pass.Accumulate(result.Keep(), seed.Keep());
        return pass.Run();
    }

    /// <summary>
    /// Computes <paramref name="function"/> without keeping its activations, and computes it again when its gradient is needed:
    /// memory for time. The function must be pure: whatever it captures beside its inputs must be a leaf and unchanged by then.
    /// </summary>
    public static Tensor[] Recompute(Func<Tensor[], Tensor[]> function, params Tensor[] inputs)
    {
        if (!IsRecording)
            return function(inputs);
        using var scope = Scope.Temporaries();
        Tensor[] outputs;
        using (Pause())
            outputs = function(inputs);
        // A fresh tensor for each output: the function may have returned an input as it is.
        outputs = Array.ConvertAll(outputs, output => new Tensor(output.Type, output.Storage));
        Node.Record(function, inputs, outputs);
        return scope.Keep(outputs);
    }

    internal static Tensor?[] ThroughDefinition(IPrimitive operation, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor?> gradients)
    {
        using var scope = Scope.Temporaries();
        var leaves = new Tensor[inputs.Length];
        for (int i = 0; i < leaves.Length; i++)
            leaves[i] = inputs[i].DType.CarriesGradient() ? inputs[i].AsLeaf() : inputs[i];
        var pass = new BackwardPass(inputs[0].Backend, retain: false);
        using (Resume())
        {
            Tensor[] outputs = operation.Definition(leaves) ?? throw new MissingDerivativeException(operation.Name);
            for (int i = 0; i < outputs.Length; i++)
            {
                if (gradients[i] is { } gradient)
                    pass.Accumulate(outputs[i], gradient);
            }
        }
        // The pass releases gradients that it has used, but these are the caller's.
        Pin(gradients, 1);
        Gradients found = pass.Run();
        Pin(gradients, -1);
        return Array.ConvertAll(leaves, leaf => found.TryGet(leaf, out Tensor? gradient) ? scope.Keep(gradient) : null);
    }

    /// <summary>The definition of an operation that computes the gradients of another one's first <paramref name="count"/> inputs: the derivative of that one's definition.</summary>
    internal static Tensor[] DefinitionOfGradient(IPrimitive forward, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> gradients, int count)
    {
        Tensor?[] found = ThroughDefinition(forward, inputs, gradients.ToArray());
        var results = new Tensor[count];
        for (int i = 0; i < count; i++)
            results[i] = found[i] ?? inputs[i].Backend.Zeros(inputs[i].Type);
        return results;
    }

    private static void Pin(ReadOnlySpan<Tensor?> gradients, int count)
    {
        foreach (Tensor? gradient in gradients)
        {
            if (gradient is not null)
                gradient.Storage.Pins += count;
        }
    }

    /// <summary>Restores the previous state when disposed.</summary>
    public readonly ref struct Mode
    {
        private readonly bool before;

        internal Mode(bool paused)
        {
            before = isPaused;
            isPaused = paused;
        }

        /// <summary>Restores the state from before.</summary>
        public void Dispose() => isPaused = before;
    }
}
