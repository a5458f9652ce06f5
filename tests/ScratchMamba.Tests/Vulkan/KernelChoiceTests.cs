using System.Text;
using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Kernels that compute wrongly are not used; of several that compute rightly, the one that was measured to be the fastest is.</summary>
[Collection(nameof(VulkanCollection))]
public class KernelChoiceTests(VulkanFixture fixture)
{
    private VulkanBackend Open(string folder)
    {
        _ = fixture.Backend;
        var vulkan = new VulkanBackend(VulkanFixture.DeviceName, folder);
        vulkan.Traits = vulkan.Device.Traits with { HasMatrixUnits = true };
        return vulkan;
    }

    private static float[] Run(VulkanBackend vulkan, List<string> notices, double onUnits, double tested)
    {
        vulkan.Notice = notices.Add;
        Tensor x = vulkan.Tensor<float>([2], [1, 2]);
        Tensor.Apply(new Doubled(onUnits, tested), x);
        return Tensor.Apply(new Doubled(onUnits, tested), x).ToArray<float>();
    }

    [Fact]
    public void UnitsThatComputeRightlyAreUsed()
    {
        using var folder = new TemporaryFolder();
        using VulkanBackend vulkan = Open(folder.Path);
        var notices = new List<string>();
        Assert.Equal([2.01f, 4.02f], Run(vulkan, notices, onUnits: 2.01, tested: 2));
        Assert.Empty(notices);
    }

    [Fact]
    public void UnitsThatComputeWronglyAreNotUsed()
    {
        using var folder = new TemporaryFolder();
        using (VulkanBackend vulkan = Open(folder.Path))
        {
            var notices = new List<string>();
            Assert.Equal([2, 4], Run(vulkan, notices, onUnits: 2.1, tested: 2.1));
            Assert.Contains("Doubled", Assert.Single(notices), StringComparison.Ordinal);
        }
        // It is written down: the next one does not test again, but says it again.
        using VulkanBackend next = Open(folder.Path);
        var again = new List<string>();
        Assert.Equal([2, 4], Run(next, again, onUnits: 2.1, tested: 2));
        Assert.Single(again);
    }

    [Fact]
    public void EveryKernelForMatrixUnitsIsTested()
    {
        var device = new DeviceTraits { SubgroupSize = 32, SharedMemoryBytes = 48 << 10, WorkgroupInvocations = 1024, HasMatrixUnits = true, HalfMatrixSide = 16, HasHalfSums = true };
        var used = new HashSet<string>();
        foreach (SelfTest test in Catalog.Catalog.Rows.SelectMany(row => row.Make(new Draw([], 0)).Operation.SelfTests))
        {
            TensorType[] inputs = [.. test.Inputs.Select(input => input.Type)];
            foreach (Dispatch dispatch in test.Operation.Launch(new LaunchCall(inputs, test.Operation.Infer(inputs), device))!.Dispatches)
            {
                SpirvModule.Read(dispatch.Shader, Shaders.Read(dispatch.Shader)).ThrowUnlessFits(dispatch, device);
                used.Add(dispatch.Shader);
            }
        }
        Assert.Empty(Shaders.Names.Where(name => SpirvModule.Read(name, Shaders.Read(name)).NeedsMatrixUnits).Except(used).Except(VulkanCeilings.Shaders));
    }

    [Theory, InlineData(0.01, "quick"), InlineData(1, "default")]
    public void TheFastestKernelThatComputesRightlyIsFoundAndKept(double slip, string chosen)
    {
        using var folder = new TemporaryFolder();
        float[] values = [.. Enumerable.Range(0, 100_000).Select(i => (float)i)];
        float expected = (float)(chosen == "quick" ? 2 + slip : 2);
        var operation = new Laborious(2, slip);
        using (VulkanBackend vulkan = Open(folder.Path))
        {
            Tensor x = vulkan.Tensor<float>([values.Length], values);
            Assert.Equal(2, Tensor.Apply(operation, x).ToArray<float>()[1]);
            vulkan.StartTuning();
            Tensor.Apply(operation, x);
            TunedOperation result = Assert.Single(vulkan.FinishTuning());
            Assert.Equal(["default", "slower", "quick"], result.Times.Select(way => way.Name));
            Assert.Equal(chosen, result.Chosen);
            Assert.Equal(expected, Tensor.Apply(operation, x).ToArray<float>()[1]);
        }
        using VulkanBackend next = Open(folder.Path);
        Assert.Equal(expected, Tensor.Apply(operation, next.Tensor<float>([values.Length], values)).ToArray<float>()[1]);
        // What was not measured is run as everywhere.
        Assert.Equal(2, Tensor.Apply(operation, next.Tensor<float>([2], [0, 1])).ToArray<float>()[1]);
    }

    [Fact]
    public void WhatIsKeptIsReadAgain()
    {
        using var folder = new TemporaryFolder();
        KernelFile written = KernelFile.Load(folder.Path, "card");
        written.Choices["MatMul { } of F32 [2, 3], F32 [3, 4]"] = "small";
        written.Verdicts["Scan"] = "three\nlines\r\nof it";
        written.Verdicts["MatMul"] = null;
        written.Save();
        KernelFile read = KernelFile.Load(folder.Path, "card");
        Assert.Equal([new("MatMul", null), new("Scan", "three lines of it")], read.Verdicts);
        Assert.Equal(written.Choices, read.Choices);
        Assert.Null(read.Complaint);
        Assert.Empty(KernelFile.Load(folder.Path, "another card").Choices);
        Assert.Empty(KernelFile.Load(null, "card").Choices);
        // Of another build the verdicts are worth nothing, the measured times are.
        string file = Assert.Single(Directory.GetFiles(folder.Path));
        File.WriteAllText(file, File.ReadAllText(file).Replace("build ", "build 0", StringComparison.Ordinal));
        read = KernelFile.Load(folder.Path, "card");
        Assert.Empty(read.Verdicts);
        Assert.Single(read.Choices);
    }

    [Theory]
    [InlineData("")]
    [InlineData("ScratchMamba kernels 1\nchoice quick")]
    [InlineData("ScratchMamba kernels 1\nchoice quick Affine\nrm -rf / now\n")]
    [InlineData("ScratchMamba kernels 2\n")]
    [InlineData("\0\0\0\0")]
    public void ADamagedFileIsNotUsed(string text)
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "card.kernels");
        File.WriteAllBytes(path, Encoding.Latin1.GetBytes(text));
        KernelFile read = KernelFile.Load(folder.Path, "card");
        Assert.Empty(read.Choices);
        Assert.Contains("card.kernels", read.Complaint, StringComparison.Ordinal);
        read.Save();
        Assert.Null(KernelFile.Load(folder.Path, "card").Complaint);
    }

    private static Dispatch Scaled(LaunchCall call, double factor) => new Affine(factor, 0).Launch(call)!.Dispatches[0];

    /// <summary>2 x, but something else on matrix units, and in the test of those.</summary>
    private readonly record struct Doubled(double OnUnits, double Tested) : IPrimitive
    {
        IReadOnlyList<SelfTest> IPrimitive.SelfTests => [new(new Doubled(Tested, Tested), (new TensorType(DType.F32, [300]), 1))];

        public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => [inputs[0]];

        public void Compute(CpuCall call) => throw new NotSupportedException();

        public Launch? Launch(LaunchCall call) => Scaled(call, call.Device.HasMatrixUnits ? OnUnits : 2);
    }

    /// <summary>Factor · x, a hundred times over; in a quick way the factor is a little larger, which tells them apart.</summary>
    private readonly record struct Laborious(double Factor, double Slip) : ITunable
    {
        public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => [inputs[0]];

        public void Compute(CpuCall call) => throw new NotSupportedException();

        public Launch? Launch(LaunchCall call) => new([.. Enumerable.Repeat(Scaled(call, Factor), 100)]);

        public IReadOnlyList<Alternative> Alternatives(LaunchCall call) =>
            [new("slower", new Launch([.. Enumerable.Repeat(Scaled(call, Factor), 200)])), new("quick", Scaled(call, Factor + Slip))];
    }
}
