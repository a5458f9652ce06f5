using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Reductions =>
    [
        Row<Sum>(
            draw =>
            {
                Shape shape = draw.Shape(minRank: 1);
                return new Case(new Sum(draw.Choice(shape.Rank)), draw.Normal(shape));
            },
            new Misuse(new Sum(2), "no axis 2", F32([2, 3]))),
        Row<SquaredNorms>(
            draw => new Case(new SquaredNorms(), [.. Enumerable.Range(0, 1 + draw.Choice(3)).Select(i => i == 2 ? draw.Normal([9001]) : draw.Normal(draw.Shape()))]),
            new Misuse(new SquaredNorms(), "floating-point", F32([2, 3]), I32([3]))),
        Row<Max>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                return new Case(new Max(axis), Spread(draw, shape));
            },
            new Misuse(new Max(2), "no axis 2", F32([2, 3])),
            new Misuse(new Max(1), "must not be empty", F32([2, 0]))),
        Row<ArgMax>(
            draw => new Case(new ArgMax(), draw.Choice(5) == 4 ? draw.Normal([2, 5000]) : Spread(draw, draw.Shape(minRank: 1))),
            new Misuse(new ArgMax(), "rows must not be empty", F32([2, 0])),
            new Misuse(new ArgMax(), "no axis", F32([]))),
        Row<CumulativeSum>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                return new Case(new CumulativeSum(axis, draw.Choice(2) == 1), draw.Normal(shape));
            },
            new Misuse(new CumulativeSum(2, false), "no axis 2", F32([2, 3]))),
        Row<LogSumExp>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                return new Case(new LogSumExp(axis), Spread(draw, shape));
            },
            new Misuse(new LogSumExp(2), "no axis 2", F32([2, 3])),
            new Misuse(new LogSumExp(1), "must not be empty", F32([2, 0]))),
        Row<Softmax>(
            draw =>
            {
                (Shape shape, int axis) = ShapeAndAxis(draw);
                return new Case(new Softmax(axis), Spread(draw, shape));
            },
            new Misuse(new Softmax(2), "no axis 2", F32([2, 3]))),
    ];

    /// <summary>Values no two of which are close, so that no small step changes which is the largest: a shuffled grid from −3 to 3 with a little noise.</summary>
    private static Input Spread(Draw draw, Shape shape)
    {
        double step = 6.0 / Math.Max(1, shape.Count);
        Input noise = draw.Uniform(shape, -0.25, 0.25);
        // The noise is a random key as well as a displacement.
        var ranks = new double[shape.Count];
        int[] order = [.. Enumerable.Range(0, ranks.Length).OrderBy(i => noise.Values[i])];
        for (int rank = 0; rank < order.Length; rank++)
            ranks[order[rank]] = -3 + step * (rank + 0.5 + noise.Values[order[rank]]);
        return noise with { Values = ranks };
    }
}
