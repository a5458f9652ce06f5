using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// How to go through two broadcast operands and their result as few long runs: neighbouring axes along which each operand either
/// moves or stands still are merged, and the innermost of what is left is the run.
/// </summary>
internal readonly unsafe struct BroadcastWalk
{
    // The run is axis 0. Inline, so that an operation allocates nothing.
    private readonly Axes<int> extents;
    private readonly Axes<long> xStrides, yStrides;

    [InlineArray(Shape.MaxRank)]
    private struct Axes<T>
    {
        private T first;
    }

    public BroadcastWalk(Shape result, Shape x, Shape y)
    {
        long xStride = 1, yStride = 1;
        bool xMoved = false, yMoved = false;
        for (int i = 1; i <= result.Rank; i++)
        {
            int extent = result[^i];
            int xExtent = i <= x.Rank ? x[^i] : 1, yExtent = i <= y.Rank ? y[^i] : 1;
            if (extent == 1)
                continue;
            bool xMoves = xExtent != 1, yMoves = yExtent != 1;
            if (Rank > 0 && xMoves == xMoved && yMoves == yMoved)
            {
                extents[Rank - 1] = checked(extents[Rank - 1] * extent);
            }
            else
            {
                extents[Rank] = extent;
                xStrides[Rank] = xMoves ? xStride : 0;
                yStrides[Rank] = yMoves ? yStride : 0;
                Rank++;
            }
            (xMoved, yMoved) = (xMoves, yMoves);
            xStride *= xExtent;
            yStride *= yExtent;
        }
        if (Rank == 0)
            (Rank, extents[0], xStrides[0], yStrides[0]) = (1, 1, 1, 1);
    }

    /// <summary>The number of consecutive elements of the result along which each operand is consecutive or constant.</summary>
    public int RunLength => extents[0];

    /// <summary>Whether the first operand moves along a run.</summary>
    public bool XIsRun => xStrides[0] != 0;

    /// <summary>Whether the second operand moves along a run.</summary>
    public bool YIsRun => yStrides[0] != 0;

    /// <summary>The number of axes that are left; axis 0 is the run.</summary>
    public int Rank { get; }

    /// <summary>The extent of an axis, the innermost being 0.</summary>
    public int Extent(int axis) => extents[axis];

    /// <summary>How far apart in each operand the elements along an axis are.</summary>
    public (long X, long Y) Strides(int axis) => (xStrides[axis], yStrides[axis]);

    /// <summary>Where run <paramref name="row"/> starts in each operand.</summary>
    public (long X, long Y) Offsets(long row)
    {
        long x = 0, y = 0;
        for (int i = 1; i < Rank; i++)
        {
            long index = row % extents[i];
            row /= extents[i];
            x += index * xStrides[i];
            y += index * yStrides[i];
        }
        return (x, y);
    }
}
