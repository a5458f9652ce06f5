namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>Axis i of the result is axis <c>axes[i]</c> (−1 is the last) of the tensor; the data is copied into the new order.</summary>
    /// <exception cref="ShapeException">The axes are not a permutation of the tensor's.</exception>
    public static Tensor Permute(this Tensor x, params ReadOnlySpan<int> axes)
    {
        int[] resolved = new int[axes.Length];
        for (int i = 0; i < resolved.Length; i++)
            resolved[i] = x.Shape.Axis(axes[i]);
        return Tensor.Apply(new Permute(resolved), x);
    }

    /// <summary>Exchanges two axes (−1 is the last).</summary>
    public static Tensor Transpose(this Tensor x, int axisA, int axisB)
    {
        (axisA, axisB) = (x.Shape.Axis(axisA), x.Shape.Axis(axisB));
        int[] axes = [.. Enumerable.Range(0, x.Shape.Rank)];
        (axes[axisA], axes[axisB]) = (axisB, axisA);
        return Tensor.Apply(new Permute(axes), x);
    }
}

/// <summary>A reordering of axes: axis i of the result is axis <c>Axes[i]</c> of the input.</summary>
public readonly record struct Permute(int[] Axes) : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(Permute), inputs, 1);
        Rules.RefuseCompact(nameof(Permute), inputs);
        Shape shape = inputs[0].Shape;
        ShapeException.ThrowUnless(
            Axes.Order().SequenceEqual(Enumerable.Range(0, shape.Rank)), nameof(Permute), $"[{string.Join(", ", Axes)}] must name every axis once", inputs);
        return [inputs[0] with { Shape = [.. Axes.Select(axis => shape[axis])] }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        // Only bits move, so an integer of the element's size serves every type.
        if (call.DType.Size() == sizeof(long))
            Compute<long>(call);
        else
            Compute<int>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (!CopyLaunch.Covers(call.Inputs[0].DType))
            return null;
        Shape from = call.Inputs[0].Shape, to = call.Outputs[0].Shape;
        var copy = new CopyLaunch();
        for (int i = 0; i < Axes.Length; i++)
            copy.With(to[i], from.Product(Axes[i] + 1, from.Rank), to.Product(i + 1, to.Rank));
        return copy.ToLaunch(call.Device);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var inverse = new int[Axes.Length];
        for (int i = 0; i < inverse.Length; i++)
            inverse[Axes[i]] = i;
        return [Tensor.Apply(new Permute(inverse), call.Gradient(0))];
    }

    /// <summary>For example <c>Permute { Axes = [1, 0] }</c>.</summary>
    public override string ToString() => $"Permute {{ Axes = [{string.Join(", ", Axes)}] }}";

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged
    {
        Shape from = call.InputType(0).Shape;
        if (from.Count == 0)
            return;
        // Axes of the result, outermost first, with their strides in the input; those that stay together in both are merged.
        var extents = new List<int>();
        var strides = new List<long>();
        foreach (int axis in Axes)
        {
            int extent = from[axis];
            if (extent == 1)
                continue;
            long stride = from.Product(axis + 1, from.Rank);
            if (extents.Count > 0 && strides[^1] == stride * extent)
            {
                extents[^1] = checked(extents[^1] * extent);
                strides[^1] = stride;
            }
            else
            {
                extents.Add(extent);
                strides.Add(stride);
            }
        }
        int last = extents.Count - 1, unit = strides.IndexOf(1);
        if (last < 0)
        {
            *(T*)call.OutputBytes(0) = *(T*)call.InputBytes(0);
            return;
        }
        var body = new Body<T> { X = (T*)call.InputBytes(0), Y = (T*)call.OutputBytes(0), Columns = extents[last], ColumnStride = strides[last], Lines = 1 };
        var targets = new long[extents.Count];
        for (int i = last; i >= 0; i--)
            targets[i] = i == last ? 1 : targets[i + 1] * extents[i + 1];
        if (unit != last)
            (body.Lines, body.LineTarget) = (extents[unit], targets[unit]);
        body.Tiles = (body.Lines + Body<T>.Tile - 1) / Body<T>.Tile;
        int[] outer = [.. Enumerable.Range(0, last).Where(i => i != unit)];
        body.Extents = Array.ConvertAll(outer, i => extents[i]);
        body.Sources = Array.ConvertAll(outer, i => strides[i]);
        body.Targets = Array.ConvertAll(outer, i => targets[i]);
        long parts = body.Tiles;
        foreach (int extent in body.Extents)
            parts *= extent;
        CpuParallel.For(call.Threads, checked((int)parts), 2L * Math.Min(body.Lines, Body<T>.Tile) * body.Columns, body);
    }

    /// <summary>
    /// One part is a band of up to <see cref="Tile"/> lines of the result, chosen along the axis that is contiguous in the input,
    /// copied tile by tile so that both sides are read and written by whole cache lines.
    /// </summary>
    private unsafe struct Body<T> : IParallelBody where T : unmanaged
    {
        public const int Tile = 16;

        // As many lines of the input are in use at once; where their pitch is a power of two, they share one set of the first-level cache, of 8 ways.
        private const int TileColumns = 8;

        public T* X, Y;
        public int Columns, Lines, Tiles;
        public long ColumnStride, LineTarget;
        public int[] Extents;
        public long[] Sources, Targets;

        public readonly void Invoke(int index)
        {
            int line = index % Tiles * Tile, lines = Math.Min(Tile, Lines - line), rest = index / Tiles;
            T* x = X + line, y = Y + line * LineTarget;
            for (int i = Extents.Length - 1; i >= 0; i--)
            {
                x += rest % Extents[i] * Sources[i];
                y += rest % Extents[i] * Targets[i];
                rest /= Extents[i];
            }
            if (ColumnStride == 1)
            {
                new ReadOnlySpan<T>(x, Columns).CopyTo(new Span<T>(y, Columns));
                return;
            }
            for (int start = 0; start < Columns; start += TileColumns)
            {
                int end = Math.Min(Columns, start + TileColumns);
                for (int i = 0; i < lines; i++)
                {
                    T* target = y + i * LineTarget, source = x + i;
                    for (int j = start; j < end; j++)
                        target[j] = source[j * ColumnStride];
                }
            }
        }
    }
}
