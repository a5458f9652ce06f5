namespace ScratchMamba.Tensors.Backends;

/// <summary>
/// Runs every operation on two backends from the same inputs and throws at the first whose outputs differ, naming it.
/// The reference's values are what the next operation starts from, so an error never spreads.
/// </summary>
/// <param name="reference">The trusted backend.</param>
/// <param name="tested">The backend in question.</param>
/// <param name="tolerance">The largest ‖tested − reference‖ / max(‖reference‖, 1) that passes.</param>
public sealed class LockstepBackend(Backend reference, Backend tested, double tolerance = 1e-5) : Backend
{
    private const double OfRounding = 4e-3;

    /// <inheritdoc/>
    public override string Name => $"{reference.Name} in lockstep with {tested.Name}";

    /// <summary>The largest error seen, by operation.</summary>
    public IReadOnlyDictionary<string, double> Errors => errors;

    private readonly SortedDictionary<string, double> errors = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public override Storage Allocate(TensorType type) => Pair(reference.Allocate(type), tested.Allocate(type));

    /// <inheritdoc/>
    protected internal override Storage Promise(TensorType type) => Pair(reference.Promise(type), tested.Promise(type));

    /// <inheritdoc/>
    public override void Release(Storage storage)
    {
        var pair = (PairStorage)storage;
        reference.Release(pair.Reference);
        tested.Release(pair.Tested);
    }

    /// <inheritdoc/>
    public override void Write(Storage storage, ReadOnlySpan<byte> data)
    {
        var pair = (PairStorage)storage;
        reference.Write(pair.Reference, data);
        tested.Write(pair.Tested, data);
    }

    /// <inheritdoc/>
    public override void Read(Storage storage, Span<byte> data) => reference.Read(((PairStorage)storage).Reference, data);

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        Tensor[] referenceOutputs = Side(call.Outputs, pair => pair.Reference);
        Tensor[] testedOutputs = Side(call.Outputs, pair => pair.Tested);
        // First the tested side: an operation in place would otherwise have changed what the comparison starts from.
        tested.Execute(new Call(call.Operation, Side(call.Inputs, pair => pair.Tested), testedOutputs));
        reference.Execute(new Call(call.Operation, Side(call.Inputs, pair => pair.Reference), referenceOutputs));
        for (int i = 0; i < referenceOutputs.Length; i++)
            Compare(call, i, referenceOutputs[i], testedOutputs[i]);
    }

    /// <inheritdoc/>
    public override void Finish()
    {
        tested.Finish();
        reference.Finish();
    }

    /// <inheritdoc/>
    public override void Trim()
    {
        tested.Trim();
        reference.Trim();
    }

    /// <summary>Disposes both backends.</summary>
    public override void Dispose()
    {
        reference.Dispose();
        tested.Dispose();
    }

    private PairStorage Pair(Storage first, Storage second)
    {
        (first.Backend, second.Backend) = (reference, tested);
        return new PairStorage(first, second);
    }

    private static Tensor[] Side(ReadOnlySpan<Tensor> tensors, Func<PairStorage, Storage> side)
    {
        var result = new Tensor[tensors.Length];
        for (int i = 0; i < result.Length; i++)
            result[i] = new Tensor(tensors[i].Type, side((PairStorage)tensors[i].Storage));
        return result;
    }

    private void Compare(Call call, int index, Tensor expected, Tensor actual)
    {
        double[] a = actual.ToDoubles(), b = expected.ToDoubles();
        // Of 16 bits a number may be rounded one way here and the other way there.
        double error = RelativeError.Of(a, b), allowed = expected.DType.IsNarrow() ? Math.Max(tolerance, OfRounding) : tolerance;
        string name = call.Operation.Name;
        errors[name] = Math.Max(errors.GetValueOrDefault(name), error);
        if (!(error <= allowed))
        {
            throw new NumericalException(
                $"{name}: output {index}, {expected.Type}, differs between {reference.Name} and {tested.Name} by {error:g3} (allowed {allowed:g3}); "
                + $"inputs {string.Join(", ", Tensor.TypesOf(call.Inputs))}.");
        }
        if (error > 0)
        {
            var bytes = new byte[expected.Type.Bytes];
            reference.Read(expected.Storage, bytes);
            tested.Write(actual.Storage, bytes);
        }
    }

    private sealed class PairStorage(Storage reference, Storage tested) : Storage(reference.Bytes)
    {
        public Storage Reference => reference;

        public Storage Tested => tested;

        protected internal override void Place(Storage whole, long offset)
        {
            var pair = (PairStorage)whole;
            reference.Place(pair.Reference, offset);
            tested.Place(pair.Tested, offset);
        }
    }
}
