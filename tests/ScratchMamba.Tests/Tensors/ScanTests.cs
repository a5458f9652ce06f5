using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class ScanTests : IDisposable
{
    private readonly CpuBackend backend = new();

    public void Dispose() => backend.Dispose();

    /// <summary>Lengths around the chunk, groups of one, some and all heads, D of both kinds, with and without initial state and sequence.</summary>
    public static TheoryData<int, int, int, int, int, int, int, bool, bool> Cases => new()
    {
        // L, H, P, G, N, Q, rank of D, initial, sequence
        { 1, 1, 1, 1, 1, 64, 0, false, false },
        { 1, 2, 3, 1, 5, 1, 1, true, true },
        { 7, 2, 8, 2, 8, 64, 2, true, false },
        { 16, 4, 5, 1, 7, 16, 1, false, true },
        { 17, 4, 16, 2, 3, 16, 2, true, true },
        { 33, 4, 3, 4, 16, 8, 0, true, false },
        { 70, 2, 9, 1, 17, 64, 1, true, true },
        { 130, 12, 32, 1, 24, 64, 2, true, true },
        { 150, 1, 4, 1, 4, 7, 1, true, true },
    };

    [Theory, MemberData(nameof(Cases))]
    public void ScanIsTheRecurrence(int l, int h, int p, int g, int n, int chunk, int skip, bool initial, bool sequence)
    {
        ScanOracle oracle = Example(l, h, p, g, n, skip, initial, sequence);
        (double[] y, double[] final) = oracle.Run();
        foreach ((DType type, double tolerance) in new[] { (DType.F64, 1e-13), (DType.F32, 1e-6) })
        {
            Inputs inputs = Inputs.Of(oracle, backend, type);
            (Tensor actual, Tensor actualFinal) = inputs.Scan(chunk);
            AssertClose(y, actual, tolerance);
            AssertClose(final, actualFinal, tolerance);
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void StepsAreTheRecurrence(int l, int h, int p, int g, int n, int chunk, int skip, bool initial, bool sequence)
    {
        _ = (chunk, sequence);
        ScanOracle oracle = Example(l, h, p, g, n, skip, initial, sequence: false);
        (double[] y, double[] final) = oracle.Run();
        Inputs inputs = Inputs.Of(oracle, backend, DType.F64);
        Tensor state = inputs.Initial ?? backend.Zeros(new TensorType(DType.F64, [2, h, p, n]));
        var rows = new List<Tensor>();
        for (int t = 0; t < l; t++)
        {
            (Tensor row, state) = At(inputs.X, t).StateSpaceStep(At(inputs.Dt, t), inputs.A, At(inputs.B, t), At(inputs.C, t), state, inputs.D);
            rows.Add(row.Reshape([2, 1, h, p]));
        }
        AssertClose(y, TensorOperations.Concatenate(1, [.. rows]), 1e-13);
        AssertClose(final, state, 1e-13);
    }

    [Fact]
    public void AStepMayOverwriteItsState()
    {
        Inputs inputs = Inputs.Of(Example(1, 4, 9, 2, 17, 1, initial: true, sequence: false), backend, DType.F32);
        Tensor[] step = [At(inputs.X, 0), At(inputs.Dt, 0), inputs.A, At(inputs.B, 0), At(inputs.C, 0), inputs.Initial!, inputs.D!];
        Tensor[] expected = Tensor.ApplyAll(new StateSpaceStep(true), step);
        Tensor y = backend.Zeros(expected[0].Type);
        Tensor.Overwrite(new StateSpaceStep(true), step, y, inputs.Initial!);
        Assert.Equal(expected[0].ToDoubles(), y.ToDoubles());
        Assert.Equal(expected[1].ToDoubles(), inputs.Initial!.ToDoubles());
    }

    [Theory, MemberData(nameof(Cases))]
    public void GradientsAgreeWithFiniteDifferencesOfTheRecurrence(int l, int h, int p, int g, int n, int chunk, int skip, bool initial, bool sequence)
    {
        ScanOracle oracle = Example(l, h, p, g, n, skip, initial, sequence);
        var random = new Random(5);
        double[] dy = Normal(random, oracle.X.Length), dfinal = Normal(random, 2 * h * p * n);
        Inputs inputs = Inputs.Of(oracle, backend, DType.F64).Tracked();
        (Tensor y, Tensor final) = inputs.Scan(chunk);
        Gradients gradients = Differentiation.Backward([(y, backend.Tensor<double>(y.Shape, dy)), (final, backend.Tensor<double>(final.Shape, dfinal))]);
        double Objective()
        {
            (double[] values, double[] state) = oracle.Run();
            return Dot(values, dy) + Dot(state, dfinal);
        }
        foreach ((string name, Tensor? tensor, double[]? values) in inputs.With(oracle))
        {
            if (tensor is null)
                continue;
            // One random direction checks all elements at once.
            double[] direction = Normal(random, values!.Length), original = [.. values];
            const double Step = 1e-6;
            double Moved(double by)
            {
                for (int i = 0; i < values.Length; i++)
                    values[i] = original[i] + by * direction[i] * (name == "dt" ? original[i] : 1);
                double result = Objective();
                original.CopyTo(values, 0);
                return result;
            }
            double numeric = (Moved(Step) - Moved(-Step)) / (2 * Step);
            double[] gradient = gradients[tensor].ToDoubles();
            double analytic = gradient.Zip(direction, (a, b) => a * b).Zip(name == "dt" ? original : Enumerable.Repeat(1.0, gradient.Length), (a, b) => a * b).Sum();
            Assert.True(Math.Abs(numeric - analytic) <= 1e-6 * Math.Max(1, Math.Max(Math.Abs(numeric), Math.Abs(Objective()))), $"d{name}: {analytic:r}, not {numeric:r}");
        }
    }

    [Fact]
    public void ChunkSizeDoesNotMatter()
    {
        ScanOracle oracle = Example(100, 4, 8, 2, 9, 2, initial: true, sequence: true);
        double[][]? expected = null;
        foreach (int chunk in new[] { 64, 1, 7, 16, 100, int.MaxValue })
        {
            double[][] actual = ValuesAndGradients(oracle, chunk);
            expected ??= actual;
            for (int i = 0; i < actual.Length; i++)
                Assert.True(RelativeError.Of(actual[i], expected[i]) < 1e-12, $"chunk {chunk}, result {i}");
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(50)]
    [InlineData(64)]
    [InlineData(99)]
    public void SplittingAndCarryingTheStateDoesNotMatter(int split)
    {
        Inputs inputs = Inputs.Of(Example(100, 4, 8, 1, 9, 1, initial: true, sequence: false), backend, DType.F64);
        (Tensor y, Tensor final) = inputs.Scan(64);
        (Tensor first, Tensor state) = inputs.Part(0, split).Scan(64);
        (Tensor second, state) = (inputs.Part(split, 100 - split) with { Initial = state }).Scan(64);
        AssertClose(y.ToDoubles(), TensorOperations.Concatenate(1, first, second), 1e-13);
        AssertClose(final.ToDoubles(), state, 1e-13);
    }

    [Fact]
    public void PackedDocumentsEqualSeparateOnes()
    {
        // Numbers may come back: a document is a run of equal ones.
        int[] lengths = [3, 20, 1, 40, 6], numbers = [7, 2, 7, 2, 9];
        Inputs inputs = Inputs.Of(Example(70, 4, 8, 1, 9, 1, initial: true, sequence: false), backend, DType.F64);
        int[] packed = [.. lengths.SelectMany((length, i) => Enumerable.Repeat(numbers[i], length))];
        Tensor sequence = backend.Tensor<int>([2, 70], [.. packed, .. packed]);
        (Tensor y, Tensor final) = (inputs with { Sequence = sequence }).Scan(16);
        var parts = new List<Tensor>();
        int start = 0;
        Tensor? state = null;
        foreach (int length in lengths)
        {
            (Tensor part, state) = (inputs.Part(start, length) with { Initial = start == 0 ? inputs.Initial : null }).Scan(16);
            parts.Add(part);
            start += length;
        }
        AssertClose(y.ToDoubles(), TensorOperations.Concatenate(1, [.. parts]), 1e-13);
        AssertClose(final.ToDoubles(), state!, 1e-13);
    }

    [Theory]
    [InlineData(1e-3, -1.0)]
    [InlineData(10, -16.0)]
    [InlineData(1e4, -16.0)]
    [InlineData(1e-30, -1e-3)]
    public void ExtremeStepsStayFinite(double dt, double rate)
    {
        ScanOracle oracle = Example(130, 2, 8, 1, 9, 1, initial: true, sequence: false);
        Array.Fill(oracle.Dt, (float)dt);
        // One step of the other kind in between: what was large must not blur what follows.
        for (int i = 0; i < oracle.Dt.Length; i += 11)
            oracle.Dt[i] = (float)(dt < 1 ? 100 : 1e-3);
        Array.Fill(oracle.A, rate);
        double[][] single = ValuesAndGradients(oracle, 64, DType.F32), precise = ValuesAndGradients(oracle, 64, DType.F64);
        for (int i = 0; i < single.Length; i++)
        {
            Assert.All(single[i], value => Assert.True(double.IsFinite(value)));
            Assert.True(RelativeError.Of(single[i], precise[i]) < 1e-5, $"result {i} is off by {RelativeError.Of(single[i], precise[i]):g3}");
        }
    }

    /// <summary>Step sizes over four orders of magnitude within one chunk, as an initialised model may have: float32 must resolve short steps after long ones.</summary>
    [Fact]
    public void SinglePrecisionResolvesShortStepsAfterLongOnes()
    {
        ScanOracle oracle = Example(256, 4, 16, 1, 16, 1, initial: true, sequence: false);
        var random = new Random(3);
        for (int i = 0; i < oracle.Dt.Length; i++)
            oracle.Dt[i] = (float)Math.Exp(Math.Log(1e-3) + random.NextDouble() * Math.Log(1e4));
        double[][] single = ValuesAndGradients(oracle, 64, DType.F32), precise = ValuesAndGradients(oracle, 64, DType.F64);
        for (int i = 0; i < single.Length; i++)
            Assert.True(RelativeError.Of(single[i], precise[i]) < 2e-6, $"result {i} is off by {RelativeError.Of(single[i], precise[i]):g3}");
    }

    [Fact]
    public void AnEmptySequenceKeepsTheState()
    {
        Inputs inputs = Inputs.Of(Example(0, 2, 3, 1, 4, 0, initial: true, sequence: false), backend, DType.F32);
        (Tensor y, Tensor final) = inputs.Scan(64);
        Assert.Equal(0, y.Count);
        Assert.Equal(inputs.Initial!.ToDoubles(), final.ToDoubles());
    }

    private double[][] ValuesAndGradients(ScanOracle oracle, int chunk, DType type = DType.F64)
    {
        using var scope = new Scope();
        Inputs inputs = Inputs.Of(oracle, backend, type).Tracked();
        (Tensor y, Tensor final) = inputs.Scan(chunk);
        var random = new Random(11);
        Gradients gradients = Differentiation.Backward(
            [(y, backend.Tensor(y.Type, Normal(random, (int)y.Count))), (final, backend.Tensor(final.Type, Normal(random, (int)final.Count)))]);
        return [y.ToDoubles(), final.ToDoubles(), .. inputs.With(oracle).Where(input => input.Tensor is not null).Select(input => gradients[input.Tensor!].ToDoubles())];
    }

    private static Tensor At(Tensor x, int t) => x.Slice(1, t, 1).Reshape(x.Shape.Without(1));

    private static void AssertClose(double[] expected, Tensor actual, double tolerance)
    {
        double error = RelativeError.Of(actual.ToDoubles(), expected);
        Assert.True(error <= tolerance, $"off by {error:g3}, allowed {tolerance:g3}");
    }

    private static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();

    private static double[] Normal(Random random, int count)
    {
        var values = new double[count];
        for (int i = 0; i < count; i++)
            values[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        return values;
    }

    /// <summary>Random inputs of two sequences, all exact in float32.</summary>
    private static ScanOracle Example(int l, int h, int p, int g, int n, int skip, bool initial, bool sequence)
    {
        var random = new Random(17);
        return new ScanOracle
        {
            Batch = 2,
            L = l,
            H = h,
            P = p,
            G = g,
            N = n,
            X = Normal(random, 2 * l * h * p),
            Dt = [.. Enumerable.Range(0, 2 * l * h).Select(_ => (double)(float)Math.Exp(Math.Log(1e-3) + random.NextDouble() * Math.Log(1e3)))],
            A = [.. Enumerable.Range(0, h).Select(_ => (double)(float)(-0.1 - 4 * random.NextDouble()))],
            B = Normal(random, 2 * l * g * n),
            C = Normal(random, 2 * l * g * n),
            D = skip switch { 0 => null, 1 => Normal(random, h), _ => Normal(random, h * p) },
            Initial = initial ? Normal(random, 2 * h * p * n) : null,
            Sequence = sequence ? [.. Enumerable.Range(0, 2 * l).Select(_ => random.Next(20) == 0 ? 1 : 0)] : null,
        };
    }

    private sealed record Inputs(Tensor X, Tensor Dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? Initial, Tensor? Sequence)
    {
        public static Inputs Of(ScanOracle o, Backend backend, DType type)
        {
            Tensor On(double[] values, Shape shape) => backend.Tensor(new TensorType(type, shape), values);
            return new Inputs(
                On(o.X, [o.Batch, o.L, o.H, o.P]), On(o.Dt, [o.Batch, o.L, o.H]), On(o.A, [o.H]), On(o.B, [o.Batch, o.L, o.G, o.N]), On(o.C, [o.Batch, o.L, o.G, o.N]),
                o.D is null ? null : On(o.D, o.D.Length == o.H ? [o.H] : [o.H, o.P]),
                o.Initial is null ? null : On(o.Initial, [o.Batch, o.H, o.P, o.N]),
                o.Sequence is null ? null : backend.Tensor<int>([o.Batch, o.L], o.Sequence));
        }

        public Inputs Tracked() => new(X.Track(), Dt.Track(), A.Track(), B.Track(), C.Track(), D?.Track(), Initial?.Track(), Sequence);

        public Inputs Part(int start, int length) =>
            this with { X = X.Slice(1, start, length), Dt = Dt.Slice(1, start, length), B = B.Slice(1, start, length), C = C.Slice(1, start, length) };

        public (Tensor Y, Tensor Final) Scan(int chunk) => X.StateSpaceScan(Dt, A, B, C, D, Initial, Sequence, chunk);

        public IEnumerable<(string Name, Tensor? Tensor, double[]? Values)> With(ScanOracle o) =>
            [("x", X, o.X), ("dt", Dt, o.Dt), ("A", A, o.A), ("B", B, o.B), ("C", C, o.C), ("D", D, o.D), ("initial", Initial, o.Initial)];
    }
}
