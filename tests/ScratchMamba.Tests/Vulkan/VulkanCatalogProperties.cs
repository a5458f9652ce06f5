using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
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
