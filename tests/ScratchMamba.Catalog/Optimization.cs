using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Optimization =>
    [
        Row<AdamW>(
            draw => Step(draw, draw.Shape(), draw.OneOf(0.1, 0), draw.OneOf(0.5, 0)),
            new Misuse(new AdamW(), "one shape", F32([2, 3]), F32([3, 2]), F32([2, 3]), F32([2, 3]), F32([4])),
            new Misuse(new AdamW(), "four numbers", F32([2]), F32([2]), F32([2]), F32([2]), F32([3])),
            new Misuse(new AdamW(), "floating-point", F32([2]), I32([2]), F32([2]), F32([2]), F32([4])))
        with
        {
            IsDifferentiable = false,
            Benchmark = draw => Step(draw, [1024, 4096], 0.1, 0.5),
        },
        Row<ClipByGlobalNorm>(
            draw => new Case(
                new ClipByGlobalNorm(draw.OneOf(0.1, 10, double.PositiveInfinity)), new Input([4], new AdamW().Settings(3, 1e-2, draw.OneOf(1, 0.125))),
                draw.Uniform([draw.Extent(600)], 0, 1), draw.Normal(draw.Shape())),
            new Misuse(new ClipByGlobalNorm(1), "four numbers", F32([3]), F32([2]), F32([1])),
            new Misuse(new ClipByGlobalNorm(1), "a vector", F32([4]), F32([2, 2]), F32([1])),
            new Misuse(new ClipByGlobalNorm(1), "floating-point", F32([4]), I32([2]), F32([1])))
        with
        {
            IsDifferentiable = false,
        },
    ];

    private static Case Step(Draw draw, Shape shape, double weightDecay, double scale)
    {
        var step = new AdamW(WeightDecay: weightDecay);
        return new Case(
            step, draw.Normal(shape), draw.Normal(shape), draw.Normal(shape, 0.1), draw.Uniform(shape, 0, 0.1), new Input([4], step.Settings(3, 1e-2, scale)));
    }
}
