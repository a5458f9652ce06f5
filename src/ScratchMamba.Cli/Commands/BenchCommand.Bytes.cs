using System.CommandLine;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Cli.Commands;

/// <summary>bench bytes: what moves bytes more than it computes.</summary>
internal static partial class BenchCommand
{
    private static Verb Bytes()
    {
        Option<int> batch = CommonOptions.Count("--batch", 8, "Rows of a batch."), length = CommonOptions.Count("--length", 2048, "Tokens of a row.");
        Option<string> precision = CommonOptions.Precision();
        ModelOptions sizes = new();
        return Measured(
            "bytes", "Each kind of operation of a training step that memory bounds, in a chain of its own, and behind it copies of as many bytes in such a chain: a device reaches its rate only in long ones.",
            [.. sizes.All, batch, length, precision], (parsed, backend, report) =>
            {
                (int b, int l) = (parsed.GetValue(batch), parsed.GetValue(length));
                Mamba2Config config = sizes.Config(parsed);
                DType type = CommonOptions.PrecisionOf(parsed.GetValue(precision)!).Activations(DType.F32, DType.F32);
                (int inner, int group) = (config.InnerWidth, config.Groups * config.StateSize);
                TensorType projected = new(type, [b, l, inner + 2 * group + config.Heads]), residual = new(DType.F32, [b * l, config.Width]), branch = residual with { DType = type };
                TensorType gated = new(type, [b * l, inner]), logits = new(type, [b * l, config.VocabularySize]), rows = new(DType.F32, [b * l]), scale = new(DType.F32, [inner]), weight = new(DType.F32, [config.Width]);
                TensorType[] mixed = [projected, new(DType.F32, [inner + 2 * group, config.ConvolutionTaps]), new(DType.F32, [inner + 2 * group])];
                var convolution = new MixerConvolution(inner, group, true, false, false);
                Measure("convolution", convolution, mixed);
                Measure("convolution gradient", new MixerConvolutionGradient(inner, group, true, false, false), [.. mixed, .. ((IPrimitive)convolution).Infer(mixed)]);
                Measure("gated norm", new GatedRmsNorm(1e-5, 1, false), [gated, gated, scale]);
                Measure("gated norm gradient", new GatedRmsNormGradient(1e-5, 1, false), [gated, gated, scale, gated]);
                Measure("norm", new RmsNorm(1e-5, type == DType.F32 ? null : type), [residual, weight]);
                Measure("norm gradient, added to another", new RmsNormGradient(1e-5, HasPast: true), [residual, weight, branch, residual]);
                Measure("residual addition", new Add(), [residual, branch]);
                TensorType labels = new(DType.I32, [b * l]);
                Measure("cross entropy", new CrossEntropy(), [logits, labels]);
                Measure("cross entropy gradient", new CrossEntropyGradient(), [logits, labels, rows, rows], isInPlace: true);
                using (new Scope())
                {
                    var model = new Mamba2Model(config, backend, seed: null);
                    Tensor settings = backend.Tensor<float>([4], [1e-4f, 0.1f, 0.05f, 1]);
                    Tensor[][] all = [.. model.Parameters().Select(item => (Tensor[])[item.Parameter.Value, Make(item.Parameter.Value.Type, 1), Make(item.Parameter.Value.Type, 2), Make(item.Parameter.Value.Type, 3), settings])];
                    Chain("AdamW", 7.0 * all.Sum(each => each[0].Type.Bytes), 1, _ =>
                    {
                        foreach (Tensor[] each in all)
                            new AdamW().Apply(each[0], each[1], each[2], each[3], each[4]);
                    });
                }

                // Several sets of inputs, so that no cache holds them, and one of outputs, so that each run waits for the one before, as in a training step.
                void Measure<TOperation>(string name, TOperation operation, TensorType[] inputs, bool isInPlace = false) where TOperation : struct, IPrimitive
                {
                    using var scope = new Scope();
                    TensorType[] outputs = operation.Infer(inputs);
                    double bytes = inputs.Concat(outputs).Sum(item => (double)item.Bytes);
                    int sets = bytes > 1e9 ? 1 : 3;
                    Tensor[][] given = [.. Enumerable.Range(0, sets).Select(set => inputs.Select((item, i) => Make(item, (ulong)(10 * set + i))).ToArray())];
                    Tensor[] made = isInPlace ? [] : [.. outputs.Select(item => Make(item, 9))];
                    Chain(name, bytes, sets, i => Tensor.Overwrite(operation, given[i % sets], isInPlace ? given[i % sets][..1] : made));
                }

                void Chain(string name, double bytes, int sets, Action<int> run)
                {
                    int links = Math.Clamp((int)(2e10 / bytes), 2, 24);
                    Report(name, run);
                    using var scope = new Scope();
                    Tensor[] copies = [.. Enumerable.Range(0, sets + 1).Select(i => Make(new TensorType(DType.F32, [(int)(bytes / 8)]), (ulong)i))];
                    Report($"copy of {bytes / 1e6:0.0} MB", i => Tensor.Overwrite(new Affine(1, 0), [copies[i % sets]], copies[sets]));

                    void Report(string what, Action<int> work)
                    {
                        using CapturedProgram program = backend.Capture(() =>
                        {
                            for (int i = 0; i < links; i++)
                                work(i);
                        });
                        Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), program.Run);
                        report(what, new Timing(time.Median / links, time.Least / links, time.Most / links), 0, 0, bytes);
                    }
                }

                Tensor Make(TensorType item, ulong stream) => item.DType == DType.I32
                    ? backend.Tensor<int>(item.Shape, [.. Enumerable.Range(0, (int)item.Count).Select(i => i * 7919 % config.VocabularySize)])
                    : Noise(backend, item.Shape, stream).Cast(item.DType);
            });
    }
}
