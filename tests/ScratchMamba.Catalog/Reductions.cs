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
    ];
}
