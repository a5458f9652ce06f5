using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using static ScratchMamba.Tests.Tensors.CatalogProperties;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>The kernels of a decoding step as a graphics device runs them.</summary>
[Collection(nameof(VulkanCollection))]
public class DecodingOnVulkanTests(VulkanFixture fixture)
{
    [Theory]
    [InlineData(1, 4, 72, 1, 128, 4, true)]
    [InlineData(2, 6, 17, 2, 33, 1, false)]
    [InlineData(1, 4, 600, 2, 12, 2, true)]
    [InlineData(130, 2, 5, 1, 16, 3, false)]
    [InlineData(1, 2, 40, 2, 1, 4, true)]
    [InlineData(160, 8, 5, 2, 13, 3, false)]
    public void TheStepOfAMixerAgreesWithTheCpu(int batch, int heads, int width, int groups, int state, int taps, bool hasBias)
    {
        Input[] inputs = MixerInputs(batch, heads, width, groups, state, taps, hasBias);
        var step = new MixerStep(groups, 0.1, 0.9, hasBias, IsGated: taps > 1);
        using var cpu = new CpuBackend();
        Evaluation precise = Evaluate(cpu, step, inputs, DType.F64, gradients: false);
        fixture.Backend.Filling = 0xFF;
        Evaluation first = Evaluate(fixture.Backend, new AsOnGraphics(step), inputs, DType.F32, gradients: false);
        AssertClose(precise, first, 1e-5);
        AssertSame(first, Evaluate(fixture.Backend, new AsOnGraphics(step), inputs, DType.F32, gradients: false));
    }

    [Fact]
    public void TheStepOfAMixerMayOverwriteItsState()
    {
        Input[] inputs = MixerInputs(2, 4, 40, 2, 128, 4, hasBias: true);
        using var scope = new Scope();
        var step = new AsOnGraphics(new MixerStep(2, 0, double.PositiveInfinity, true, true));
        Tensor[] tensors = Array.ConvertAll(inputs, input => input.On(fixture.Backend, DType.F32));
        Tensor[] expected = Tensor.ApplyAll(step, tensors);
        Tensor[] outputs = [.. expected[..2].Select(tensor => fixture.Backend.Zeros(tensor.Type)), tensors[2]];
        Tensor.Overwrite(step, tensors, outputs);
        for (int i = 0; i < outputs.Length; i++)
            Assert.Equal(expected[i].ToDoubles(), outputs[i].ToDoubles());
    }

    [Theory]
    [InlineData(1, 64, 128, DType.BF16)]
    [InlineData(70, 40, 12, DType.F16)]
    [InlineData(140, 9, 12, DType.F16)]
    [InlineData(2, 17, 33, DType.BF16)]
    public void AStepRoundsAStateOf16BitsToTheNearest(int batch, int width, int state, DType type)
    {
        Input[] inputs = MixerInputs(batch, 4, width, 2, state, 4, hasBias: true);
        var step = new MixerStep(2, 0.1, 0.9, true, true);
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        Tensor[] wide = Array.ConvertAll(inputs, input => input.On(cpu, DType.F32));
        wide[2] = wide[2].Cast(type).Cast(DType.F32);
        double[][] expected = [.. Tensor.ApplyAll(step, wide).Select(tensor => tensor.ToDoubles())];
        Tensor[] here = [.. wide[..2], wide[2].Cast(type), .. wide[3..]];
        Tensor[] there = [.. Array.ConvertAll(inputs[..2], input => input.On(fixture.Backend, DType.F32)), fixture.Backend.Tensor(here[2].Type, wide[2].ToDoubles()), .. Array.ConvertAll(inputs[3..], input => input.On(fixture.Backend, DType.F32))];
        foreach (Tensor[] results in new[] { Tensor.ApplyAll(step, here), step.Definition(here), Tensor.ApplyAll(new AsOnGraphics(step), there), Tensor.ApplyAll(step, there) })
        {
            Assert.InRange(RelativeError.Of(results[0].ToDoubles(), expected[0]), 0, 1e-5);
            Assert.Equal(type, results[2].DType);
            double unit = type == DType.BF16 ? 1.0 / 256 : 1.0 / 2048;
            foreach ((double rounded, double exact) in results[2].ToDoubles().Zip(expected[2]))
                Assert.InRange(Math.Abs(rounded - exact), 0, unit * Math.Abs(exact) + 1e-6);
        }
    }

    [Theory]
    [InlineData(1, 768, 130, true)]
    [InlineData(8, 36, 5, true)]
    [InlineData(2, 1540, 64, false)]
    [InlineData(7, 72, 459, true)]
    [InlineData(9, 8, 3, false)]
    [InlineData(33, 200, 70, true)]
    [InlineData(64, 1540, 17, true)]
    [InlineData(2, 4, 1, false)]
    [InlineData(300, 200, 40, true)]
    public void LinearLayersOfFewNormalizedRowsAgreeWithTheCpu(int rows, int k, int n, bool hasResidual)
    {
        var draw = new Draw([], seed: k);
        Input[] residual = hasResidual ? [draw.Normal([rows, n])] : [];
        Input[] inputs = [draw.Normal([rows, k]), draw.Normal([k]), draw.Normal([n, k], 1 / Math.Sqrt(k)), .. residual];
        var operation = new NormLinear(1e-5, hasResidual);
        using var cpu = new CpuBackend();
        fixture.Backend.Filling = 0xFF;
        Evaluation expected = Evaluate(cpu, operation, inputs, DType.F64, gradients: false);
        AssertClose(expected, Evaluate(fixture.Backend, new AsOnGraphics(operation), inputs, DType.F32, gradients: false), 1e-5);
        // Of numbers of 8 bits, where there are units that multiply them.
        AssertClose(expected, Evaluate(fixture.Backend, new AsOnGraphics(operation with { Precision = MatMulPrecision.Bfloat16 }), inputs, DType.F32, gradients: false), fixture.Backend.Traits.HasMatrixUnits ? 4e-3 : 1e-5);
    }

    [Theory]
    [InlineData(1, 384, 5000)]
    [InlineData(4, 40, 17)]
    [InlineData(3, 264, 9001)]
    public void TheLargestProductOfANormalizedRowIsFoundBesideIt(int rows, int k, int n)
    {
        using var scope = new Scope();
        var draw = new Draw([], seed: n);
        Tensor x = draw.Normal([rows, k]).On(fixture.Backend, DType.F32), norm = draw.Normal([k]).On(fixture.Backend, DType.F32);
        // Every row of the matrix twice, so that each largest product has an equal.
        Tensor half = draw.Normal([(n + 1) / 2, k]).On(fixture.Backend, DType.F32), weight = TensorOperations.Concatenate(0, half, half).Slice(0, 0, n);
        foreach (DType type in new[] { DType.F32, DType.BF16 })
        {
            Tensor[] inputs = [x, norm, weight.Cast(type)];
            int[] expected = Tensor.Apply(new AsOnGraphics(new NormLinear(1e-5, false)), inputs).ArgMax().ToArray<int>();
            Assert.All(expected, found => Assert.InRange(found, 0, (n + 1) / 2 - 1));
            var operation = new AsOnGraphics(new NormLinearArgMax(1e-5));
            Assert.NotNull(operation.Launch(new LaunchCall(Tensor.TypesOf(inputs), operation.Infer(Tensor.TypesOf(inputs)), fixture.Backend.Traits)));
            Assert.Equal(expected, Tensor.Apply(operation, inputs).ToArray<int>());
        }
    }

    [Fact]
    public void ARowIsRoundedAlikeWhateverTheNumberOfRows()
    {
        const int rows = 40, k = 768, n = 96;
        var draw = new Draw([], seed: k);
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        Tensor x = draw.Normal([rows, k]).On(fixture.Backend, DType.F32), norm = draw.Normal([k]).On(fixture.Backend, DType.F32);
        Tensor weight = fixture.Backend.Tensor(new TensorType(DType.BF16, [n, k]), draw.Normal([n, k], 0.05).On(cpu, DType.F32).ToDoubles());
        var operation = new AsOnGraphics(new NormLinear(1e-5, false, MatMulPrecision.Bfloat16));
        double[] all = Tensor.ApplyAll(operation, [x, norm, weight])[0].ToDoubles();
        foreach (int few in new[] { 1, 2, 4, 8 })
            Assert.InRange(RelativeError.Of(Tensor.ApplyAll(operation, [x.Slice(0, 0, few), norm, weight])[0].ToDoubles(), all[..(few * n)]), 0, 1e-5);
    }

    [Fact]
    public void ACapturedOperationWithoutAShaderReadsTemporariesOfItsScope()
    {
        using var scope = new Scope();
        Tensor x = fixture.Backend.Tensor([9, 2], Enumerable.Range(0, 18).Select(i => (float)i).ToArray()), y = fixture.Backend.Zeros(x.Type);
        Tensor norm = fixture.Backend.Tensor<float>([2], [1, 2]), weight = fixture.Backend.Tensor<float>([2, 2], [1, 0, 3, 1]);
        using CapturedProgram program = fixture.Backend.Capture(() =>
        {
            using var inner = new Scope();
            Tensor.Overwrite(new Affine(1, 0), [(x * 2 + 1).NormLinear(norm, weight)], y);
        });
        program.Run();
        Assert.Equal((x * 2 + 1).NormLinear(norm, weight).ToDoubles(), y.ToDoubles());
    }

    [Theory]
    [InlineData(50288)]
    [InlineData(100_000)]
    [InlineData(4096)]
    public void OfEqualsInALongRowTheFirstIsFound(int columns)
    {
        using var scope = new Scope();
        var values = new float[3 * columns];
        Array.Fill(values, float.NegativeInfinity, 0, columns);
        foreach (int place in new[] { columns - 1, columns / 2, 700 })
        {
            values[columns + place] = 3;
            values[2 * columns + place] = float.NaN;
            values[2 * columns + place - 1] = float.PositiveInfinity;
            Assert.Equal([0, place, place], fixture.Backend.Tensor<float>([3, columns], values).ArgMax().ToArray<int>());
        }
    }

    private static Input[] MixerInputs(int batch, int heads, int width, int groups, int state, int taps, bool hasBias)
    {
        var draw = new Draw([], seed: state);
        int inner = heads * width, channels = inner + 2 * groups * state;
        Input[] inputs =
        [
            draw.Normal([batch, inner + channels + heads]), draw.Normal([batch, taps - 1, channels]), draw.Normal([batch, heads, width, state]), draw.Normal([channels, taps], 0.5),
            .. hasBias ? [draw.Normal([channels])] : Array.Empty<Input>(), draw.Normal([heads]), draw.Uniform([heads], -2, 1), draw.Normal(hasBias ? [heads] : [heads, width]),
        ];
        return Array.ConvertAll(inputs, input => input with { Values = Array.ConvertAll(input.Values, value => (double)(float)value) });
    }
}
