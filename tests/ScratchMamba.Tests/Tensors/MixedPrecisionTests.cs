using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Tests.Vulkan;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Tensors;

/// <summary>Operations on activations of 16 bits, on both backends, against the same operations in float64 on the same numbers; and models that hold their activations so.</summary>
[Collection(nameof(VulkanCollection))]
public sealed class MixedPrecisionTests(VulkanFixture vulkan)
{
    // Half a unit in the last of bfloat16's eight bits is 2⁻⁹ of a number; a sum of a few rounded numbers has an error of about one unit.
    private const double OfOneRounding = 3e-3;

    // Where operands of products are rounded inside an operation, to which float64 is not.
    private const double OfProducts = 8e-3;

    public static TheoryData<string> Cases => [.. Operations.Select(item => item.Name)];

    private sealed record Item(string Name, IPrimitive Operation, double Tolerance, params (Shape Shape, DType Type)[] Inputs);

    private static IEnumerable<Item> Operations => OperationsIn(DType.BF16, MatMulPrecision.Bfloat16).Concat(OperationsIn(DType.F16, MatMulPrecision.Float16));

    private static IEnumerable<Item> OperationsIn(DType n, MatMulPrecision precision)
    {
        const DType f = DType.F32;
        yield return new($"{n}: product", new MatMul(false, true, precision), OfOneRounding, ([136, 152], n), ([144, 152], n));
        yield return new($"{n}: product, transposed, in full", new MatMul(true, false, precision, f), 1e-5, ([72, 136], n), ([72, 144], n));
        yield return new($"{n}: product, parts", new MatMul(true, false, precision), OfOneRounding, ([2056, 136], n), ([2056, 128], n));
        yield return new($"{n}: product and residual", new MatMul(false, true, precision, f, HasAddend: true), 1e-5, ([136, 152], n), ([144, 152], n), ([136, 144], f));
        yield return new($"{n}: product and gradient", new MatMul(false, false, precision, HasAddend: true), OfOneRounding, ([136, 152], n), ([152, 144], n), ([136, 144], n));
        yield return new($"{n}: product and bias", new MatMul(false, true, precision, HasAddend: true), OfOneRounding, ([2, 136, 152], n), ([144, 152], n), ([144], f));
        yield return new($"{n}: product, parts and gradient", new MatMul(true, false, precision, f, HasAddend: true), 1e-5, ([2056, 136], n), ([2056, 128], n), ([136, 128], f));
        yield return new($"{n}: small product and gradient", new MatMul(false, false, precision, HasAddend: true), OfOneRounding, ([3, 5, 7], n), ([7, 9], n), ([3, 5, 9], n));
        yield return new($"{n}: small product", new MatMul(false, false, precision), OfOneRounding, ([3, 5, 7], n), ([7, 9], n));
        yield return new($"{n}: norm", new RmsNorm(1e-5, n), OfOneRounding, ([5, 68], f), ([68], f));
        yield return new($"{n}: odd norm", new RmsNorm(1e-5, n), OfOneRounding, ([5, 67], f), ([67], f));
        yield return new($"{n}: norm gradient", new RmsNormGradient(1e-5), OfOneRounding, ([37, 68], f), ([68], f), ([37, 68], n));
        yield return new($"{n}: gated norm", new GatedRmsNorm(1e-5, 2, false), OfOneRounding, ([5, 72], n), ([5, 72], n), ([72], f));
        yield return new($"{n}: gated norm gradient", new GatedRmsNormGradient(1e-5, 1, false), OfOneRounding, ([21, 72], n), ([21, 72], n), ([72], f), ([21, 72], n));
        yield return new($"{n}: norm before the gate", new GatedRmsNormGradient(1e-5, 2, true), OfOneRounding, ([21, 72], n), ([21, 72], n), ([72], f), ([21, 72], n));
        yield return new($"{n}: convolution", new CausalConvolution(true, true, false, true), OfOneRounding, ([2, 21, 6], n), ([6, 4], f), ([6], f), ([2, 3, 6], n));
        yield return new($"{n}: odd convolution", new CausalConvolution(true, false, false, true), OfOneRounding, ([2, 21, 5], n), ([5, 4], f), ([5], f));
        yield return new($"{n}: convolution gradient", new CausalConvolutionGradient(true, false, false, true), OfOneRounding, ([2, 71, 6], n), ([6, 4], f), ([6], f), ([2, 71, 6], n));
        yield return new($"{n}: convolution gradient of float32", new CausalConvolutionGradient(true, false, false, false), 1e-5, ([2, 71, 6], f), ([6, 4], f), ([6], f), ([2, 71, 6], f));
        (Shape, DType)[] projection = [([2, 71, 22], n), ([20, 4], f), ([20], f), ([2, 3, 20], n)];
        yield return new($"{n}: convolution of a projection", new MixerConvolution(12, 4, true, true, false), OfOneRounding, projection);
        yield return new(
            $"{n}: convolution of a projection, gradient", new MixerConvolutionGradient(12, 4, true, true, false), OfOneRounding,
            [.. projection, ([2, 71, 12], n), ([2, 71, 4], n), ([2, 71, 4], n), ([2, 71, 2], n)]);
        yield return new($"{n}: sum", new Add(), OfOneRounding, ([3, 12], n), ([3, 12], n));
        yield return new($"{n}: odd sum with F32", new Add(), 1e-6, ([3, 5], f), ([3, 5], n));
        yield return new($"{n}: slice", new Slice(1, 2, 3), 0, ([4, 6, 2], n));
        yield return new($"{n}: odd slice", new Slice(1, 1, 3), 0, ([4, 5], n));
        yield return new($"{n}: concatenation", new Concatenate(1), 0, ([4, 6], n), ([4, 3], n));
        yield return new($"{n}: padding", new Pad(1, 1, 2, 0), 0, ([4, 6], n));
        (Shape, DType)[] scan = [([2, 150, 4, 8], n), ([2, 150, 4], f), ([4], f), ([2, 150, 2, 12], n)];
        Shape states = [2, 3, 4, 8, 12];
        yield return new($"{n}: chunk state", new ChunkState(64, false, precision), OfProducts, scan);
        yield return new($"{n}: chunk state gradient", new ChunkStateGradient(64, false, precision), OfProducts, [.. scan, (states, f)]);
        yield return new($"{n}: chunk scan", new ChunkScan(64, true, false, precision), OfProducts, [.. scan, ([2, 150, 2, 12], n), (states, f), ([4], f)]);
        yield return new($"{n}: chunk scan of narrow states", new ChunkScan(64, false, false, precision), OfProducts, [.. scan, ([2, 150, 2, 12], n), (states, n)]);
        yield return new($"{n}: chunk state gradient from a narrow one", new ChunkStateGradient(64, false, precision), OfProducts, [.. scan, (states, n)]);
        yield return new($"{n}: state passing", new StatePassing(true, n), OfOneRounding, (states, f), ([2, 3, 4], f), ([2, 4, 8, 12], f));
        yield return new($"{n}: state passing gradient", new StatePassingGradient(true), OfOneRounding, ([2, 3, 4], f), (states, n), (states, f), ([2, 4, 8, 12], f));
        yield return new(
            $"{n}: chunk scan gradient", new ChunkScanGradient(64, true, false, precision), OfProducts,
            [.. scan, ([2, 150, 2, 12], n), (states, f), ([4], f), ([2, 150, 4, 8], n)]);
        foreach ((string name, int width, int state, int groups, int chunk) in ((string, int, int, int, int)[])[("", 64, 128, 1, 128), (", more groups", 32, 96, 2, 128), (", shorter", 64, 32, 1, 64)])
        {
            (Shape, DType)[] whole = [([2, 200, 4, width], n), ([2, 200, 4], f), ([4], f), ([2, 200, groups, state], n)];
            (Shape, DType) c = ([2, 200, groups, state], n), before = ([2, (200 + chunk - 1) / chunk, 4, width, state], n);
            yield return new($"{n}: whole chunks{name}: state", new ChunkState(chunk, false, precision), OfProducts, whole);
            yield return new($"{n}: whole chunks{name}: state gradient", new ChunkStateGradient(chunk, false, precision), OfProducts, [.. whole, before]);
            yield return new($"{n}: whole chunks{name}: scan", new ChunkScan(chunk, true, false, precision), OfProducts, [.. whole, c, before, ([4], f)]);
            yield return new($"{n}: whole chunks{name}: scan gradient", new ChunkScanGradient(chunk, true, false, precision), OfProducts, [.. whole, c, before, ([4], f), ([2, 200, 4, width], n)]);
            yield return new($"{n}: whole scan{name}", new StateSpaceScan(chunk, true, true, false, true, precision), OfProducts, [.. whole, c, ([4], f), ([2, 4, width, state], f)]);
            yield return new(
                $"{n}: whole scan{name}: gradient", new StateSpaceScanGradient(chunk, true, true, false, precision), OfProducts,
                [.. whole, c, ([4], f), ([2, 4, width, state], f), before, ([2, 200, 4, width], n), ([2, 4, width, state], f)]);
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void AgreesWithDouble(string name)
    {
        Item item = Operations.Single(item => item.Name == name);
        bool isScan = item.Operation is ChunkState or ChunkStateGradient or ChunkScan or ChunkScanGradient or StateSpaceScan or StateSpaceScanGradient;
        var random = new Philox(3, 0);
        // Steps of a scan are positive and decays negative.
        float[][] values = [.. item.Inputs.Select((input, index) => Values(input.Shape, random, isScan && index == 1 ? x => 0.1f + 0.1f * MathF.Abs(x) : isScan && index == 2 ? x => -MathF.Abs(x) : x => x))];
        using var cpu = new CpuBackend();
        double[][] exact;
        using (new Scope())
        {
            Tensor[] inputs = [.. item.Inputs.Select((input, i) => cpu.Tensor(new TensorType(DType.F64, input.Shape), Array.ConvertAll(values[i], x => input.Type switch { DType.BF16 => (double)(float)(BFloat16)x, DType.F16 => (double)(Half)x, _ => x })))];
            IPrimitive operation = item.Operation.Wide([.. item.Inputs.Select(input => new TensorType(input.Type, input.Shape))]) ?? item.Operation;
            exact = [.. Tensor.Run(operation, cpu, inputs).Select(output => output.ToDoubles())];
        }
        foreach (Backend backend in (ReadOnlySpan<Backend>)[cpu, vulkan.Backend])
        {
            using var scope = new Scope();
            Tensor[] inputs = [.. item.Inputs.Select((input, i) => backend.Tensor<float>(input.Shape, values[i]).Cast(input.Type))];
            Tensor[] outputs = Tensor.Run(item.Operation, backend, inputs);
            Assert.Equal(exact.Length, outputs.Length);
            for (int i = 0; i < outputs.Length; i++)
                Assert.True(RelativeError.Of(outputs[i].ToDoubles(), exact[i]) <= item.Tolerance, $"{name} on {backend.Name}, output {i}: {RelativeError.Of(outputs[i].ToDoubles(), exact[i]):e2}");
        }
    }

    /// <summary>Cross entropy of logits of 16 bits has losses of F32, which differ from those of the same logits in F32 by nothing but the exponential.</summary>
    [Theory, InlineData(96), InlineData(31)]
    public void CrossEntropyOfRoundedLogits(int classes)
    {
        int[] labels = [3, -1, 30, 0, 17];
        float[] logits = Values([5, classes], new Philox(5, 0), x => 4 * x);
        foreach (Backend backend in (ReadOnlySpan<Backend>)[new CpuBackend(), vulkan.Backend])
        {
            using var scope = new Scope();
            Tensor narrow = backend.Tensor<float>([5, classes], logits).Cast(DType.BF16), wide = narrow.Cast(DType.F32).Track(), target = backend.Tensor<int>([5], labels);
            Tensor expected = wide.CrossEntropy(target), found = narrow.CrossEntropy(target);
            Assert.Equal(DType.F32, found.DType);
            Assert.True(RelativeError.Of(found.ToDoubles(), expected.ToDoubles()) < 1e-5);
            Tensor leaf = backend.Tensor<float>([5, classes], logits).Track(), seed = backend.Tensor<float>([5], [1, 2, 3, 4, 5]);
            Gradients rounded = leaf.Cast(DType.BF16).CrossEntropy(target).Backward(seed), full = expected.Backward(seed);
            Assert.True(RelativeError.Of(rounded[leaf].ToDoubles(), full[wide].ToDoubles()) < OfOneRounding);
        }
    }

    /// <summary>The gradient of logits takes their memory, unless somebody goes through the computation again.</summary>
    [Theory, InlineData(DType.F32), InlineData(DType.BF16)]
    public void GradientsOfLogitsTakeTheirPlace(DType type)
    {
        int[] labels = [1, 30, 0, 63];
        foreach (Backend backend in (ReadOnlySpan<Backend>)[new CpuBackend(), vulkan.Backend])
        {
            using var scope = new Scope();
            Tensor leaf = backend.Tensor<float>([4, 64], Values([4, 64], new Philox(6, 0), x => 3 * x)).Track(), target = backend.Tensor<int>([4], labels);
            Tensor Losses() => (leaf * 2).Cast(type).CrossEntropy(target).Sum();
            Tensor loss = Losses();
            double[] first = loss.Backward(retain: true)[leaf].ToDoubles(), second = loss.Backward(retain: true)[leaf].ToDoubles();
            Tensor once = Losses();
            backend.ResetPeak();
            long before = backend.LiveBytes;
            double[] inPlace = once.Backward()[leaf].ToDoubles();
            Assert.Equal(first, second);
            Assert.Equal(first, inPlace);
            // Of tensors as large as the logits there is the gradient of the leaf, and nothing for that of the logits. What the CPU widens is beside them for a while.
            if (type == DType.F32)
                Assert.InRange(backend.PeakBytes - before, 0, 2 * 4 * 64 * 4 + 200);
        }
    }

    /// <summary>Gradients of a model with activations of BF16, through packed documents and carried states, are near those of the same model in float64.</summary>
    [Theory, InlineData(false, 16), InlineData(true, 16), InlineData(false, 32)]
    public void GradientsOfAModelAgreeWithDouble(bool recomputes, int headSize)
    {
        var config = new Mamba2Config { Width = 32, Layers = 2, HeadSize = headSize, StateSize = headSize, VocabularySize = 40 };
        int[] tokens = [.. Enumerable.Range(0, 2 * 70).Select(i => i * 17 % 40)], labels = [.. Enumerable.Range(0, 2 * 70).Select(i => i * 17 % 40 + 3 < 40 ? i * 17 % 40 + 3 : -1)];
        using var cpu = new CpuBackend();
        Dictionary<string, double[]> exact = Gradients(cpu, DType.F64, MatMulPrecision.Full);
        foreach (Backend backend in (ReadOnlySpan<Backend>)[cpu, vulkan.Backend])
        {
            foreach ((MatMulPrecision precision, double tolerance) in (ReadOnlySpan<(MatMulPrecision, double)>)[(MatMulPrecision.Bfloat16, 0.02), (MatMulPrecision.Float16, 0.003)])
            {
                foreach ((string path, double[] found) in Gradients(backend, DType.F32, precision))
                    Assert.True(RelativeError.Of(found, exact[path]) < tolerance, $"{precision}, {path} on {backend.Name}: {RelativeError.Of(found, exact[path]):e2}");
            }
        }

        Dictionary<string, double[]> Gradients(Backend backend, DType type, MatMulPrecision precision)
        {
            using var scope = new Scope();
            var model = new Mamba2Model(config, backend, type, seed: 4) { Precision = precision, RecomputedLayers = recomputes ? int.MaxValue : 0 };
            Tensor loss = model.Losses(backend.Tensor<int>([2, 70], tokens), backend.Tensor<int>([2, 70], labels)).Sum();
            Gradients gradients = (loss * (1.0 / 100)).Backward();
            return model.Parameters().ToDictionary(item => item.Path, item => gradients[item.Parameter.Value].ToDoubles());
        }
    }

    /// <summary>Two trainings from one seed are one, bit for bit, with activations of BF16 too.</summary>
    [Theory, InlineData(16), InlineData(32)]
    public void TrainingRepeats(int headSize)
    {
        var config = new Mamba2Config { Width = 32, Layers = 2, HeadSize = headSize, StateSize = headSize, VocabularySize = 40 };
        Assert.Equal(Losses(), Losses());

        double[] Losses()
        {
            using var scope = new Scope();
            var model = new Mamba2Model(config, vulkan.Backend, seed: 4) { Precision = MatMulPrecision.Bfloat16 };
            int[] tokens = [.. Enumerable.Range(0, 131).Select(i => i * i % 40)];
            using var trainer = new Trainer(model, _ => new TokenBatch(tokens[..^1], tokens[1..]), 65, new LearningRateSchedule(1e-2, 100, 0, LearningRateDecay.Constant));
            return [.. Enumerable.Range(0, 4).Select(_ => trainer.Step().Loss)];
        }
    }

    private static float[] Values(Shape shape, Philox random, Func<float, float> map)
    {
        var values = new float[shape.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = map((float)(2 * random.NextDouble() - 1 + random.NextDouble() - 0.5));
        return values;
    }
}
