using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Elementwise =>
    [
        Binary<Add>(new Add()),
        Binary<Multiply>(new Multiply()),
        Unary<Affine>(draw => new Case(new Affine(-1.5, 0.25), draw.Normal(draw.Shape()))),
        Unary<Exp>(draw => new Case(new Exp(), draw.Normal(draw.Shape()))),
    ];

    private static Row Unary<TOperation>(Func<Draw, Case> make) where TOperation : struct, IPrimitive =>
        Row<TOperation>(make, new Misuse(default(TOperation), "floating-point", I32([3])));

    private static Row Binary<TOperation>(TOperation operation) where TOperation : struct, IPrimitive =>
        Row<TOperation>(
            draw =>
            {
                (Shape left, Shape right) = BroadcastPair(draw);
                return new Case(operation, draw.Normal(left), draw.Normal(right));
            },
            new Misuse(operation, "broadcast", F32([2, 3]), F32([4])),
            new Misuse(operation, "floating-point", F32([2]), I32([2])));

    /// <summary>Two shapes that broadcast, in either order.</summary>
    private static (Shape Left, Shape Right) BroadcastPair(Draw draw)
    {
        (Shape full, Shape part) = FullAndPart(draw);
        return draw.Choice(2) == 0 ? (full, part) : (part, full);
    }

    /// <summary>A shape, and one that broadcasts to it: extents are replaced by 1, and leading axes dropped.</summary>
    private static (Shape Full, Shape Part) FullAndPart(Draw draw)
    {
        Shape full = draw.Shape();
        int[] part = full.ToArray();
        for (int i = 0; i < part.Length; i++)
        {
            if (draw.Choice(3) == 1)
                part[i] = 1;
        }
        return (full, new Shape(part.AsSpan(draw.Choice(part.Length + 1))));
    }
}
