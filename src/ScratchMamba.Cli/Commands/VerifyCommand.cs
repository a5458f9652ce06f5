using System.CommandLine;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Training;

namespace ScratchMamba.Cli.Commands;

/// <summary>verify: recomputes what another implementation computed from the same checkpoint.</summary>
internal static class VerifyCommand
{
    // What the makers of expected.safetensors do: greedy text of this many tokens, and AdamW with these settings at this rate.
    private const int GeneratedTokens = 40;
    private const double TrainingRate = 3e-3;
    private static readonly AdamWSettings TrainingSettings = new(Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, WeightDecay: 0.1, ClipNorm: 1, DecaysEverything: true);

    public static Verb Create()
    {
        Option<string> model = CommonOptions.Model(), device = CommonOptions.Device();
        var expected = new Option<string?>("--expected") { Description = "The file of expected values; expected.safetensors in the model's folder by default." };
        var precision = new Option<string>("--precision") { Description = "f32 or f64.", DefaultValueFactory = _ => "f32" }.AcceptOnlyFromAmong("f32", "f64");
        var tolerance = new Option<double?>("--tolerance")
        {
            Description = "The largest relative error allowed, instead of 2e-5 (1e-4 along a training) in f32 and 1e-9 in f64.",
            CustomParser = result => CommonOptions.Parse<double>("--tolerance", result, value => value >= 0, "0 or a positive number"),
        };
        Option<string?> trace = CommonOptions.Trace();
        Option<bool> lockstep = CommonOptions.Lockstep();
        var verb = new Verb(
            "verify", "Recompute what another implementation computed from a checkpoint, and compare.", "scratchmamba verify --model tests/golden/hf-tiny --precision f64",
            model, expected, precision, tolerance, device, CommonOptions.Threads, trace, lockstep);
        verb.SetAction((parsed, cancellation) =>
        {
            string folder = parsed.GetValue(model)!;
            DType type = parsed.GetValue(precision) == "f64" ? DType.F64 : DType.F32;
            using var file = new SafetensorsFile(parsed.GetValue(expected) ?? Path.Combine(File.Exists(folder) ? Path.GetDirectoryName(folder)! : folder, "expected.safetensors"));
            using Backend opened = Devices.Open(parsed, device, parsed.GetValue(lockstep));
            using var traced = new Trace(opened, parsed.GetValue(trace), parsed.InvocationConfiguration.Output);
            Backend backend = traced.Backend;
            var verification = new Verification(file, () => Checkpoint.Load(folder, backend, type), type, parsed.GetValue(tolerance), cancellation);
            return Task.FromResult(verification.Run(parsed.InvocationConfiguration.Output) ? CommandLine.Done : CommandLine.Failed);
        });
        return verb;
    }

    private sealed class Verification(SafetensorsFile file, Func<Mamba2Model> load, DType type, double? tolerance, CancellationToken cancellation)
    {
        private readonly List<(string Item, double Error, double Allowed)> results = [];

        private double Allowed => tolerance ?? (type == DType.F64 ? 1e-9 : 2e-5);

        private double AllowedInTraining => tolerance ?? (type == DType.F64 ? 1e-9 : 1e-4);

        public bool Run(TextWriter output)
        {
            HashSet<string> known = ["input_ids", "train.batches"];
            using (new Scope())
            {
                Mamba2Model model = load();
                if (file.Contains("logits") || file.Contains("loss") || file.Names.Any(name => name.StartsWith("grad.", StringComparison.Ordinal)))
                    Forward(model, known);
                if (file.Contains("generated"))
                    Generated(model, known);
            }
            if (file.Contains("train.loss_and_gradnorm"))
                Training(known);
            string[] unknown = [.. file.Names.Except(known)];
            if (unknown.Length > 0)
                throw new InvalidDataException($"{file.Path} holds {string.Join(", ", unknown)}, which this command does not know how to check.");
            if (results.Count == 0)
                throw new InvalidDataException($"{file.Path} holds nothing to check.");

            int width = results.Max(result => result.Item.Length);
            output.WriteLine($"{"".PadRight(width)}  relative error  allowed");
            foreach ((string item, double error, double allowed) in results)
                output.WriteLine($"{item.PadRight(width)}  {error,14:0.00e+00}  {allowed,7:0e+00}  {(error <= allowed ? "ok" : "WRONG")}");
            int wrong = results.Count(result => !(result.Error <= result.Allowed));
            output.WriteLine(wrong == 0 ? $"all {results.Count} agree" : $"{wrong} of {results.Count} differ");
            return wrong == 0;
        }

        private void Forward(Mamba2Model model, HashSet<string> known)
        {
            (int[] ids, Shape shape) = Integers("input_ids", 2);
            using var scope = new Scope();
            (Tensor logits, _) = model.Forward(model.Backend.Tensor<int>(shape, ids));
            if (file.Contains("logits"))
                Compare("logits", logits.ToDoubles(), known);
            // The labels are the inputs: each position predicts the one after it, and the last one nothing.
            int length = shape[1];
            Tensor loss = logits.Slice(1, 0, length - 1).CrossEntropyMean(model.Backend.Tensor<int>(shape, ids).Slice(1, 1, length - 1));
            if (file.Contains("loss"))
                Compare("loss", [loss.Item()], known);
            if (!file.Names.Any(name => name.StartsWith("grad.", StringComparison.Ordinal)))
                return;
            Gradients gradients = loss.Backward();
            Dictionary<string, Parameter> parameters = model.Parameters().ToDictionary(entry => entry.Path, entry => entry.Parameter);
            foreach (string name in file.Names.Where(name => name.StartsWith("grad.", StringComparison.Ordinal)))
            {
                // The names in the file are those of whoever made it. The gradient of a tied head is part of the embedding's.
                if (parameters.TryGetValue(Checkpoint.ParameterPath(name["grad.".Length..]), out Parameter? parameter))
                    Compare(name, gradients[parameter.Value].ToDoubles(), known);
            }
        }

        private void Generated(Mamba2Model model, HashSet<string> known)
        {
            (int[] expected, _) = Integers("generated", 2);
            (int[] ids, Shape shape) = Integers("input_ids", 2);
            int prompt = ids.AsSpan(0, shape[1]).CommonPrefixLength(expected);
            prompt = Math.Min(prompt, Math.Max(1, expected.Length - GeneratedTokens));
            if (prompt == 0)
                throw new InvalidDataException($"{file.Path}: 'generated' does not begin as row 0 of 'input_ids' does.");
            int[] actual = [.. new Generator(model, Sampler.Greedy).Continue(expected[..prompt], expected.Length - prompt, cancellation)];
            cancellation.ThrowIfCancellationRequested();
            int wrong = actual.Zip(expected.Skip(prompt), (a, b) => a == b ? 0 : 1).Sum();
            results.Add(($"generated ({actual.Length} tokens)", wrong / (double)actual.Length, 0));
            known.Add("generated");
        }

        private void Training(HashSet<string> known)
        {
            (int[] ids, Shape shape) = Integers("train.batches", 3);
            double[] expected = file.ReadDoubles("train.loss_and_gradnorm");
            int steps = shape[0], rows = shape[1], length = shape[2];
            if (expected.Length != 2 * steps)
                throw new InvalidDataException($"{file.Path}: 'train.loss_and_gradnorm' has {expected.Length} numbers for {steps} batches.");
            using var scope = new Scope();
            Mamba2Model model = load();
            using var trainer = new Trainer(model, step => Batch((int)step), length - 1, new LearningRateSchedule(TrainingRate, steps, 0, LearningRateDecay.Constant), TrainingSettings);
            double lossError = 0, normError = 0;
            for (int step = 0; step < steps; step++)
            {
                cancellation.ThrowIfCancellationRequested();
                StepReport report = trainer.Step();
                lossError = Math.Max(lossError, RelativeError.Of([report.Loss], [expected[2 * step]], floor: 0));
                normError = Math.Max(normError, RelativeError.Of([report.GradientNorm], [expected[2 * step + 1]], floor: 0));
            }
            results.Add(($"train.loss ({steps} steps, largest)", lossError, AllowedInTraining));
            results.Add(($"train.gradnorm ({steps} steps, largest)", normError, AllowedInTraining));
            known.Add("train.loss_and_gradnorm");

            TokenBatch Batch(int step)
            {
                var inputs = new List<int>();
                var labels = new List<int>();
                for (int row = 0; row < rows; row++)
                {
                    ReadOnlySpan<int> tokens = ids.AsSpan((step * rows + row) * length, length);
                    inputs.AddRange(tokens[..^1]);
                    labels.AddRange(tokens[1..]);
                }
                return new TokenBatch([.. inputs], [.. labels]);
            }
        }

        private void Compare(string name, double[] actual, HashSet<string> known)
        {
            double[] expected = file.ReadDoubles(name);
            if (expected.Length != actual.Length)
                throw new InvalidDataException($"{file.Path}: '{name}' has {expected.Length} elements; the model gives {actual.Length}.");
            results.Add((name, RelativeError.Of(actual, expected, floor: 0), Allowed));
            known.Add(name);
        }

        private (int[] Values, Shape Shape) Integers(string name, int rank)
        {
            Shape shape = file.Entry(name).Shape;
            if (shape.Rank != rank)
                throw new InvalidDataException($"{file.Path}: '{name}' must have {rank} axes; it is {shape}.");
            return (file.ReadInts(name), shape);
        }
    }
}
