using ScratchMamba.Tensors;

namespace ScratchMamba.Catalog;

/// <summary>One example of an operation: what it is, with its attributes, and what it is given.</summary>
public sealed record Case(IPrimitive Operation, params Input[] Inputs)
{
    /// <summary>Names the operation and the shapes, for messages.</summary>
    public override string ToString() => $"{Operation} of {string.Join(", ", Inputs.Select(input => input.Shape))}";
}

/// <summary>
/// All that the properties, the benchmarks and the documentation need to know of one operation. Adding an operation means adding one row.
/// </summary>
/// <param name="Operation">The operation's type.</param>
/// <param name="Make">Draws an example.</param>
public sealed record Row(Type Operation, Func<Draw, Case> Make)
{
    /// <summary>The name in test output.</summary>
    public string Name => Operation.Name;

    /// <summary>Inputs that break the operation's rule, and a part of the rule's words. Every operation with a rule has at least one.</summary>
    public IReadOnlyList<Misuse> Misuses { get; init; } = [];

    /// <summary>Whether the operation has a derivative. Where it has not, asking for one must throw.</summary>
    public bool IsDifferentiable { get; init; } = true;

    /// <summary>
    /// The largest error against float64 that float32 may have, as ‖a−b‖ / max(‖b‖, 1); a value above 1e-5 comes with the observed error in a comment.
    /// </summary>
    public double Tolerance { get; init; } = 1e-5;

    /// <summary>An example of the size that matters for speed.</summary>
    public Func<Draw, Case>? Benchmark { get; init; }
}

/// <summary>A wrong use of an operation: what it is given, and words that the error must contain.</summary>
public sealed record Misuse(IPrimitive Operation, string Rule, params TensorType[] Inputs);

/// <summary>The catalogue: one row for each operation.</summary>
public static partial class Catalog
{
    /// <summary>All rows.</summary>
    public static IReadOnlyList<Row> Rows { get; } =
    [
        .. Elementwise, .. Reductions, .. Movement, .. Contractions, .. Indexing, .. Random, .. Normalization, .. Convolution, .. Scan, .. Loss, .. Optimization,
    ];

    private static TensorType F32(Shape shape) => new(DType.F32, shape);

    private static TensorType I32(Shape shape) => new(DType.I32, shape);

    private static Row Row<TOperation>(Func<Draw, Case> make, params Misuse[] misuses) where TOperation : struct, IPrimitive =>
        new(typeof(TOperation), make) { Misuses = misuses };
}
