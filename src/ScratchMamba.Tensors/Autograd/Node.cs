namespace ScratchMamba.Tensors.Autograd;

/// <summary>One recorded operation: what a backward pass needs to carry gradients from its outputs to its inputs.</summary>
internal sealed class Node
{
    // Every node is made after those that made its inputs, so descending numbers are a valid order for the backward pass.
    private static long lastNumber;

    private readonly IPrimitive? operation;
    private readonly string? place;
    private readonly Func<Tensor[], Tensor[]>? recompute;
    private readonly Tensor[] inputs;
    private readonly TensorType[] outputTypes;
    private readonly Storage[] made;
    private readonly Tensor?[] savedOutputs;
    private readonly List<(Tensor Tensor, int Version)> pinned = [];
    private readonly List<(int Input, int Version)> repeatable = [];
    private readonly bool isRepeated;
    private Tensor[]? repeated;

    private Node(IPrimitive? operation, Func<Tensor[], Tensor[]>? recompute, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> outputs, Saved saves)
    {
        Number = Interlocked.Increment(ref lastNumber);
        place = Place.Current;
        this.operation = operation;
        this.recompute = recompute;
        this.inputs = inputs.ToArray();
        outputTypes = Tensor.TypesOf(outputs);
        savedOutputs = new Tensor?[outputs.Length];
        made = [.. outputs.ToArray().Select(output => output.Storage).Except(inputs.ToArray().Select(input => input.Storage))];
        isRepeated = operation?.IsRepeated(outputTypes) ?? false;
        for (int i = 0; i < inputs.Length; i++)
        {
            if (!saves.HasInput(i))
                continue;
            // A function that runs again is recorded from its inputs on, which must be those that it was given.
            if (recompute is not null || Maker(inputs[i]) is null)
                Pin(inputs[i]);
            else
                repeatable.Add((i, inputs[i].Storage.Version));
        }
        for (int i = 0; i < outputs.Length; i++)
        {
            if (!outputs[i].DType.CarriesGradient())
                continue;
            outputs[i].Node = this;
            outputs[i].OutputIndex = i;
            if (!saves.HasOutput(i))
                continue;
            savedOutputs[i] = outputs[i];
            Pin(outputs[i]);
        }
    }

    public long Number { get; }

    public string Name => operation?.Name ?? nameof(Differentiation.Recompute);

    public ReadOnlySpan<Tensor> Inputs => inputs;

    public int OutputCount => outputTypes.Length;

    public bool IsConsumed { get; private set; }

    public static void Record(IPrimitive operation, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> outputs)
    {
        if (Differentiation.IsRecording && AnyRequiresGradient(inputs))
            _ = new Node(operation, null, inputs, outputs, operation.Saves);
    }

    public static void Record(Func<Tensor[], Tensor[]> recompute, ReadOnlySpan<Tensor> inputs, ReadOnlySpan<Tensor> outputs) =>
        _ = new Node(null, recompute, inputs, outputs, Saved.AllInputs);

    /// <summary>The gradients of the inputs; null where there is none. For a recomputed function the work is handed to <paramref name="pass"/> instead.</summary>
    public Tensor?[] Backward(BackwardPass pass, Tensor?[] gradients)
    {
        if (IsConsumed)
            throw new InvalidOperationException($"A backward pass has already gone through this {Name} and freed what it needs. Give the first pass retain: true.");
        foreach ((Tensor tensor, int version) in pinned)
        {
            if (tensor.Storage.Version != version)
                throw new InvalidOperationException($"{Name}: a tensor it needs for its gradient, {tensor.Type}, was overwritten since.");
        }
        using Place.Mark mark = Place.Enter(place, isGradient: true);
        if (recompute is null)
            return operation!.Backward(new BackwardCall(operation, operation.Saves, inputs, Data(), savedOutputs, outputTypes, gradients, pass));

        // The function runs again on the very same inputs, recorded this time. Its nodes have higher numbers than any that wait,
        // so the pass goes through them next and arrives at the inputs by itself.
        Tensor[] outputs;
        using (Place.Enter(place))
        using (Differentiation.Resume())
            outputs = recompute(inputs);
        for (int i = 0; i < outputs.Length; i++)
        {
            if (gradients[i] is { } gradient)
                pass.Accumulate(outputs[i], gradient);
        }
        return [];
    }

    /// <summary>Gives up what was held for the backward pass, and with it the memory of the outputs, which nobody will read again.</summary>
    public void Consume()
    {
        IsConsumed = true;
        foreach ((Tensor tensor, _) in pinned)
            tensor.Storage.Pins--;
        pinned.Clear();
        foreach (Tensor tensor in repeated ?? [])
            tensor.Storage.Pins--;
        foreach (Storage storage in made.Concat(repeated?.Select(tensor => tensor.Storage) ?? []))
        {
            if (storage.Pins == 0 && !storage.Kept)
                storage.Release();
        }
        repeated = null;
    }

    /// <summary>The inputs with their data: what was not kept because it can be computed again is, where it is gone.</summary>
    private Tensor[] Data()
    {
        Tensor[] data = inputs;
        foreach ((int index, int version) in repeatable)
        {
            Tensor input = inputs[index];
            if (!input.Storage.Released && input.Storage.Version == version)
                continue;
            if (data == inputs)
                data = [.. inputs];
            data[index] = new Tensor(input.Type, Maker(input)!.Repeated()[Source(input).OutputIndex].Storage);
        }
        return data;
    }

    /// <summary>The outputs, computed again; they stay until this node has had its turn.</summary>
    private Tensor[] Repeated()
    {
        if (repeated is null || Array.Exists(repeated, tensor => tensor.Storage.Released))
        {
            using Place.Mark mark = Place.Enter(place);
            repeated = Tensor.Run(operation!, inputs[0].Backend, Data());
            foreach (Tensor tensor in repeated)
                tensor.Storage.Pins++;
        }
        return repeated;
    }

    /// <summary>The node that can compute a tensor again, which need not be kept then; null where none does.</summary>
    private static Node? Maker(Tensor tensor) => Source(tensor).Node is { isRepeated: true } node ? node : null;

    /// <summary>What a tensor is a view of.</summary>
    private static Tensor Source(Tensor tensor)
    {
        while (tensor.Node is { operation: IViewPrimitive } view)
            tensor = view.inputs[0];
        return tensor;
    }

    private static bool AnyRequiresGradient(ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
        {
            if (tensor.RequiresGradient)
                return true;
        }
        return false;
    }

    private void Pin(Tensor tensor)
    {
        tensor.Storage.Pins++;
        pinned.Add((tensor, tensor.Storage.Version));
    }
}
