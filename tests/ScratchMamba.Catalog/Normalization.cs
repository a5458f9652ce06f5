using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    // Larger than models use: a row of one small element would bend too sharply for finite differences.
    private const double Epsilon = 1e-2;

    private static Row[] Normalization =>
    [
        Row<RmsNorm>(
            draw =>
            {
                Shape shape = draw.Shape(minRank: 1);
                return new Case(new RmsNorm(Epsilon), draw.Normal(shape), draw.Normal([shape.Columns]));
            },
            new Misuse(new RmsNorm(Epsilon), "as long as a row", F32([2, 3]), F32([4])),
            new Misuse(new RmsNorm(Epsilon), "as long as a row", F32([]), F32([1])),
            new Misuse(new RmsNorm(Epsilon), "floating-point", F32([2, 3]), I32([3])))
        with
        {
            Benchmark = draw => new Case(new RmsNorm(Epsilon), draw.Normal([2048, 768]), draw.Normal([768])),
        },
        Row<RmsNormGradient>(
            draw =>
            {
                Shape shape = draw.Shape(minRank: 1);
                bool past = draw.Choice(2) == 1;
                return new Case(new RmsNormGradient(Epsilon, past), [draw.Normal(shape), draw.Normal([shape.Columns]), draw.Normal(shape), .. past ? (Input[])[draw.Normal(shape)] : []]);
            },
            new Misuse(new RmsNormGradient(Epsilon, true), "type of x", F32([2, 3]), F32([3]), F32([2, 3]), F32([3, 2])),
            new Misuse(new RmsNormGradient(Epsilon), "shape of x", F32([2, 3]), F32([3]), F32([3, 2])))
        with
        {
            IsDifferentiable = false,
            Benchmark = draw => new Case(new RmsNormGradient(Epsilon), draw.Normal([2048, 768]), draw.Normal([768]), draw.Normal([2048, 768])),
        },
        Row<GatedRmsNorm>(
            draw =>
            {
                (Shape shape, int groups, bool before) = GatedRows(draw);
                return new Case(new GatedRmsNorm(Epsilon, groups, before), draw.Normal(shape), draw.Normal(shape, 2), draw.Normal([shape.Columns]));
            },
            new Misuse(new GatedRmsNorm(Epsilon, 1, false), "one shape", F32([2, 3]), F32([3]), F32([3])),
            new Misuse(new GatedRmsNorm(Epsilon, 2, false), "2 equal groups", F32([2, 3]), F32([2, 3]), F32([3])),
            new Misuse(new GatedRmsNorm(Epsilon, 1, true), "as long as a row", F32([2, 3]), F32([2, 3]), F32([2])))
        with
        {
            Benchmark = draw => new Case(new GatedRmsNorm(Epsilon, 1, false), draw.Normal([2048, 1536]), draw.Normal([2048, 1536]), draw.Normal([1536])),
        },
        Row<NormLinear>(
            draw =>
            {
                int rows = draw.Choice(9) + 1, k = draw.Choice(2) == 0 ? draw.Extent() : 4 * draw.Extent(64), n = draw.Extent(70);
                Input[] residual = draw.Choice(2) == 1 ? [draw.Normal([rows, n])] : [];
                return new Case(new NormLinear(Epsilon, residual.Length > 0), [draw.Normal([rows, k]), draw.Normal([k]), draw.Normal([n, k], 1 / Math.Sqrt(k)), .. residual]);
            },
            new Misuse(new NormLinear(Epsilon, false), "as long as a row", F32([2, 3]), F32([2]), F32([4, 3])),
            new Misuse(new NormLinear(Epsilon, false), "must be [N, K]", F32([2, 3]), F32([3]), F32([3, 4])),
            new Misuse(new NormLinear(Epsilon, true), "the residual must be", F32([2, 3]), F32([3]), F32([4, 3]), F32([2, 3])))
        with
        {
            Benchmark = draw => new Case(new NormLinear(Epsilon, true), draw.Normal([1, 1536]), draw.Normal([1536]), draw.Normal([768, 1536], 0.02), draw.Normal([1, 768])),
        },
        Row<NormLinearArgMax>(
            draw =>
            {
                int rows = draw.Choice(6) + 1, k = draw.Choice(2) == 0 ? draw.Extent() : 4 * draw.Extent(64), n = draw.Extent(70);
                return new Case(new NormLinearArgMax(Epsilon), [draw.Normal([rows, k]), draw.Normal([k]), draw.Normal([n, k], 1 / Math.Sqrt(k))]);
            },
            new Misuse(new NormLinearArgMax(Epsilon), "takes 3 tensors", F32([2, 3])))
        with
        {
            Benchmark = draw => new Case(new NormLinearArgMax(Epsilon), draw.Normal([1, 768]), draw.Normal([768]), draw.Normal([50288, 768], 0.04)),
        },
        Row<GatedRmsNormGradient>(
            draw =>
            {
                (Shape shape, int groups, bool before) = GatedRows(draw);
                return new Case(
                    new GatedRmsNormGradient(Epsilon, groups, before), draw.Normal(shape), draw.Normal(shape, 2), draw.Normal([shape.Columns]), draw.Normal(shape));
            },
            new Misuse(new GatedRmsNormGradient(Epsilon, 1, false), "shape of x", F32([2, 3]), F32([2, 3]), F32([3]), F32([3])),
            new Misuse(new GatedRmsNormGradient(Epsilon, 0, false), "0 equal groups", F32([2, 3]), F32([2, 3]), F32([3]), F32([2, 3])))
        with
        {
            IsDifferentiable = false,
            Benchmark = draw => new Case(
                new GatedRmsNormGradient(Epsilon, 1, false), draw.Normal([2048, 1536]), draw.Normal([2048, 1536]), draw.Normal([1536]), draw.Normal([2048, 1536])),
        },
    ];

    private static (Shape Shape, int Groups, bool Before) GatedRows(Draw draw)
    {
        int groups = draw.OneOf(1, 2, 3, 8), width = draw.Extent(300 / groups), rows = draw.Extent(4096 / (groups * width));
        return ([rows, groups * width], groups, draw.Choice(2) == 1);
    }
}
