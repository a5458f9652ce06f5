using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Contractions =>
    [
        Row<MatMul>(
            draw =>
            {
                int m = draw.Extent(), n = draw.Extent(Math.Min(300, 20_000 / m)), k = draw.Extent(Math.Min(300, 200_000 / (m * n)));
                Shape leading = draw.OneOf<Shape>([], [1], [3], [2, 2]);
                bool transposeA = draw.Choice(2) == 1, transposeB = draw.Choice(2) == 1;
                int shared = draw.Choice(3);
                Shape a = transposeA ? [k, m] : [m, k], b = transposeB ? [n, k] : [k, n];
                Shape[] added = draw.OneOf<Shape[]>([], [[.. leading, m, n]], [[n]]);
                return new Case(
                    new MatMul(transposeA, transposeB, HasAddend: added.Length > 0),
                    [draw.Normal(shared == 1 ? a : [.. leading, .. a]), draw.Normal(shared == 2 ? b : [.. leading, .. b], 1 / Math.Sqrt(k)), .. added.Select(shape => draw.Normal(shape))]);
            },
            new Misuse(new MatMul(false, false), "inner extents", F32([2, 3]), F32([2, 3])),
            new Misuse(new MatMul(true, true), "inner extents", F32([2, 3]), F32([2, 3])),
            new Misuse(new MatMul(false, false), "at least two axes", F32([2, 3]), F32([3])),
            new Misuse(new MatMul(false, false), "leading axes", F32([2, 2, 3]), F32([3, 3, 2])),
            new Misuse(new MatMul(false, false), "floating-point", F32([2, 3]), I32([3, 2])),
            new Misuse(new MatMul(false, false, HasAddend: true), "a row of it", F32([2, 3]), F32([3, 4]), F32([2, 3])),
            new Misuse(new MatMul(false, false), "transposed matrix", F32([2, 3]), new TensorType(DType.BF16, [3, 2])))
        with
        {
            Benchmark = draw => new Case(new MatMul(false, true), draw.Normal([1024, 1024]), draw.Normal([1024, 1024], 1.0 / 32)),
        },
    ];
}
