using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Loss =>
    [
        Row<CrossEntropy>(
            draw =>
            {
                (Input logits, Input labels) = Classification(draw);
                return new Case(new CrossEntropy(), logits, labels);
            },
            new Misuse(new CrossEntropy(), "one label for each row", F32([2, 3]), I32([3])),
            new Misuse(new CrossEntropy(), "at least one class", F32([2, 0]), I32([2])),
            new Misuse(new CrossEntropy(), "labels must be I32", F32([2, 3]), F32([2])),
            new Misuse(new CrossEntropy(), "floating-point", I32([2, 3]), I32([2])))
        with
        {
            Benchmark = draw => new Case(new CrossEntropy(), draw.Normal([256, 50_280], 3), draw.Integers([256], 0, 50_280)),
        },
        Row<CrossEntropyGradient>(
            draw =>
            {
                (Input logits, Input labels) = Classification(draw);
                return new Case(new CrossEntropyGradient(), logits, labels, draw.Uniform(labels.Shape, 4, 8), draw.Normal(labels.Shape));
            },
            new Misuse(new CrossEntropyGradient(), "one label for each row", F32([2, 3]), I32([3]), F32([3]), F32([3])),
            new Misuse(new CrossEntropyGradient(), "one logarithm and one gradient", F32([2, 3]), I32([2]), F32([2]), F32([3])))
        with
        {
            IsDifferentiable = false,
            Benchmark = draw => new Case(
                new CrossEntropyGradient(), draw.Normal([256, 50_280], 3), draw.Integers([256], 0, 50_280), draw.Uniform([256], 15, 16), draw.Normal([256])),
        },
    ];

    /// <summary>Logits, and labels of which some are negative.</summary>
    private static (Input Logits, Input Labels) Classification(Draw draw)
    {
        Shape logits = draw.Shape(minRank: 1);
        // Rows of whole packs of eight are read by packs.
        if (draw.OneOf(false, true))
            logits = logits.With(logits.Rank - 1, 8 * logits.Columns);
        return (draw.Normal(logits, 2), draw.Integers(logits.Without(logits.Rank - 1), -1 - logits.Columns / 4, logits.Columns));
    }
}
