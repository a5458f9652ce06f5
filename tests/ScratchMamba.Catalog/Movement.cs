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
    ];
}
