using System.Reflection;
using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Tensors;

/// <summary>What must hold for every operation. The rows come from the catalogue.</summary>
public class CatalogProperties
{
    private const int Examples = 20;

    public static TheoryData<string> Rows => [.. Catalog.Catalog.Rows.Select(row => row.Name)];

    [Fact]
    public void EveryOperationHasOneRow()
    {
        IEnumerable<string> operations = typeof(IPrimitive).Assembly.GetTypes()
            .Where(type => type.IsValueType && type.IsAssignableTo(typeof(IPrimitive))).Select(type => type.Name).Order();
        Assert.Equal(operations, Catalog.Catalog.Rows.Select(row => row.Name).Order());
    }

    /// <summary>Automatic differentiation and backends must be able to work with operations that nobody has written yet.</summary>
    [Fact]
    public void BackendsAndAutogradMentionNoOperation()
    {
        Type[] operations = [.. typeof(IPrimitive).Assembly.GetTypes().Where(type => type.IsAssignableTo(typeof(IPrimitive)) && !type.IsInterface)];
        const BindingFlags All = BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        IEnumerable<Type> mentioned =
            from type in typeof(IPrimitive).Assembly.GetTypes()
            where type.Namespace is "ScratchMamba.Tensors.Autograd" or "ScratchMamba.Tensors.Backends"
            from method in type.GetMethods(All).Cast<MethodBase>().Concat(type.GetConstructors(All))
            from used in method.GetParameters().Select(parameter => parameter.ParameterType)
                .Concat(method.GetMethodBody()?.LocalVariables.Select(local => local.LocalType) ?? [])
            select used;
        Assert.Empty(mentioned.Intersect(operations));
    }

    [Theory, MemberData(nameof(Rows))]
    public void SinglePrecisionAgreesWithDouble(string name) => ForAllCases(name, (row, example) =>
    {
        using var cpu = new CpuBackend();
        Input[] rounded = Array.ConvertAll(example.Inputs, input => input with { Values = Array.ConvertAll(input.Values, x => (double)(float)x) });
        Evaluation single = Evaluate(cpu, example.Operation, rounded, DType.F32, row.IsDifferentiable);
        Evaluation precise = Evaluate(cpu, example.Operation, rounded, DType.F64, row.IsDifferentiable);
        AssertClose(precise, single, row.Tolerance);
    });

    [Theory, MemberData(nameof(Rows))]
    public void GradientsAgreeWithFiniteDifferences(string name) => ForAllCases(name, (row, example) =>
    {
        if (!row.IsDifferentiable)
            return;
        const double Step = 1e-5;
        using var cpu = new CpuBackend();
        Evaluation at = Evaluate(cpu, example.Operation, example.Inputs, DType.F64, gradients: true);
        for (int i = 0; i < example.Inputs.Length; i++)
        {
            Input input = example.Inputs[i];
            if (input.IsInteger)
                continue;
            double[] direction = Noise(input.Values.Length, seed: 100 + i);
            double Moved(double sign)
            {
                Input[] moved = [.. example.Inputs];
                moved[i] = input with { Values = [.. input.Values.Zip(direction, (x, v) => x + sign * Step * v)] };
                return Evaluate(cpu, example.Operation, moved, DType.F64, gradients: false).Projection;
            }
            double numeric = (Moved(1) - Moved(-1)) / (2 * Step);
            double analytic = Dot(at.Gradients[i], direction);
            double scale = Math.Max(1, Math.Max(Math.Abs(at.Projection), Math.Abs(numeric)));
            Assert.True(Math.Abs(numeric - analytic) <= 1e-6 * scale, $"input {i}: finite differences give {numeric:r}, the derivative {analytic:r}");
        }
    });

    [Theory, MemberData(nameof(Rows))]
    public void FusedOperationsAgreeWithTheirDefinition(string name) => ForAllCases(name, (row, example) =>
    {
        using var cpu = new CpuBackend();
        if (!HasDefinition(cpu, example))
            return;
        Evaluation fused = Evaluate(cpu, example.Operation, example.Inputs, DType.F64, row.IsDifferentiable);
        Evaluation defined = Evaluate(cpu, example.Operation, example.Inputs, DType.F64, row.IsDifferentiable, byDefinition: true);
        AssertClose(defined, fused, 1e-10);
    });

    [Theory, MemberData(nameof(Rows))]
    public void MisuseNamesTheRuleAndTheShapes(string name)
    {
        Row row = Catalog.Catalog.Rows.Single(row => row.Name == name);
        Assert.NotEmpty(row.Misuses);
        foreach (Misuse misuse in row.Misuses)
        {
            ShapeException error = Assert.Throws<ShapeException>(() => misuse.Operation.Infer(misuse.Inputs));
            Assert.StartsWith(name + ": ", error.Message, StringComparison.Ordinal);
            Assert.Contains(misuse.Rule, error.Message, StringComparison.Ordinal);
        }
    }

    [Theory, MemberData(nameof(Rows))]
    public void NothingIsWrittenOutsideOutputsAndAllOfThemIs(string name) => ForAllCases(name, (row, example) =>
    {
        foreach (DType type in new[] { DType.F32, DType.F64 })
        {
            // Two fillings of fresh memory: an element that is never written would show one of them.
            using var zeros = new GuardedBackend(0);
            using var ones = new GuardedBackend(0xFF);
            Evaluation first = Evaluate(zeros, example.Operation, example.Inputs, type, row.IsDifferentiable);
            AssertSame(first, Evaluate(ones, example.Operation, example.Inputs, type, row.IsDifferentiable));
        }
    });

    [Theory, MemberData(nameof(Rows))]
    public void ScopesReleaseEverything(string name) => ForAllCases(name, (row, example) =>
    {
        using var cpu = new CpuBackend();
        Evaluate(cpu, example.Operation, example.Inputs, DType.F32, row.IsDifferentiable);
        Assert.Equal(0, cpu.LiveCount);
        Assert.Equal(0, cpu.LiveBytes);
    });

    [Theory, MemberData(nameof(Rows))]
    public void ThreadsDoNotChangeABit(string name) => ForAllCases(name, (row, example) =>
    {
        using var one = new CpuBackend(threads: 1);
        Evaluation expected = Evaluate(one, example.Operation, example.Inputs, DType.F32, row.IsDifferentiable);
        foreach (int threads in new[] { 2, 3 })
        {
            using var more = new CpuBackend(threads);
            AssertSame(expected, Evaluate(more, example.Operation, example.Inputs, DType.F32, row.IsDifferentiable));
        }
    });

    [Theory, MemberData(nameof(Rows))]
    public void NarrowLanesAgree(string name) => ForAllCases(name, (row, example) =>
    {
        using var wide = new CpuBackend(vectorBits: 512);
        Evaluation expected = Evaluate(wide, example.Operation, example.Inputs, DType.F32, row.IsDifferentiable);
        foreach (int bits in new[] { 128, 256 })
        {
            using var narrow = new CpuBackend(vectorBits: bits);
            AssertClose(expected, Evaluate(narrow, example.Operation, example.Inputs, DType.F32, row.IsDifferentiable), 2 * row.Tolerance);
        }
    });

    [Theory, MemberData(nameof(Rows))]
    public void LockstepWithItselfFindsNoDifference(string name) => ForAllCases(name, (row, example) =>
    {
        using var lockstep = new LockstepBackend(new CpuBackend(threads: 1), new CpuBackend(threads: 2), tolerance: 0);
        Evaluate(lockstep, example.Operation, example.Inputs, DType.F32, row.IsDifferentiable);
    });

    [Theory, MemberData(nameof(Rows))]
    public void AMissingDerivativeIsNamed(string name) => ForAllCases(name, (row, example) =>
    {
        if (row.IsDifferentiable || example.Inputs.All(input => input.IsInteger))
            return;
        using var cpu = new CpuBackend();
        MissingDerivativeException error = Assert.Throws<MissingDerivativeException>(() => Evaluate(cpu, example.Operation, example.Inputs, DType.F64, gradients: true));
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }, examples: 1);

    internal sealed record Evaluation(double[][] Outputs, double[][] Gradients, double Projection);

    internal static void ForAllCases(string name, Action<Row, Case> property, int examples = Examples)
    {
        Row row = Catalog.Catalog.Rows.Single(row => row.Name == name);
        Properties.ForAll(examples, (choices, seed) =>
        {
            Case example = row.Make(new Draw(choices, seed));
            try
            {
                property(row, example);
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"{example}: {error.Message}", error);
            }
        });
    }

    private static bool HasDefinition(Backend backend, Case example)
    {
        using var scope = new Scope();
        return example.Operation.Definition([.. example.Inputs.Select(input => input.On(backend, DType.F64))]) is not null;
    }

    /// <summary>Outputs, gradients of Σ ⟨cotangent, output⟩ with fixed random cotangents, and that sum.</summary>
    internal static Evaluation Evaluate(Backend backend, IPrimitive operation, Input[] inputs, DType type, bool gradients, bool byDefinition = false) =>
        Evaluate(backend, operation, inputs, Array.ConvertAll(inputs, _ => type), gradients, byDefinition);

    /// <summary>The same of inputs of several types.</summary>
    internal static Evaluation Evaluate(Backend backend, IPrimitive operation, Input[] inputs, DType[] types, bool gradients, bool byDefinition = false)
    {
        using var scope = new Scope();
        var tensors = new Tensor[inputs.Length];
        for (int i = 0; i < inputs.Length; i++)
        {
            tensors[i] = inputs[i].On(backend, types[i]);
            if (gradients && !inputs[i].IsInteger)
                tensors[i] = tensors[i].Track();
        }
        Tensor[] outputs = byDefinition ? operation.Definition(tensors)! : Tensor.Run(operation, backend, tensors);
        double[][] values = Array.ConvertAll(outputs, output => output.ToDoubles());
        double[][] cotangents = [.. values.Select((value, i) => Noise(value.Length, seed: i))];
        double projection = values.Zip(cotangents, (value, cotangent) => Dot(value, cotangent)).Sum();
        var found = new double[inputs.Length][];
        Array.Fill(found, []);
        if (gradients && tensors.Any(tensor => tensor.IsTracked))
        {
            var seeds = new List<(Tensor, Tensor)>();
            for (int i = 0; i < outputs.Length; i++)
            {
                if (outputs[i].RequiresGradient)
                    seeds.Add((outputs[i], backend.Tensor(outputs[i].Type, cotangents[i])));
            }
            Gradients? result = seeds.Count > 0 ? Differentiation.Backward(seeds.ToArray()) : null;
            for (int i = 0; i < found.Length; i++)
                found[i] = result is not null && result.TryGet(tensors[i], out Tensor? gradient) ? gradient.ToDoubles() : new double[inputs[i].Values.Length];
        }
        return new Evaluation(values, found, projection);
    }

    private static double[] Noise(int count, int seed)
    {
        var random = new Random(seed);
        var noise = new double[count];
        for (int i = 0; i < count; i++)
            noise[i] = (float)(2 * random.NextDouble() - 1);
        return noise;
    }

    private static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();

    internal static void AssertClose(Evaluation expected, Evaluation actual, double tolerance)
    {
        Compare("output", expected.Outputs, actual.Outputs);
        Compare("gradient of input", expected.Gradients, actual.Gradients);

        void Compare(string what, double[][] a, double[][] b)
        {
            Assert.Equal(a.Length, b.Length);
            for (int i = 0; i < a.Length; i++)
            {
                double error = RelativeError.Of(b[i], a[i]);
                Assert.True(error <= tolerance, $"{what} {i} is off by {error:g3}, allowed {tolerance:g3}");
            }
        }
    }

    internal static void AssertSame(Evaluation expected, Evaluation actual)
    {
        for (int i = 0; i < expected.Outputs.Length; i++)
            Assert.Equal(expected.Outputs[i], actual.Outputs[i]);
        for (int i = 0; i < expected.Gradients.Length; i++)
            Assert.Equal(expected.Gradients[i], actual.Gradients[i]);
    }
}
