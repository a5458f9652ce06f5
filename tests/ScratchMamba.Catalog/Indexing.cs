using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Indexing =>
    [
        Row<Gather>(
            draw =>
            {
                int rows = draw.Extent(64);
                return new Case(new Gather(), draw.Normal([rows, .. draw.Shape(maxRank: 2, maxCount: 300).AsSpan()]), draw.Integers(draw.Shape(maxRank: 2, maxCount: 300), 0, rows));
            },
            new Misuse(new Gather(), "indices must be I32", F32([2, 3]), F32([4])),
            new Misuse(new Gather(), "at least one axis", F32([]), I32([4]))) with
        {
            Benchmark = draw => new Case(new Gather(), draw.Normal([50280, 768]), draw.Integers([8, 512], 0, 50280)),
        },
        Row<ScatterAdd>(
            draw =>
            {
                int rows = draw.Extent(64);
                Shape shape = draw.Shape(maxRank: 2, maxCount: 300);
                return new Case(
                    new ScatterAdd(rows), draw.Normal([.. shape.AsSpan(), .. draw.Shape(maxRank: 2, maxCount: 300).AsSpan()]), draw.Integers(shape, 0, rows));
            },
            new Misuse(new ScatterAdd(5), "indices must be I32", F32([4, 3]), F32([4])),
            new Misuse(new ScatterAdd(5), "must begin with", F32([3, 4]), I32([4])),
            new Misuse(new ScatterAdd(5), "must be floating-point", I32([4, 4]), I32([4])),
            new Misuse(new ScatterAdd(-1), "must not be negative", F32([4, 4]), I32([4]))) with
        {
            Benchmark = draw => new Case(new ScatterAdd(50280), draw.Normal([8, 512, 768]), draw.Integers([8, 512], 0, 50280)),
        },
    ];
}
