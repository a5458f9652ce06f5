using System.Numerics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The state before every chunk and after the last: <c>h₀ = initial, h_{c+1} = γ_c · h_c + S_c</c>.</summary>
    /// <param name="added">What each chunk adds, S: [B, chunks, H, P, N].</param>
    /// <param name="retention">What each chunk leaves of the state before it, γ: [B, chunks, H].</param>
    /// <param name="initial">The state before the first chunk, [B, H, P, N]; null for zero.</param>
    /// <param name="result">The type of the states before the chunks where it is not that of S: one of 16 bits, for products that would round them.</param>
    /// <returns>The states before the chunks [B, chunks, H, P, N], and the final one [B, H, P, N].</returns>
    public static (Tensor States, Tensor Final) StatePassing(this Tensor added, Tensor retention, Tensor? initial = null, DType? result = null)
    {
        Tensor[] results = initial is null
            ? Tensor.ApplyAll(new StatePassing(false, result), added, retention)
            : Tensor.ApplyAll(new StatePassing(true, result), added, retention, initial);
        return (results[0], results[1]);
    }
}

/// <summary>The state before every chunk, and after the last: <c>h_{c+1} = γ_c · h_c + S_c</c>. Inputs S, γ and, if said so, the initial state.</summary>
/// <param name="HasInitial">Whether there is an initial state.</param>
/// <param name="Result">The type of the states before the chunks where it is not that of S.</param>
public readonly record struct StatePassing(bool HasInitial, DType? Result = null) : IPrimitive
{
    /// <summary>Elements of a state per part: a part walks all chunks, reading what it wrote for the last one from the first-level cache.</summary>
    private const int Block = 2048;

    /// <inheritdoc/>
    public Saved Saves => Saved.Input(1) | Saved.Output(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(StatePassing), inputs, HasInitial ? 3 : 2);
        Rules.RequireFloating(nameof(StatePassing), inputs);
        Shape added = inputs[0].Shape;
        ShapeException.ThrowUnless(added.Rank == 5, nameof(StatePassing), "what chunks add must be [batch, chunks, heads, width, state]", inputs);
        ShapeException.ThrowUnless(inputs[1].Shape == [added[0], added[1], added[2]], nameof(StatePassing), "the retention must be [batch, chunks, heads]", inputs);
        if (HasInitial)
            ShapeException.ThrowUnless(inputs[2].Shape == added.Without(1), nameof(StatePassing), "the initial state must be [batch, heads, width, state]", inputs);
        return [inputs[0] with { DType = Result ?? inputs[0].DType }, inputs[0] with { Shape = added.Without(1) }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call) => StateLaunch.Codes(call.Inputs[0].Shape, call.Inputs[0].DType, call.Outputs[0].DType) is not { } codes
        ? null
        : StateLaunch.Walk(call.Inputs[0].Shape, codes, Slot.In(0), Slot.In(1), HasInitial ? Slot.In(2) : null, Slot.Out(0), Slot.Out(1), backward: false);

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Result is null ? null : this with { Result = null };

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) =>
        Tensor.ApplyAll(new StatePassingGradient(HasInitial), call.Input(1), call.Output(0), call.GradientAsArrived(0), call.Gradient(1));

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Shape shape = inputs[0].Shape, state = shape.Without(1);
        Tensor h = HasInitial ? inputs[2] : inputs[0].Backend.Zeros(inputs[0].Type with { Shape = state });
        Tensor states = inputs[0].Slice(1, 0, 0);
        for (int c = 0; c < shape[1]; c++)
        {
            states = TensorOperations.Concatenate(1, states, h.Reshape(shape.With(1, 1)));
            h = h * inputs[1].Slice(1, c, 1).Reshape([shape[0], shape[2], 1, 1]) + inputs[0].Slice(1, c, 1).Reshape(state);
        }
        return [states, h];
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(0).Shape;
        int size = checked(shape[3] * shape[4]), blocks = (size + Block - 1) / Block;
        var body = new Body<T>
        {
            Chunks = shape[1],
            Heads = shape[2],
            Size = size,
            Blocks = blocks,
            Added = call.InputAddress<T>(0),
            Retention = call.InputAddress<T>(1),
            Initial = HasInitial ? call.InputAddress<T>(2) : null,
            States = call.OutputAddress<T>(0),
            Final = call.OutputAddress<T>(1),
        };
        CpuParallel.For(call.Threads, checked(shape[0] * shape[2] * blocks), (long)Math.Min(size, Block) * (shape[1] + 1), body);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public int Chunks, Heads, Size, Blocks;
        public T* Added, Retention, Initial, States, Final;

        public readonly void Invoke(int index)
        {
            int head = index / Blocks % Heads, batch = index / Blocks / Heads, offset = index % Blocks * Block, length = Math.Min(Block, Size - offset);
            T* final = Final + ((long)batch * Heads + head) * Size + offset;
            T* h = Chunks == 0 ? final : Chunk(States, batch, 0, head) + offset;
            if (Initial is null)
                new Span<T>(h, length).Clear();
            else
                new ReadOnlySpan<T>(Initial + ((long)batch * Heads + head) * Size + offset, length).CopyTo(new Span<T>(h, length));
            for (int c = 0; c < Chunks; c++)
            {
                T* next = c + 1 == Chunks ? final : Chunk(States, batch, c + 1, head) + offset;
                TensorPrimitives.MultiplyAdd(
                    new ReadOnlySpan<T>(h, length), Retention[((long)batch * Chunks + c) * Heads + head],
                    new ReadOnlySpan<T>(Chunk(Added, batch, c, head) + offset, length), new Span<T>(next, length));
                h = next;
            }
        }

        private readonly T* Chunk(T* tensor, int batch, int chunk, int head) => tensor + (((long)batch * Chunks + chunk) * Heads + head) * Size;
    }
}

/// <summary>
/// The gradients of <see cref="StatePassing"/> for S, γ and, if said so, the initial state: <c>dS_c = dh_{c+1}, dγ_c = ⟨h_c, dh_{c+1}⟩, dh_c = γ_c · dh_{c+1} + (what came in for h_c)</c>.
/// Inputs γ, the states before the chunks, and the gradients of both results.
/// </summary>
/// <param name="HasInitial">Whether there is an initial state.</param>
public readonly record struct StatePassingGradient(bool HasInitial) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(StatePassingGradient), inputs, 4);
        Rules.RequireMixed(nameof(StatePassingGradient), inputs);
        Shape states = inputs[1].Shape;
        ShapeException.ThrowUnless(states.Rank == 5, nameof(StatePassingGradient), "the states must be [batch, chunks, heads, width, state]", inputs);
        ShapeException.ThrowUnless(inputs[0].Shape == [states[0], states[1], states[2]], nameof(StatePassingGradient), "the retention must be [batch, chunks, heads]", inputs);
        ShapeException.ThrowUnless(
            inputs[2].Shape == states && inputs[3].Shape == states.Without(1), nameof(StatePassingGradient),
            "the last two inputs must be the gradients of the states and of the final state", inputs);
        return HasInitial ? [inputs[1], inputs[0], inputs[3]] : [inputs[1], inputs[0]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape states = call.Inputs[1].Shape;
        if (StateLaunch.Codes(states, call.Inputs[2].DType, call.Outputs[0].DType) is not { } walked
            || StateLaunch.Codes(states, call.Inputs[1].DType, call.Outputs[0].DType) is not { } dotted)
        {
            return null;
        }
        return new Launch(
        [
            .. StateLaunch.Walk(states, walked, Slot.In(2), Slot.In(0), Slot.In(3), Slot.Out(0), HasInitial ? Slot.Out(2) : null, backward: true).Dispatches,
            .. StateLaunch.Dots(states, dotted, Slot.In(1), Slot.OutRead(0), Slot.Out(1)).Dispatches,
        ]);
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Shape shape = inputs[1].Shape, state = shape.Without(1);
        Tensor dh = inputs[3], added = inputs[1].Slice(1, 0, 0), retention = inputs[0].Slice(1, 0, 0);
        for (int c = shape[1] - 1; c >= 0; c--)
        {
            added = TensorOperations.Concatenate(1, dh.Reshape(shape.With(1, 1)), added);
            Tensor h = inputs[1].Slice(1, c, 1).Reshape(state);
            retention = TensorOperations.Concatenate(1, (h * dh).Sum(3).Sum(2).Reshape([shape[0], 1, shape[2]]), retention);
            dh = dh * inputs[0].Slice(1, c, 1).Reshape([shape[0], shape[2], 1, 1]) + inputs[2].Slice(1, c, 1).Reshape(state);
        }
        return HasInitial ? [added, retention, dh] : [added, retention];
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape shape = call.InputType(1).Shape;
        var body = new Body<T>
        {
            Chunks = shape[1],
            Heads = shape[2],
            Size = checked(shape[3] * shape[4]),
            Retention = call.InputAddress<T>(0),
            States = call.InputAddress<T>(1),
            DStates = call.InputAddress<T>(2),
            DFinal = call.InputAddress<T>(3),
            DAdded = call.OutputAddress<T>(0),
            DRetention = call.OutputAddress<T>(1),
            DInitial = HasInitial ? call.OutputAddress<T>(2) : null,
        };
        CpuParallel.For(call.Threads, checked(shape[0] * shape[2]), 2L * body.Size * (shape[1] + 1), body);
    }

    /// <summary>A part is one head of one sequence, whole, because dγ is a sum over all of a state.</summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public int Chunks, Heads, Size;
        public T* Retention, States, DStates, DFinal, DAdded, DRetention, DInitial;

        public readonly void Invoke(int index)
        {
            int batch = index / Heads, head = index % Heads;
            T* dh = DFinal + (long)index * Size;
            T retention = T.One;
            T* incoming = null;
            for (int c = Chunks - 1; c >= 0; c--)
            {
                long at = ((long)batch * Chunks + c) * Heads + head;
                T* to = DAdded + at * Size;
                Step(dh, retention, incoming, to);
                DRetention[at] = TensorPrimitives.Dot(new ReadOnlySpan<T>(States + at * Size, Size), new ReadOnlySpan<T>(to, Size));
                dh = to;
                retention = Retention[at];
                incoming = DStates + at * Size;
            }
            if (DInitial is not null)
                Step(dh, retention, incoming, DInitial + (long)index * Size);
        }

        private readonly void Step(T* dh, T retention, T* incoming, T* to)
        {
            if (incoming is null)
                new ReadOnlySpan<T>(dh, Size).CopyTo(new Span<T>(to, Size));
            else
                TensorPrimitives.MultiplyAdd(new ReadOnlySpan<T>(dh, Size), retention, new ReadOnlySpan<T>(incoming, Size), new Span<T>(to, Size));
        }
    }
}
