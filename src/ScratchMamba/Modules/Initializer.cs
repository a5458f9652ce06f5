using ScratchMamba.Tensors;

namespace ScratchMamba.Modules;

/// <summary>
/// Makes parameters with random initial values. Values are drawn on the host by a counter-based generator, one stream for each parameter in the order of their making:
/// so a seed gives the same model on every backend. Without a seed all is zero, for parameters that are about to be read from a file, or only counted.
/// </summary>
/// <param name="backend">Where they live.</param>
/// <param name="type">The element type of the parameters.</param>
/// <param name="seed">The seed; null for zeros.</param>
/// <param name="matrices">The element type of those with two axes, where it is another: of fewer bits, for inference.</param>
public sealed class Initializer(Backend backend, DType type, ulong? seed, DType? matrices = null)
{
    private ulong stream;

    /// <summary>The backend that parameters are made on.</summary>
    public Backend Backend => backend;

    /// <summary>The element type of the parameters.</summary>
    public DType DType => type;

    /// <summary>Every element the same.</summary>
    public Parameter Constant(Shape shape, double value, bool decays) => Make(shape, _ => value, decays);

    /// <summary>Uniform on [−bound, bound).</summary>
    public Parameter Uniform(Shape shape, double bound, bool decays) => Make(shape, random => bound * (2 * random.NextDouble() - 1), decays);

    /// <summary>Normal with mean 0.</summary>
    public Parameter Normal(Shape shape, double deviation, bool decays) => Make(shape, random => deviation * random.NextNormal(), decays);

    /// <summary>Elements drawn by a function of the generator.</summary>
    public Parameter Make(Shape shape, Func<Philox, double> next, bool decays)
    {
        // Rows that are no whole blocks stay as they are.
        bool isNarrow = matrices is { } held && shape.Rank == 2 && (!held.IsQuantized() || shape[1] % QuantizedBlocks.Length == 0);
        var whole = new TensorType(isNarrow ? matrices!.Value : type, shape);
        if (seed is null)
            return new Parameter(backend.Zeros(whole), decays);
        var random = new Philox(seed.Value, stream++);
        var values = new double[whole.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = next(random);
        return new Parameter(backend.Tensor(whole, values), decays);
    }
}
