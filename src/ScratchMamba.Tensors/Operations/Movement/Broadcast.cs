using System.Numerics;
using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>Repeats a tensor along new leading axes and along axes of extent 1, up to a shape.</summary>
    public static Tensor Broadcast(this Tensor x, Shape shape) => x.Shape == shape ? x : Tensor.Apply(new Broadcast(shape), x);
}

/// <summary>Repetition along new leading axes and along axes of extent 1, up to a shape.</summary>
public readonly record struct Broadcast(Shape Shape) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Broadcast), inputs, 1);
        Rules.RefuseCompact(nameof(Broadcast), inputs);
        ShapeException.ThrowUnless(
            Rules.BroadcastShape(inputs[0].Shape, Shape) == Shape, nameof(Broadcast), $"the shape must broadcast to {Shape}: extents equal or 1", inputs);
        return [inputs[0] with { Shape = Shape }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        // Only bits move, so an integer of the element's size serves every type.
        if (call.DType == DType.F64)
            Compute<long>(call.InputType(0).Shape, MemoryMarshal.Cast<double, long>(call.Input<double>(0)), MemoryMarshal.Cast<double, long>(call.Output<double>(0)));
        else if (call.DType == DType.F32)
            Compute<int>(call.InputType(0).Shape, MemoryMarshal.Cast<float, int>(call.Input<float>(0)), MemoryMarshal.Cast<float, int>(call.Output<float>(0)));
        else
            Compute(call.InputType(0).Shape, call.Input<int>(0), call.Output<int>(0));
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (!CopyLaunch.Covers(call.Inputs[0].DType))
            return null;
        Shape from = call.Inputs[0].Shape;
        int added = Shape.Rank - from.Rank;
        var copy = new CopyLaunch();
        for (int i = 0; i < Shape.Rank; i++)
            copy.With(Shape[i], i < added || from[i - added] == 1 ? 0 : from.Product(i - added + 1, from.Rank), Shape.Product(i + 1, Shape.Rank));
        return copy.ToLaunch(call.Device);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => [call.Gradient(0).SumTo(call.InputType(0).Shape)];

    private void Compute<T>(Shape from, ReadOnlySpan<T> x, Span<T> y)
    {
        if (y.IsEmpty)
            return;
        var walk = new BroadcastWalk(Shape, from, Shape);
        for (int row = 0, start = 0; start < y.Length; row++, start += walk.RunLength)
        {
            int offset = (int)walk.Offsets(row).X;
            Span<T> run = y.Slice(start, walk.RunLength);
            if (walk.XIsRun)
                x.Slice(offset, walk.RunLength).CopyTo(run);
            else
                run.Fill(x[offset]);
        }
    }
}
