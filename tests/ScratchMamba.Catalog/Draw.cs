using ScratchMamba.Tensors;

namespace ScratchMamba.Catalog;

/// <summary>
/// Draws the free choices of a test case. Extents come from a list of numbers, so that a property test can shrink them;
/// values come from a seed. The same list and seed always give the same case.
/// </summary>
public sealed class Draw(IReadOnlyList<int> choices, int seed)
{
    // Both sides of every lane width and workgroup size.
    private static readonly int[] Extents = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 255, 256, 257, 300];

    private readonly Random random = new(seed);
    private int used;

    /// <summary>A number in [0, <paramref name="count"/>); smaller numbers stand for simpler cases.</summary>
    public int Choice(int count) => (int)((uint)(used < choices.Count ? choices[used++] : 0) % (uint)count);

    /// <summary>One of several values, the simplest first.</summary>
    public T OneOf<T>(params ReadOnlySpan<T> values) => values[Choice(values.Length)];

    /// <summary>An extent from the list of critical ones, no larger than <paramref name="largest"/>.</summary>
    public int Extent(int largest = 300)
    {
        int count = Array.FindLastIndex(Extents, extent => extent <= largest) + 1;
        return Extents[Choice(count)];
    }

    /// <summary>A shape of up to <paramref name="maxRank"/> axes and about <paramref name="maxCount"/> elements at most.</summary>
    public Shape Shape(int minRank = 0, int maxRank = 4, int maxCount = 4096)
    {
        int rank = minRank + Choice(maxRank - minRank + 1);
        var extents = new int[rank];
        int left = maxCount;
        for (int i = rank - 1; i >= 0; i--)
        {
            extents[i] = Extent(Math.Max(1, Math.Min(300, left)));
            left = Math.Max(1, left / extents[i]);
        }
        return new Shape(extents);
    }

    /// <summary>Normal values with standard deviation <paramref name="scale"/>.</summary>
    public Input Normal(Shape shape, double scale = 1) => Values(shape, () =>
        scale * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));

    /// <summary>Uniform values.</summary>
    public Input Uniform(Shape shape, double low, double high) => Values(shape, () => low + (high - low) * random.NextDouble());

    /// <summary>Values from an enumeration of the caller's, given the source of randomness.</summary>
    public Input Values(Shape shape, Func<Random, double> next) => Values(shape, () => next(random));

    /// <summary>Integers in [<paramref name="low"/>, <paramref name="high"/>).</summary>
    public Input Integers(Shape shape, int low, int high) => Values(shape, () => random.Next(low, high)) with { IsInteger = true };

    private static Input Values(Shape shape, Func<double> next)
    {
        var values = new double[shape.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = next();
        return new Input(shape, values);
    }
}

/// <summary>One input of a test case, in the precision of the oracle.</summary>
/// <param name="Shape">Its shape.</param>
/// <param name="Values">Its elements.</param>
public sealed record Input(Shape Shape, double[] Values)
{
    /// <summary>Whether the input is an I32 tensor, which carries no gradient.</summary>
    public bool IsInteger { get; init; }

    /// <summary>The tensor on a backend, rounded to <paramref name="type"/> unless it is one of integers.</summary>
    public Tensor On(Backend backend, DType type) => backend.Tensor(TypeIn(type), Values);

    /// <summary>Its type where floating-point inputs have <paramref name="type"/>.</summary>
    public TensorType TypeIn(DType type) => new(IsInteger ? DType.I32 : type, Shape);
}
