using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tensors;

/// <summary>
/// An operation on tensors, whole: its attributes (it is a record struct), its shape rule, its kernel and its derivative.
/// Backends and the automatic differentiation know operations only through this interface.
/// </summary>
public interface IPrimitive
{
    /// <summary>The name used in messages and traces.</summary>
    string Name => GetType().Name;

    /// <summary>The types of the outputs, from those of the inputs; needs no data.</summary>
    /// <exception cref="ShapeException">The inputs break the operation's rule.</exception>
    TensorType[] Infer(ReadOnlySpan<TensorType> inputs);

    /// <summary>Computes the outputs on the CPU. Every element of every output is written.</summary>
    void Compute(CpuCall call);

    /// <summary>How the operation runs on a device that has shaders, or null where there is no shader for it: its <see cref="Definition"/> runs then.</summary>
    Launch? Launch(LaunchCall call) => null;

    /// <summary>How much arithmetic the operation is; nothing where it only moves numbers, or a few steps for each.</summary>
    Work CountWork(ReadOnlySpan<TensorType> inputs) => default;

    /// <summary>
    /// For an operation that reads or writes activations of 16 bits, the same one in F32: a backend without a kernel for them widens the inputs, runs that one and
    /// rounds its outputs. Null for an operation that it is not needed for.
    /// </summary>
    IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => null;

    /// <summary>For each type of the first input on which a device with matrix units runs other kernels, a test of them or more, of shapes that take their branches: few, since compiling takes a quarter of a second and more for each kernel when it is first needed.</summary>
    internal IReadOnlyList<SelfTest> SelfTests => [];

    /// <summary>Which inputs and outputs <see cref="Backward"/> reads; everything else may be freed before it runs.</summary>
    Saved Saves => Saved.Nothing;

    /// <summary>
    /// Whether a backward pass computes the outputs again rather than have them kept for it, where their scope ends before: for operations that cost little more than reading their
    /// inputs, all of which they save, and whose outputs are large.
    /// </summary>
    bool IsRepeated(ReadOnlySpan<TensorType> outputs) => false;

    /// <summary>
    /// The gradients of the inputs, from those of the outputs, in terms of other operations: one for each input,
    /// null where an input has none.
    /// </summary>
    /// <exception cref="MissingDerivativeException">The operation has no derivative.</exception>
    Tensor?[] Backward(BackwardCall call) => throw new MissingDerivativeException(Name);

    /// <summary>
    /// The same outputs in terms of smaller operations, or null for an operation that is itself small:
    /// the documentation of a fused operation, its fallback on a backend without a kernel, and its test oracle.
    /// </summary>
    Tensor[]? Definition(ReadOnlySpan<Tensor> inputs) => null;
}

/// <summary>How much arithmetic an operation is: floating-point operations, a multiply-add being two.</summary>
/// <param name="Flops">Those in the type of the tensors.</param>
/// <param name="RoundedFlops">Those whose operands are of 16 bits, or may be rounded to them.</param>
public readonly record struct Work(double Flops, double RoundedFlops)
{
    /// <summary>So many operations, on operands that are rounded or not.</summary>
    public static Work Of(double flops, bool isRounded) => isRounded ? new(0, flops) : new(flops, 0);

    /// <summary>The work of both.</summary>
    public static Work operator +(Work left, Work right) => new(left.Flops + right.Flops, left.RoundedFlops + right.RoundedFlops);
}

/// <summary>An operation whose one output is its input's data under another shape: nothing is computed or copied.</summary>
public interface IViewPrimitive : IPrimitive;

/// <summary>An operation that can be run on a device in several ways, each the fastest for some shapes and devices.</summary>
public interface ITunable : IPrimitive
{
    /// <summary>The other ways beside <see cref="IPrimitive.Launch"/>, which takes one for everybody: a tuner measures them and writes the name of the fastest down.</summary>
    IReadOnlyList<Alternative> Alternatives(LaunchCall call);
}

/// <summary>A set of inputs and outputs of an operation, as bit masks: bit i is the i-th.</summary>
public readonly record struct Saved(uint Inputs, uint Outputs)
{
    /// <summary>Neither inputs nor outputs.</summary>
    public static Saved Nothing => default;

    /// <summary>All inputs and outputs.</summary>
    public static Saved Everything => new(uint.MaxValue, uint.MaxValue);

    /// <summary>All inputs, no output.</summary>
    public static Saved AllInputs => new(uint.MaxValue, 0);

    /// <summary>Input number <paramref name="index"/>.</summary>
    public static Saved Input(int index) => new(1u << index, 0);

    /// <summary>Output number <paramref name="index"/>.</summary>
    public static Saved Output(int index) => new(0, 1u << index);

    /// <summary>The union of two sets.</summary>
    public static Saved operator |(Saved left, Saved right) => new(left.Inputs | right.Inputs, left.Outputs | right.Outputs);

    /// <summary>Whether input <paramref name="index"/> is in the set.</summary>
    public bool HasInput(int index) => (Inputs >> index & 1) != 0;

    /// <summary>Whether output <paramref name="index"/> is in the set.</summary>
    public bool HasOutput(int index) => (Outputs >> index & 1) != 0;
}
