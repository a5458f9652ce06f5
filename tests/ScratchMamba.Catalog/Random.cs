using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Random =>
    [
        Row<Uniform>(
            draw => new Case(new Uniform(new TensorType(draw.OneOf(DType.F32, DType.F64), draw.Shape()), (ulong)draw.Choice(1000), (ulong)draw.Choice(1000))),
            new Misuse(new Uniform(F32([2]), 1, 0), "takes 0 tensors", F32([2])),
            new Misuse(new Uniform(I32([2]), 1, 0), "floating-point")) with
        {
            IsDifferentiable = false,
            Benchmark = _ => new Case(new Uniform(F32([2048, 1536]), 1, 0)),
        },
    ];
}
