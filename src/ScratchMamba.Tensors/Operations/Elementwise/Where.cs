using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary><c>condition ≠ 0 ? x : y</c>, element by element, with broadcasting. No gradient passes to the condition.</summary>
    /// <exception cref="ShapeException">The three shapes do not broadcast, or the element types do not fit.</exception>
    public static Tensor Where(this Tensor condition, Tensor x, Tensor y)
    {
        TensorType[] types = [condition.Type, x.Type, y.Type];
        Shape? shape = Rules.BroadcastShape(x.Shape, y.Shape) is { } values ? Rules.BroadcastShape(condition.Shape, values) : null;
        ShapeException.ThrowUnless(shape is not null, nameof(Where), "shapes must broadcast: aligned at the last axis, extents equal or 1", types);
        return Tensor.Apply(new Where(), condition.Broadcast(shape!.Value), x.Broadcast(shape.Value), y.Broadcast(shape.Value));
    }
}

/// <summary>
/// A choice between two tensors element by element: <c>z = c ≠ 0 ? x : y</c>. The inputs are c, x and y, of one shape;
/// c is of integers or has the type of the values.
/// </summary>
public readonly record struct Where : IPrimitive
{
    private const int Block = 4096;

    private readonly record struct Scalars(uint Count, uint Mask);

    /// <inheritdoc/>
    public Saved Saves => Saved.Input(0);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Where), inputs, 3);
        ShapeException.ThrowUnless(
            inputs[1].DType.IsFloating() && inputs[1].DType == inputs[2].DType, nameof(Where), "values must be of one floating-point type", inputs);
        ShapeException.ThrowUnless(
            inputs[0].DType is DType.I32 || inputs[0].DType == inputs[1].DType, nameof(Where), "the condition must be I32 or have the type of the values", inputs);
        ShapeException.ThrowUnless(
            inputs[0].Shape == inputs[1].Shape && inputs[0].Shape == inputs[2].Shape, nameof(Where), "condition and values must have one shape", inputs);
        return [inputs[1]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        switch (call.DType, call.InputType(1).DType)
        {
            case (DType.F32, _):
                Compute<float, float>(call);
                break;
            case (DType.F64, _):
                Compute<double, double>(call);
                break;
            case (_, DType.F32):
                Compute<int, float>(call);
                break;
            default:
                Compute<int, double>(call);
                break;
        }
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Inputs[1].DType != DType.F32)
            return null;
        long count = call.Outputs[0].Count;
        // The sign of a floating-point zero does not count.
        uint mask = call.Inputs[0].DType == DType.I32 ? uint.MaxValue : int.MaxValue;
        return count == 0
            ? Tensors.Launch.Nothing
            : Dispatch.Linear(
                "where", ElementwiseLaunch.Groups(count), [Slot.In(0), Slot.In(1), Slot.In(2), Slot.Out(0)], new Scalars((uint)count, mask), ElementwiseLaunch.Workgroup);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor condition = call.Input(0), dz = call.Gradient(0), zero = call.Backend.Scalar(0, dz.DType);
        return [null, call.Needs(1) ? condition.Where(dz, zero) : null, call.Needs(2) ? condition.Where(zero, dz) : null];
    }

    private static unsafe void Compute<TCondition, T>(CpuCall call)
        where TCondition : unmanaged, INumberBase<TCondition> where T : unmanaged, IFloatingPointIeee754<T>
    {
        long count = call.OutputType(0).Count;
        var body = new Body<TCondition, T>
        {
            Condition = call.InputAddress<TCondition>(0), X = call.InputAddress<T>(1), Y = call.InputAddress<T>(2), Z = call.OutputAddress<T>(0), Count = count,
        };
        CpuParallel.For(call.Threads, (int)((count + Block - 1) / Block), Math.Min(count, Block), body);
    }

    private unsafe struct Body<TCondition, T> : IParallelBody
        where TCondition : unmanaged, INumberBase<TCondition> where T : unmanaged, IFloatingPointIeee754<T>
    {
        public TCondition* Condition;
        public T* X, Y, Z;
        public long Count;

        public readonly void Invoke(int index)
        {
            long i = (long)index * Block, end = Math.Min(Count, i + Block);
            if (typeof(TCondition) == typeof(T))
            {
                for (; i <= end - Vector<T>.Count; i += Vector<T>.Count)
                {
                    Vector<T> isZero = Vector.Equals(Vector.Load((T*)Condition + i), Vector<T>.Zero);
                    Vector.ConditionalSelect(isZero, Vector.Load(Y + i), Vector.Load(X + i)).Store(Z + i);
                }
            }
            for (; i < end; i++)
                Z[i] = TCondition.IsZero(Condition[i]) ? Y[i] : X[i];
        }
    }
}
