using ScratchMamba.Tensors;

namespace ScratchMamba.Modules;

/// <summary>
/// Makes parameters with random initial values. Values are drawn on the host by a counter-based generator, one stream for each parameter in the order of their making:
/// so a seed gives the same model on every backend. Without a seed all is zero, for parameters that are about to be read from a file, or only counted.
/// </summary>
public sealed class Initializer(Backend backend, DType type, ulong? seed)
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
        var whole = new TensorType(type, shape);
        if (seed is null)
            return new Parameter(backend.Zeros(whole), decays);
        var random = new Philox(seed.Value, stream++);
        var values = new double[whole.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = next(random);
        return new Parameter(backend.Tensor(whole, values), decays);
    }
}
