using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Optimization =>
    [
        Row<AdamW>(
            draw => Step(draw, draw.Shape(), draw.OneOf(0.1, 0)),
            new Misuse(new AdamW(), "one shape", F32([2, 3]), F32([3, 2]), F32([2, 3]), F32([2, 3]), F32([4])),
            new Misuse(new AdamW(), "four numbers", F32([2]), F32([2]), F32([2]), F32([2]), F32([3])),
            new Misuse(new AdamW(), "floating-point", F32([2]), I32([2]), F32([2]), F32([2]), F32([4])))
        with
        {
            IsDifferentiable = false,
            Benchmark = draw => Step(draw, [1024, 4096], 0.1),
        },
    ];

    private static Case Step(Draw draw, Shape shape, double weightDecay)
    {
        var step = new AdamW(WeightDecay: weightDecay);
        return new Case(
            step, draw.Normal(shape), draw.Normal(shape), draw.Normal(shape, 0.1), draw.Uniform(shape, 0, 0.1), new Input([4], step.Settings(3, 1e-2, 0.5)));
    }
}
