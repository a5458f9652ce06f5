namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// How to go through two broadcast operands and their result as few long runs: neighbouring axes along which each operand either
/// moves or stands still are merged, and the innermost of what is left is the run.
/// </summary>
internal readonly unsafe struct BroadcastWalk
{
    private readonly int[] extents;
    private readonly long[] xStrides;
    private readonly long[] yStrides;

    public BroadcastWalk(Shape result, Shape x, Shape y)
    {
        var extentList = new List<int>();
        var xList = new List<long>();
        var yList = new List<long>();
        long xStride = 1, yStride = 1;
        bool xMoved = false, yMoved = false;
        for (int i = 1; i <= result.Rank; i++)
        {
            int extent = result[^i];
            int xExtent = i <= x.Rank ? x[^i] : 1, yExtent = i <= y.Rank ? y[^i] : 1;
            if (extent == 1)
                continue;
            bool xMoves = xExtent != 1, yMoves = yExtent != 1;
            if (extentList.Count > 0 && xMoves == xMoved && yMoves == yMoved)
            {
                extentList[^1] = checked(extentList[^1] * extent);
            }
            else
            {
                extentList.Add(extent);
                xList.Add(xMoves ? xStride : 0);
                yList.Add(yMoves ? yStride : 0);
            }
            (xMoved, yMoved) = (xMoves, yMoves);
            xStride *= xExtent;
            yStride *= yExtent;
        }
        if (extentList.Count == 0)
        {
            extentList.Add(1);
            xList.Add(1);
            yList.Add(1);
        }
        RunLength = extentList[0];
        XIsRun = xList[0] != 0;
        YIsRun = yList[0] != 0;
        extents = [.. extentList.Skip(1)];
        xStrides = [.. xList.Skip(1)];
        yStrides = [.. yList.Skip(1)];
    }

    /// <summary>The number of consecutive elements of the result along which each operand is consecutive or constant.</summary>
    public int RunLength { get; }

    /// <summary>Whether the first operand moves along a run.</summary>
    public bool XIsRun { get; }

    /// <summary>Whether the second operand moves along a run.</summary>
    public bool YIsRun { get; }

    /// <summary>The number of axes that are left; axis 0 is the run.</summary>
    public int Rank => 1 + extents.Length;

    /// <summary>The extent of an axis, the innermost being 0.</summary>
    public int Extent(int axis) => axis == 0 ? RunLength : extents[axis - 1];

    /// <summary>How far apart in each operand the elements along an axis are.</summary>
    public (long X, long Y) Strides(int axis) => axis == 0 ? (XIsRun ? 1 : 0, YIsRun ? 1 : 0) : (xStrides[axis - 1], yStrides[axis - 1]);

    /// <summary>Where run <paramref name="row"/> starts in each operand.</summary>
    public (long X, long Y) Offsets(long row)
    {
        long x = 0, y = 0;
        for (int i = 0; i < extents.Length; i++)
        {
            long index = row % extents[i];
            row /= extents[i];
            x += index * xStrides[i];
            y += index * yStrides[i];
        }
        return (x, y);
    }
}
