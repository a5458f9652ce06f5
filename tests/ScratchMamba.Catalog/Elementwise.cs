using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Elementwise =>
    [
        Binary<Add>(new Add()),
        Binary<Subtract>(new Subtract()),
        Binary<Multiply>(new Multiply()),
        Binary<Divide>(new Divide(), right: (draw, shape) => draw.Uniform(shape, 0.5, 2)),
        Binary<Greater>(new Greater(), OffGrid, OnGrid),
        Binary<GreaterOrEqual>(new GreaterOrEqual(), OffGrid, OnGrid),
        Binary<Equal>(new Equal(), OffGrid, OnGrid),
        Row<Where>(
            draw =>
            {
                Shape shape = draw.Shape();
                return new Case(new Where(), draw.Integers(shape, 0, 2), draw.Normal(shape), draw.Normal(shape));
            },
            new Misuse(new Where(), "one shape", F32([2, 3]), F32([2, 3]), F32([3])),
            new Misuse(new Where(), "one floating-point type", F32([2]), F32([2]), I32([2])),
            new Misuse(new Where(), "the condition must be", new TensorType(DType.F64, [2]), F32([2]), F32([2]))),
        Unary<Affine>(draw => new Case(new Affine(-1.5, 0.25), draw.Normal(draw.Shape()))),
        Unary<Exp>(draw => new Case(new Exp(), draw.Normal(draw.Shape()))),
        Unary<Log>(draw => new Case(new Log(), draw.Uniform(draw.Shape(), 0.1, 4))),
        Unary<Square>(draw => new Case(new Square(), draw.Normal(draw.Shape()))),
        Unary<ReciprocalSqrt>(draw => new Case(new ReciprocalSqrt(), draw.Uniform(draw.Shape(), 0.2, 4))),
        Unary<Sigmoid>(draw => new Case(new Sigmoid(), draw.Normal(draw.Shape(), 3))) with { Benchmark = Large(new Sigmoid()) },
        Unary<Silu>(draw => new Case(new Silu(), draw.Normal(draw.Shape(), 3))) with { Benchmark = Large(new Silu()) },
        Row<SiluGradient>(
            draw =>
            {
                Shape shape = draw.Shape();
                return new Case(new SiluGradient(), draw.Normal(shape), draw.Normal(shape, 3));
            },
            new Misuse(new SiluGradient(), "one shape", F32([2, 3]), F32([3])),
            new Misuse(new SiluGradient(), "floating-point", F32([2]), I32([2]))) with { IsDifferentiable = false, Benchmark = Large(new SiluGradient(), 2) },
        Unary<Softplus>(draw => new Case(new Softplus(), draw.Normal(draw.Shape(), 3))) with { Benchmark = Large(new Softplus()) },
        Unary<Tanh>(draw => new Case(new Tanh(), draw.Normal(draw.Shape()))),
        // No value is near a bound, where the derivative jumps.
        Unary<Clamp>(draw => new Case(new Clamp(-0.5, 0.5), OnGrid(draw, draw.Shape()))) with
        {
            Misuses = [new Misuse(new Clamp(1, 0), "must not exceed", F32([3])), new Misuse(new Clamp(0, 1), "floating-point", I32([3]))],
        },
        Row<Cast>(
            // Floating-point numbers to F64 only: finite differences do not survive a rounding to F32.
            draw => draw.Choice(3) == 2
                ? new Case(new Cast(draw.OneOf(DType.F32, DType.F64)), draw.Integers(draw.Shape(), -100, 100))
                : new Case(new Cast(DType.F64), draw.Normal(draw.Shape())),
            new Misuse(new Cast(DType.I32), "not I32", F32([3])),
            new Misuse(new Cast(DType.F16), "only F32 is cast", I32([3]))),
    ];

    private static Func<Draw, Case> Large(IPrimitive operation, int inputs = 1) => draw =>
        new Case(operation, [.. Enumerable.Range(0, inputs).Select(_ => draw.Normal([2048, 1536], 2))]);

    /// <summary>Values within 0.2 of an integer: never close to one <see cref="OffGrid"/>, so that comparisons are locally constant.</summary>
    private static Input OnGrid(Draw draw, Shape shape) => draw.Values(shape, random => random.Next(-2, 3) + 0.4 * (random.NextDouble() - 0.5));

    /// <summary>Values within 0.2 of half an odd integer.</summary>
    private static Input OffGrid(Draw draw, Shape shape) => draw.Values(shape, random => random.Next(-2, 3) + 0.5 + 0.4 * (random.NextDouble() - 0.5));

    private static Row Unary<TOperation>(Func<Draw, Case> make) where TOperation : struct, IPrimitive =>
        Row<TOperation>(make, new Misuse(default(TOperation), "floating-point", I32([3])));

    private static Row Binary<TOperation>(TOperation operation, Func<Draw, Shape, Input>? left = null, Func<Draw, Shape, Input>? right = null)
        where TOperation : struct, IPrimitive =>
        Row<TOperation>(
            draw =>
            {
                (Shape x, Shape y) = BroadcastPair(draw);
                return new Case(operation, left?.Invoke(draw, x) ?? draw.Normal(x), right?.Invoke(draw, y) ?? draw.Normal(y));
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
