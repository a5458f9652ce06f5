using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Movement =>
    [
        Row<Full>(draw => new Case(new Full(F32(draw.Shape()), 2.5)), new Misuse(new Full(F32([2]), 1), "takes 0 tensors", F32([2]))) with { IsDifferentiable = false },
        Row<Reshape>(
            draw =>
            {
                Shape shape = draw.Shape();
                return new Case(new Reshape([(int)shape.Count]), draw.Normal(shape));
            },
            new Misuse(new Reshape([5]), "as many elements", F32([2, 3]))),
        Row<Broadcast>(
            draw =>
            {
                (Shape full, Shape part) = FullAndPart(draw);
                return new Case(new Broadcast(full), draw.Normal(part));
            },
            new Misuse(new Broadcast([2, 3]), "must broadcast", F32([2]))),
        Row<Permute>(
            draw =>
            {
                Shape shape = draw.Shape();
                // Drawn by taking one of the remaining axes at a time; choices of 0 give the axes in their order.
                List<int> left = [.. Enumerable.Range(0, shape.Rank)], axes = [];
                while (left.Count > 0)
                {
                    int next = draw.Choice(left.Count);
                    axes.Add(left[next]);
                    left.RemoveAt(next);
                }
                return new Case(new Permute([.. axes]), draw.Normal(shape));
            },
            new Misuse(new Permute([0, 0]), "every axis once", F32([2, 3])),
            new Misuse(new Permute([1, 0]), "every axis once", F32([2, 3, 4]))),
        Row<Slice>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                int start = draw.Choice(shape[axis] + 1);
                return new Case(new Slice(axis, start, draw.Choice(shape[axis] - start + 1)), draw.Normal(shape));
            },
            new Misuse(new Slice(1, 2, 2), "must lie within axis 1", F32([2, 3])),
            new Misuse(new Slice(2, 0, 1), "no axis 2", F32([2, 3]))),
        Row<Split>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                return new Case(new Split(axis, Parts(draw, shape[axis])), draw.Normal(shape));
            },
            new Misuse(new Split(1, [1, 1]), "must add up", F32([2, 3])),
            new Misuse(new Split(1, [4, -1]), "must add up", F32([2, 3]))),
        Row<Concatenate>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                return new Case(new Concatenate(axis), [.. Parts(draw, shape[axis]).Select(size => draw.Normal(shape.With(axis, size)))]);
            },
            new Misuse(new Concatenate(0), "all axes but 0", F32([2, 3]), F32([2, 4])),
            new Misuse(new Concatenate(0), "one element type", F32([2]), I32([2]))),
        Row<Pad>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                return new Case(new Pad(axis, draw.Choice(4), draw.Choice(4), draw.OneOf(0, -1.5)), draw.Normal(shape));
            },
            new Misuse(new Pad(0, -1, 0, 0), "must not be negative", F32([2, 3]))),
    ];

    private static (Shape Shape, int Axis) ShapeAndAxis(Draw draw)
    {
        Shape shape = draw.Shape(minRank: 1);
        return (shape, draw.Choice(shape.Rank));
    }

    /// <summary>One to three sizes that add up to an extent; some may be 0.</summary>
    private static int[] Parts(Draw draw, int extent)
    {
        int first = draw.Choice(extent + 1), second = draw.Choice(extent - first + 1);
        return [extent - first - second, .. draw.OneOf<int[]>([first + second], [first, second])];
    }
}
