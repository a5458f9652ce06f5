using System.Numerics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>One step of the selective state space recurrence: <c>h′ = exp(dt·A) · h + dt · x ⊗ B, y = C h′ + D · x</c>.</summary>
    /// <param name="x">[B, H, P].</param>
    /// <param name="dt">Step sizes, positive: [B, H].</param>
    /// <param name="a">Decay rates A, negative: [H].</param>
    /// <param name="b">[B, G, N], where G divides H: head h uses group h / (H / G).</param>
    /// <param name="c">[B, G, N].</param>
    /// <param name="state">h: [B, H, P, N].</param>
    /// <param name="skip">D, per head [H] or per channel [H, P]; null for none.</param>
    /// <returns>y [B, H, P] and h′ [B, H, P, N].</returns>
    public static (Tensor Y, Tensor State) StateSpaceStep(this Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c, Tensor state, Tensor? skip = null)
    {
        Tensor[] results = skip is null
            ? Tensor.ApplyAll(new StateSpaceStep(false), x, dt, a, b, c, state)
            : Tensor.ApplyAll(new StateSpaceStep(true), x, dt, a, b, c, state, skip);
        return (results[0], results[1]);
    }
}

/// <summary>
/// One step of the selective state space recurrence: <c>h′ = exp(dt·A) · h + dt · x ⊗ B, y = C h′ + D · x</c>. Inputs x, dt, A, B, C, h and, if said so, D; outputs y and h′,
/// which may overwrite h.
/// </summary>
/// <param name="HasSkip">Whether there is a D.</param>
public readonly record struct StateSpaceStep(bool HasSkip) : IPrimitive
{
    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(StateSpaceStep), inputs, HasSkip ? 7 : 6);
        Rules.RequireFloating(nameof(StateSpaceStep), inputs);
        Shape x = inputs[0].Shape, b = inputs[3].Shape, state = inputs[5].Shape;
        ShapeException.ThrowUnless(x.Rank == 3, nameof(StateSpaceStep), "x must be [batch, heads, width]", inputs);
        ShapeException.ThrowUnless(inputs[1].Shape == x.Without(2), nameof(StateSpaceStep), "dt must be [batch, heads]", inputs);
        ShapeException.ThrowUnless(inputs[2].Shape == [x[1]], nameof(StateSpaceStep), "A must be [heads]", inputs);
        ShapeException.ThrowUnless(
            b.Rank == 3 && b[0] == x[0] && b[1] > 0 && x[1] % b[1] == 0, nameof(StateSpaceStep), "B must be [batch, groups, state], and the groups divide the heads", inputs);
        ShapeException.ThrowUnless(inputs[4].Shape == b, nameof(StateSpaceStep), "C must have the shape of B", inputs);
        ShapeException.ThrowUnless(state == [x[0], x[1], x[2], b[2]], nameof(StateSpaceStep), "the state must be [batch, heads, width, state]", inputs);
        if (HasSkip)
            Rules.RequireSkip(nameof(StateSpaceStep), inputs, 6, x[1], x[2]);
        return [inputs[0], inputs[5]];
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
        if (call.Inputs[0].DType != DType.F32)
            return null;
        const int Workgroup = 256;
        Shape state = call.Inputs[5].Shape;
        long rows = (long)state[0] * state[1] * state[2];
        if (rows == 0)
            return Tensors.Launch.Nothing;
        uint quads = state[3] % 4 == 0 ? 1u : 0, length = (uint)state[3] / (quads == 1 ? 4u : 1);
        // A row of a state is shared by as many invocations as it keeps busy, up to 32.
        int lanes = call.Device.IsCpu ? 1 : (int)BitOperations.RoundUpToPowerOf2(Math.Clamp((length + 1) / 2, 1, 32));
        long perGroup = Workgroup / lanes;
        return Dispatch.Linear(
            "state_space_step", (rows + perGroup - 1) / perGroup,
            [Slot.In(0), Slot.In(1), Slot.In(2), Slot.In(3), Slot.In(4), Slot.In(5), HasSkip ? Slot.In(6) : Slot.In(0), Slot.Out(0), Slot.Out(1)],
            new Scalars((uint)state[1], (uint)state[2], (uint)call.Inputs[3].Shape[1], length, (uint)rows),
            Workgroup, quads, (uint)lanes, HasSkip ? (uint)call.Inputs[6].Shape.Rank : 0);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => call.ThroughDefinition();

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Shape x = inputs[0].Shape, b = inputs[3].Shape;
        Shape column = [x[0], x[1], x[2], 1], scalar = [x[0], x[1], 1, 1];
        Tensor decay = (inputs[1] * inputs[2]).Exp().Reshape(scalar);
        Tensor added = (inputs[0].Reshape(column) * inputs[1].Reshape(scalar)).MatMul(Heads(inputs[3], [x[0], x[1], 1, b[2]]));
        Tensor state = inputs[5] * decay + added;
        Tensor y = state.MatMul(Heads(inputs[4], [x[0], x[1], b[2], 1])).Reshape(x);
        if (HasSkip)
            y += inputs[0] * (inputs[6].Shape.Rank == 2 ? inputs[6] : inputs[6].Reshape([x[1], 1]));
        return [y, state];
    }

    private readonly record struct Scalars(uint Heads, uint Width, uint Groups, uint States, uint Count);

    private static Tensor Heads(Tensor b, Shape shape) => b.Reshape([b.Shape[0], b.Shape[1], 1, b.Shape[2]])
        .Broadcast([b.Shape[0], b.Shape[1], shape[1] / b.Shape[1], b.Shape[2]]).Reshape(shape);

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape state = call.InputType(5).Shape;
        int groups = call.InputType(3).Shape[1];
        var body = new Body<T>
        {
            Heads = state[1],
            Width = state[2],
            States = state[3],
            Groups = groups,
            X = call.InputAddress<T>(0),
            Dt = call.InputAddress<T>(1),
            A = call.InputAddress<T>(2),
            B = call.InputAddress<T>(3),
            C = call.InputAddress<T>(4),
            H = call.InputAddress<T>(5),
            D = HasSkip ? call.InputAddress<T>(6) : null,
            SkipsPerHead = HasSkip && call.InputType(6).Shape.Rank == 2 ? state[2] : 1,
            Y = call.OutputAddress<T>(0),
            Next = call.OutputAddress<T>(1),
        };
        CpuParallel.For(call.Threads, checked(state[0] * state[1]), (long)state[2] * state[3] / 2, body);
    }

    /// <summary>A part is one head: its state is read and written once, row by row, each row giving one output while it is in registers.</summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public int Heads, Width, States, Groups, SkipsPerHead;
        public T* X, Dt, A, B, C, H, D, Y, Next;

        public readonly void Invoke(int index)
        {
            int batch = index / Heads, head = index % Heads, group = head / (Heads / Groups), lanes = Vector<T>.Count;
            T dt = Dt[index], decay = T.Exp(dt * A[head]);
            T* b = B + ((long)batch * Groups + group) * States, c = C + ((long)batch * Groups + group) * States;
            for (int p = 0; p < Width; p++)
            {
                long row = (long)index * Width + p;
                T* h = H + row * States, next = Next + row * States;
                T x = X[row], scale = dt * x;
                Vector<T> sums = default, scales = new(scale), decays = new(decay);
                int n = 0;
                for (; n + lanes <= States; n += lanes)
                {
                    Vector<T> value = VectorMath.MultiplyAdd(Vector.Load(h + n), decays, scales * Vector.Load(b + n));
                    Vector.Store(value, next + n);
                    sums = VectorMath.MultiplyAdd(value, Vector.Load(c + n), sums);
                }
                T y = Vector.Sum(sums);
                for (; n < States; n++)
                {
                    next[n] = h[n] * decay + scale * b[n];
                    y += next[n] * c[n];
                }
                if (D is not null)
                    y += x * D[SkipsPerHead == 1 ? head : head * Width + p];
                Y[row] = y;
            }
        }
    }
}
