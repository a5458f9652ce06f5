namespace ScratchMamba.Tensors.Operations;

/// <summary>Shape rules that several operations share.</summary>
internal static class Rules
{
    /// <summary>One floating-point tensor; the result has its type.</summary>
    public static TensorType[] Unary(string operation, ReadOnlySpan<TensorType> x)
    {
        RequireCount(operation, x, 1);
        RequireFloating(operation, x);
        return [x[0]];
    }

    /// <summary>Two tensors of one floating-point type and shape; the result has it too.</summary>
    public static TensorType[] Pair(string operation, ReadOnlySpan<TensorType> x)
    {
        RequireCount(operation, x, 2);
        RequireFloating(operation, x);
        ShapeException.ThrowUnless(x[0].Shape == x[1].Shape, operation, "both tensors must have one shape", x);
        return [x[0]];
    }

    /// <summary>Floating-point tensors of one element type whose shapes broadcast against each other; the result has the common shape.</summary>
    public static TensorType[] Broadcasting(string operation, ReadOnlySpan<TensorType> x, int count = 2)
    {
        RequireCount(operation, x, count);
        RequireFloating(operation, x);
        Shape shape = x[0].Shape;
        for (int i = 1; i < x.Length; i++)
        {
            Shape? common = BroadcastShape(shape, x[i].Shape);
            ShapeException.ThrowUnless(common is not null, operation, "shapes must broadcast: aligned at the last axis, extents equal or 1", x);
            shape = common!.Value;
        }
        return [new TensorType(x[0].DType, shape)];
    }

    /// <summary>The shape that two shapes broadcast to, or null.</summary>
    public static Shape? BroadcastShape(Shape a, Shape b)
    {
        var extents = new int[Math.Max(a.Rank, b.Rank)];
        for (int i = 1; i <= extents.Length; i++)
        {
            int left = i <= a.Rank ? a[a.Rank - i] : 1, right = i <= b.Rank ? b[b.Rank - i] : 1;
            if (left != right && left != 1 && right != 1)
                return null;
            extents[^i] = left == 1 ? right : left;
        }
        return new Shape(extents);
    }

    public static void RequireCount(string operation, ReadOnlySpan<TensorType> x, int count)
    {
        if (x.Length != count)
            throw new ShapeException($"{operation}: takes {count} tensor{(count == 1 ? "" : "s")}; got {x.Length}");
    }

    /// <summary>All inputs are floating-point and of one element type.</summary>
    public static void RequireFloating(string operation, ReadOnlySpan<TensorType> x)
    {
        foreach (TensorType type in x)
            ShapeException.ThrowUnless(type.DType.IsFloating() && type.DType == x[0].DType, operation, "tensors must be of one floating-point type", x);
    }

    /// <summary>D of a scan has a number for each head, or for each channel of each.</summary>
    public static void RequireSkip(string operation, ReadOnlySpan<TensorType> x, int index, int heads, int width)
    {
        Shape skip = x[index].Shape;
        ShapeException.ThrowUnless(skip == [heads] || skip == [heads, width], operation, "D must be [heads] or [heads, width]", x);
    }

    /// <summary>All inputs are floating-point and of one element type, or of F32 and 16 bits, as mixed precision has it.</summary>
    public static void RequireMixed(string operation, ReadOnlySpan<TensorType> x)
    {
        foreach (TensorType type in x)
        {
            bool fits = x[0].DType == DType.F64 ? type.DType == DType.F64 : type.DType == DType.F32 || type.DType.IsNarrow();
            ShapeException.ThrowUnless(fits, operation, "tensors must be of one floating-point type, or of F32 and 16 bits", x);
        }
    }

    /// <summary>Whether any input is of 16 bits.</summary>
    public static bool IsAnyNarrow(ReadOnlySpan<TensorType> x)
    {
        foreach (TensorType type in x)
        {
            if (type.DType.IsNarrow())
                return true;
        }
        return false;
    }

    /// <summary>Rows of quantised types are whole blocks.</summary>
    public static void RequireBlocks(string operation, ReadOnlySpan<TensorType> x, TensorType type) => ShapeException.ThrowUnless(
        !type.DType.IsQuantized() || (type.Shape.Rank > 0 && type.Shape[^1] % QuantizedBlocks.Length == 0),
        operation, $"rows of {type.DType} must be multiples of {QuantizedBlocks.Length}", x);

    /// <summary>Numbers in few bits are read by matrix products, gathers and casts only.</summary>
    public static void RefuseCompact(string operation, ReadOnlySpan<TensorType> x)
    {
        foreach (TensorType type in x)
            ShapeException.ThrowUnless(!type.DType.IsCompact(), operation, $"{type.DType} is a type for weights; cast to F32 first", x);
    }

    /// <summary>Elements that lie in blocks are not moved one by one.</summary>
    public static void RefuseQuantized(string operation, ReadOnlySpan<TensorType> x)
    {
        foreach (TensorType type in x)
            ShapeException.ThrowUnless(!type.DType.IsQuantized(), operation, $"{type.DType} is a type for weights; cast to F32 first", x);
    }

    public static void RequireAxis(string operation, ReadOnlySpan<TensorType> x, int axis) =>
        ShapeException.ThrowUnless((uint)axis < (uint)x[0].Shape.Rank, operation, $"there is no axis {axis}", x);
}
