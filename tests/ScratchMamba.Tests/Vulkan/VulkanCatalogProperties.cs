using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using static ScratchMamba.Tests.Tensors.CatalogProperties;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>What must hold on a Vulkan device for every operation of the catalogue.</summary>
[Collection(nameof(VulkanCollection))]
public class VulkanCatalogProperties(VulkanFixture fixture)
{
    private const int Examples = 8;

    public static TheoryData<string> Rows => [.. Catalog.Catalog.Rows.Select(row => row.Name)];

    /// <summary>Values and gradients; nothing written elsewhere, nothing left unwritten; the same bits twice; nothing leaked.</summary>
    [Theory, MemberData(nameof(Rows))]
    public void AgreesWithTheCpu(string name)
    {
        SentinelBackend vulkan = fixture.Backend;
        ForAllCases(name, (row, example) =>
        {
            Input[] inputs = Array.ConvertAll(example.Inputs, input => input with { Values = Array.ConvertAll(input.Values, x => (double)(float)x) });
            vulkan.Filling = 0;
            if (UsesF64(example))
            {
                Assert.Throws<NotSupportedException>(() => Evaluate(vulkan, example.Operation, inputs, DType.F32, row.IsDifferentiable));
                Assert.Equal(0, vulkan.LiveCount);
                return;
            }
            using var cpu = new CpuBackend();
            Evaluation precise = Evaluate(cpu, example.Operation, inputs, DType.F64, row.IsDifferentiable);
            Evaluation first = Evaluate(vulkan, example.Operation, inputs, DType.F32, row.IsDifferentiable);
            AssertClose(precise, first, row.Tolerance);
            vulkan.Filling = 0xFF;
            AssertSame(first, Evaluate(vulkan, example.Operation, inputs, DType.F32, row.IsDifferentiable));
            Assert.Equal(0, vulkan.LiveCount);
            Assert.Equal(0, vulkan.LiveBytes);
        }, Examples);
    }

    /// <summary>
    /// Values and gradients in every precision, on both backends, against float64 on the same numbers: with attributes that say so where an operation has them, and with as many inputs of 16 bits as it
    /// takes, one choice of them for each example. Tolerances are those of three products, and of some roundings to 8 and to 11 bits.
    /// </summary>
    [Theory, MemberData(nameof(RowsInEveryPrecision))]
    public void AgreesInEveryPrecision(string name, MatMulPrecision precision)
    {
        DType narrow = precision.Activations(DType.F32, DType.F32);
        double allowed = precision switch { MatMulPrecision.Bfloat16 => 1.5e-2, MatMulPrecision.Float16 => 2e-3, _ => 2e-5 };
        SentinelBackend vulkan = fixture.Backend;
        vulkan.Filling = 0xFF;
        int number = 0;
        ForAllCases(name, (row, example) =>
        {
            IPrimitive operation = At(precision, example.Operation);
            DType[][] choices = [.. Choices(operation, example.Inputs, narrow, withNone: operation != example.Operation)];
            if (choices.Length == 0 || UsesF64(example))
                return;
            DType[] types = choices[number++ % choices.Length];
            Input[] inputs = [.. example.Inputs.Select((input, i) => input with { Values = Array.ConvertAll(input.Values, x => Rounded(types[i], x)) })];
            IPrimitive wide = operation.Wide([.. inputs.Select((input, i) => input.TypeIn(types[i]))]) ?? operation;
            using var cpu = new CpuBackend();
            Evaluation precise = Evaluate(cpu, wide, inputs, DType.F64, row.IsDifferentiable);
            foreach (Backend backend in (ReadOnlySpan<Backend>)[cpu, vulkan])
                AssertClose(precise, Evaluate(backend, operation, inputs, types, row.IsDifferentiable), Math.Max(row.Tolerance, allowed));
        }, examples: 3);
    }

    public static TheoryData<string, MatMulPrecision> RowsInEveryPrecision
    {
        get
        {
            var data = new TheoryData<string, MatMulPrecision>();
            foreach (Row row in Catalog.Catalog.Rows)
            {
                foreach (MatMulPrecision precision in (ReadOnlySpan<MatMulPrecision>)[MatMulPrecision.Bfloat16x3, MatMulPrecision.Bfloat16, MatMulPrecision.Float16])
                    data.Add(row.Name, precision);
            }
            return data;
        }
    }

    private static IPrimitive At(MatMulPrecision precision, IPrimitive operation)
    {
        if (operation.GetType().GetProperty(nameof(MatMul.Precision)) is not { } property)
            return operation;
        object other = operation;
        property.SetValue(other, precision);
        return (IPrimitive)other;
    }

    /// <summary>The types that an operation takes with some inputs of 16 bits, or with none.</summary>
    private static IEnumerable<DType[]> Choices(IPrimitive operation, Input[] inputs, DType narrow, bool withNone)
    {
        int[] floating = [.. Enumerable.Range(0, inputs.Length).Where(i => !inputs[i].IsInteger)];
        for (int mask = (1 << floating.Length) - 1; mask >= (withNone ? 0 : 1); mask--)
        {
            DType[] types = Array.ConvertAll(inputs, _ => DType.F32);
            for (int i = 0; i < floating.Length; i++)
                types[floating[i]] = (mask >> i & 1) != 0 ? narrow : DType.F32;
            if ((narrow != DType.F32 || mask == 0) && Takes(operation, [.. inputs.Select((input, i) => input.TypeIn(types[i]))]))
                yield return types;
        }
    }

    private static bool Takes(IPrimitive operation, TensorType[] types)
    {
        try
        {
            return operation.Infer(types).Length > 0;
        }
        catch (ShapeException)
        {
            return false;
        }
    }

    private static double Rounded(DType type, double value) => type switch { DType.BF16 => (float)(BFloat16)(float)value, DType.F16 => (double)(Half)(float)value, _ => (float)value };

    /// <summary>On a driver for the processor operations choose other kernels than on a graphics device; those must be right too.</summary>
    [Theory, MemberData(nameof(Rows))]
    public void KernelsForGraphicsDevicesAgreeWithTheCpu(string name)
    {
        SentinelBackend vulkan = fixture.Backend;
        Assert.SkipUnless(vulkan.Device.Traits.IsCpu, "Not run: a graphics device uses these kernels anyhow.");
        vulkan.Filling = 0xFF;
        ForAllCases(name, (row, example) =>
        {
            if (UsesF64(example) || example.Operation is IViewPrimitive)
                return;
            using var cpu = new CpuBackend();
            Input[] inputs = Array.ConvertAll(example.Inputs, input => input with { Values = Array.ConvertAll(input.Values, x => (double)(float)x) });
            Evaluation precise = Evaluate(cpu, example.Operation, inputs, DType.F64, gradients: false);
            AssertClose(precise, Evaluate(vulkan, new AsOnGraphics(example.Operation), inputs, DType.F32, gradients: false), row.Tolerance);
        }, Examples);
    }

    private static bool UsesF64(Case example) =>
        Array.Exists(example.Operation.Infer([.. example.Inputs.Select(input => input.TypeIn(DType.F32))]), type => type.DType == DType.F64);
}
