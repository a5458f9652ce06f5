using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tensors.Autograd;

/// <summary>What an operation's derivative may read: what it said it saves, and the gradients of its outputs.</summary>
public readonly ref struct BackwardCall
{
    private readonly IPrimitive operation;
    private readonly Saved saves;
    private readonly Tensor[] inputs, data;
    private readonly Tensor?[] outputs;
    private readonly TensorType[] outputTypes;
    private readonly Tensor?[] gradients;
    private readonly BackwardPass pass;

    internal BackwardCall(IPrimitive operation, Saved saves, Tensor[] inputs, Tensor[] data, Tensor?[] outputs, TensorType[] outputTypes, Tensor?[] gradients, BackwardPass pass)
    {
        this.operation = operation;
        this.saves = saves;
        this.inputs = inputs;
        this.data = data;
        this.outputs = outputs;
        this.outputTypes = outputTypes;
        this.gradients = gradients;
        this.pass = pass;
    }

    /// <summary>The backend that the gradients live on.</summary>
    public Backend Backend => pass.Backend;

    /// <summary>The number of inputs.</summary>
    public int InputCount => inputs.Length;

    /// <summary>The type of input <paramref name="index"/>; always available.</summary>
    public TensorType InputType(int index) => inputs[index].Type;

    /// <summary>Input <paramref name="index"/>, which the operation must have named in <see cref="IPrimitive.Saves"/>.</summary>
    public Tensor Input(int index)
    {
        if (!saves.HasInput(index))
            throw new InvalidOperationException($"{operation.Name} reads input {index} in its derivative but does not save it.");
        data[index].ThrowIfReleased();
        return data[index];
    }

    /// <summary>
    /// Whether the gradient of input <paramref name="index"/> may take its memory: it was made on the way, and nothing else needs it. Without this a vocabulary's logits would be there twice.
    /// </summary>
    public bool MayOverwrite(int index) =>
        !pass.Retains && saves.HasInput(index) && inputs[index] is { Node: not null, Storage: { Kept: false, Pins: 1 } };

    /// <summary>Output <paramref name="index"/>, which the operation must have named in <see cref="IPrimitive.Saves"/>.</summary>
    public Tensor Output(int index)
    {
        Tensor output = outputs[index] ?? throw new InvalidOperationException($"{operation.Name} reads output {index} in its derivative but does not save it.");
        output.ThrowIfReleased();
        return output;
    }

    /// <summary>Whether the gradient of input <paramref name="index"/> will be used.</summary>
    public bool Needs(int index) => inputs[index].RequiresGradient;

    /// <summary>
    /// What other operations have said of the gradient of input <paramref name="index"/> so far; null for nothing. It must be added to the gradient that is returned: the pass has given it up.
    /// For operations that can add it where they write theirs.
    /// </summary>
    public Tensor? TakeArrived(int index) => pass.Take(inputs[index]);

    /// <summary>Whether any gradient arrived at output <paramref name="index"/>.</summary>
    public bool HasGradient(int index) => gradients[index] is not null;

    /// <summary>The gradient of output <paramref name="index"/>, in its type; zeros where none arrived.</summary>
    public Tensor Gradient(int index) => GradientAsArrived(index).Cast(outputTypes[index].DType);

    /// <summary>The same in the type that it was computed in: of F32 and 16 bits either may stand for the other.</summary>
    public Tensor GradientAsArrived(int index)
    {
        TensorType type = outputTypes[index];
        return gradients[index] ?? Backend.Zeros(type.DType.IsNarrow() ? type with { DType = DType.F32 } : type);
    }

    /// <summary>
    /// The gradients of the inputs by differentiating the operation's <see cref="IPrimitive.Definition"/>. All inputs must be saved.
    /// For fused operations whose derivative is not worth a kernel of its own, and the oracle for those whose is.
    /// </summary>
    public Tensor?[] ThroughDefinition() => Differentiation.ThroughDefinition(operation, data, gradients);
}
