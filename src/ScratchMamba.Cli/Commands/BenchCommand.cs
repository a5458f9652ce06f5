using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Training;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Cli.Commands;

/// <summary>bench: measures speed, on random data.</summary>
internal static partial class BenchCommand
{
    private const double Giga = 1e9;

    private static readonly Option<string> Device = CommonOptions.Device();
    private static readonly Option<string?> Timeline = CommonOptions.Trace();
    private static readonly Option<int> Repeat = CommonOptions.Count("--repeat", 9, "How many samples the median is taken over.");
    private static readonly Option<bool> Tune = new("--tune")
    {
        Description = "First measure every kernel that can do what is needed, and keep the fastest for these shapes on this device with this driver, for this and all later commands. Other kernels add up in another order, so results change in their last bits.",
    };

    private static readonly Option<bool> Json = new("--json") { Description = "One JSON object for each measurement." };

    public static Verb Create()
    {
        var command = new Verb("bench", "Measure speed: medians with their spread, on random data.", "scratchmamba bench gemm --m 1024 --n 1024 --k 1024");
        command.Subcommands.Add(Gemm());
        command.Subcommands.Add(Copy());
        command.Subcommands.Add(Bytes());
        command.Subcommands.Add(Chain());
        command.Subcommands.Add(Scan());
        command.Subcommands.Add(Train());
        command.Subcommands.Add(Prefill());
        command.Subcommands.Add(Decode());
        return command;
    }

    private static Verb Gemm()
    {
        Option<int> m = CommonOptions.Count("--m", 1024, "Rows of the product."), n = CommonOptions.Count("--n", 1024, "Columns of the product."), k = CommonOptions.Count("--k", 1024, "The inner extent.");
        var transposeA = new Option<bool>("--transpose-a") { Description = "A is stored [k, m]." };
        var transposeB = new Option<bool>("--transpose-b") { Description = "B is stored [n, k], as the weights of a layer are." };
        Option<string> precision = CommonOptions.Precision();
        return Measured("gemm", "A matrix product.", [m, n, k, transposeA, transposeB, precision], (parsed, backend, report) =>
        {
            (int rows, int columns, int inner) = (parsed.GetValue(m), parsed.GetValue(n), parsed.GetValue(k));
            (bool ta, bool tb) = (parsed.GetValue(transposeA), parsed.GetValue(transposeB));
            MatMulPrecision exactly = CommonOptions.PrecisionOf(parsed.GetValue(precision)!);
            DType type = exactly.Activations(DType.F32, DType.F32);
            Tensor a = Noise(backend, ta ? [inner, rows] : [rows, inner], 1).Cast(type), b = Noise(backend, tb ? [columns, inner] : [inner, columns], 2).Cast(type);
            Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), () =>
            {
                using var scope = new Scope();
                a.MatMul(b, ta, tb, exactly);
            });
            double bytes = type.Size() * ((double)rows * inner + (double)inner * columns + (double)rows * columns);
            report($"gemm {rows}x{columns}x{inner}{(ta ? " transpose-a" : "")}{(tb ? " transpose-b" : "")} {parsed.GetValue(precision)}", time, 2.0 * rows * columns * inner, 0, bytes, exactly != MatMulPrecision.Full);
        });
    }

    private static Verb Copy()
    {
        Option<int> megabytes = CommonOptions.Count("--megabytes", 256, "The size of what is copied.");
        return Measured("copy", "A copy within the device's memory; bytes count once read and once written.", [megabytes], (parsed, backend, report) =>
        {
            int count = checked(parsed.GetValue(megabytes) * 250_000);
            Tensor x = Noise(backend, [count], 1), y = backend.Zeros([count]);
            Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), () => Tensor.Overwrite(new Affine(1, 0), [x], y));
            report($"copy {parsed.GetValue(megabytes)} MB", time, 0, 0, 8.0 * count);
        });
    }

    private static Verb Chain()
    {
        Option<int> length = CommonOptions.Count("--length", 1000, "How many operations.");
        return Measured("chain", "Tiny operations that depend on each other: what one costs beside its work.", [length], (parsed, backend, report) =>
        {
            Tensor x = backend.Zeros([32]);
            int count = parsed.GetValue(length);
            void Chain()
            {
                for (int i = 0; i < count; i++)
                    Tensor.Overwrite(new Affine(1, 1), [x], x);
            }
            Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), Chain);
            report($"one by one, each of {count}", new Timing(time.Median / count, time.Least / count, time.Most / count), 0, 0, 0);
            using CapturedProgram program = backend.Capture(Chain);
            time = Measurement.Time(backend, parsed.GetValue(Repeat), program.Run);
            report($"captured, each of {count}", new Timing(time.Median / count, time.Least / count, time.Most / count), 0, 0, 0);
        });
    }

    private static Verb Scan()
    {
        Option<int> batch = CommonOptions.Count("--batch", 1, "B."), length = CommonOptions.Count("--length", 2048, "L."), heads = CommonOptions.Count("--heads", 24, "H."),
            head = CommonOptions.Count("--head", 64, "P."), state = CommonOptions.Count("--state", 128, "N."), chunk = CommonOptions.Count("--chunk", 64, "Q.");
        Option<string> precision = CommonOptions.Precision();
        return Measured("scan", "The chunked scan, forward and with its gradients.", [batch, length, heads, head, state, chunk, precision], (parsed, backend, report) =>
        {
            (int b, int l, int h, int p, int n, int q) =
                (parsed.GetValue(batch), parsed.GetValue(length), parsed.GetValue(heads), parsed.GetValue(head), parsed.GetValue(state), parsed.GetValue(chunk));
            MatMulPrecision exactly = CommonOptions.PrecisionOf(parsed.GetValue(precision)!);
            DType type = exactly.Activations(DType.F32, DType.F32);
            Tensor x = Noise(backend, [b, l, h, p], 1).Cast(type).Track(), step = (Noise(backend, [b, l, h], 2) * 0.1 + 0.101).Track(), decay = (Noise(backend, [h], 3) - 1.5).Track();
            Tensor bs = Noise(backend, [b, l, 1, n], 4).Cast(type).Track(), cs = Noise(backend, [b, l, 1, n], 5).Cast(type).Track(), skip = Noise(backend, [h], 6).Track(), seed = Noise(backend, [b, l, h, p], 7).Cast(type);
            string name = $"scan B{b} L{l} H{h} P{p} N{n} Q{q} {parsed.GetValue(precision)}";
            double forward = (double)b * l * ScanPerToken((double)h * p, 1, n, q);
            Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), () =>
            {
                using var scope = new Scope();
                using var pause = Differentiation.Pause();
                x.StateSpaceScan(step, decay, bs, cs, skip, chunk: q, precision: exactly);
            });
            report($"{name} forward", time, forward, (double)b * l, 0, exactly != MatMulPrecision.Full);
            time = Measurement.Time(backend, parsed.GetValue(Repeat), () =>
            {
                using var scope = new Scope();
                x.StateSpaceScan(step, decay, bs, cs, skip, chunk: q, precision: exactly).Y.Backward(seed);
            });
            report($"{name} forward+backward", time, 3 * forward, (double)b * l, 0, exactly != MatMulPrecision.Full);
        });
    }

    private static Verb Train()
    {
        Option<int> batch = CommonOptions.Count("--batch", 8, "Rows of a batch."), length = CommonOptions.Count("--length", 512, "Tokens of a row."), models = CommonOptions.Count("--models", 1, "How many models are trained side by side.");
        Option<string> precision = CommonOptions.Precision();
        Option<int?> recompute = CommonOptions.Recompute("as many as it takes to fit by default");
        ModelOptions sizes = new();
        return Measured("train", "Training steps: forward, backward, clipping and AdamW.", [.. sizes.All, batch, length, models, recompute, precision], (parsed, backend, report) =>
        {
            (int b, int l, int count) = (parsed.GetValue(batch), parsed.GetValue(length), parsed.GetValue(models));
            Mamba2Config config = sizes.Config(parsed);
            MatMulPrecision exactly = CommonOptions.PrecisionOf(parsed.GetValue(precision)!);
            int recomputed = parsed.GetValue(recompute) ?? (count > 1 ? 0 : Memory.Require(
                on => new Mamba2Model(config, on, seed: null) { Precision = exactly }, config, new StepShape(b, l), null, averages: false,
                Memory.Available((backend as StoppableBackend)?.Device ?? backend)).Shape.Recomputed);
            var random = new Philox(1, 0);
            int[] tokens = [.. Enumerable.Range(0, b * l + 1).Select(_ => random.Next(config.VocabularySize))];
            Trainer[] trainers =
            [
                .. Enumerable.Range(0, count).Select(_ => new Trainer(
                    WithNoise(new Mamba2Model(config, backend, seed: null) { Precision = exactly, RecomputedLayers = recomputed }), _ => new TokenBatch(tokens[..^1], tokens[1..]), l,
                    new LearningRateSchedule(1e-4, 1_000_000, 0, LearningRateDecay.Constant))),
            ];
            using var ensemble = new Ensemble(trainers);
            backend.ResetPeak();
            DeviceUse? use = (backend as StoppableBackend)?.Device is { } device ? new DeviceUse(device) : null;
            Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), () =>
            {
                if (count == 1)
                    trainers[0].Step();
                else
                    ensemble.Step();
                use?.Count();
            });
            report(
                $"train {(count > 1 ? $"{count} models of " : "")}{config.ParameterCount / 1e6:0.0}M parameters, {b}x{l}{(recomputed > 0 ? $", {Math.Min(recomputed, config.Layers)} of {config.Layers} layers recomputed" : "")}, peak {backend.PeakBytes / Giga:0.00} GB{use}", time,
                3.0 * count * b * l * (PerToken(config) + Projection(config)), (double)count * b * l, 0, exactly != MatMulPrecision.Full);
            foreach (Trainer trainer in trainers)
                trainer.Dispose();
        });
    }

    private static Verb Prefill()
    {
        Option<int> batch = CommonOptions.Count("--batch", 1, "Sequences."), length = CommonOptions.Count("--length", 2048, "Tokens of a prompt.");
        Option<string> precision = CommonOptions.Precision();
        Option<string> type = CommonOptions.WeightType();
        ModelOptions sizes = new();
        return Measured("prefill", "Reading a prompt: the logits after its last token.", [.. sizes.All, batch, length, precision, type], (parsed, backend, report) =>
        {
            (int b, int l) = (parsed.GetValue(batch), parsed.GetValue(length));
            var model = new Mamba2Model(sizes.Config(parsed), backend, weights: CommonOptions.WeightTypeOf(parsed.GetValue(type)!, model: null)) { Precision = CommonOptions.PrecisionOf(parsed.GetValue(precision)!) };
            var random = new Philox(1, 0);
            Tensor tokens = backend.Tensor<int>([b, l], [.. Enumerable.Range(0, b * l).Select(_ => random.Next(model.Config.VocabularySize))]);
            Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), () =>
            {
                using var scope = new Scope();
                using var pause = Differentiation.Pause();
                model.Prefill(tokens);
            });
            report($"prefill {model.ParameterCount / 1e6:0.0}M parameters in {model.WeightType}, {b}x{l}", time, b * (l * PerToken(model.Config) + Projection(model.Config)), (double)b * l, 0, model.Precision != MatMulPrecision.Full);
        });
    }

    private static Verb Decode()
    {
        Option<int> batch = CommonOptions.Count("--batch", 1, "Sequences.");
        Option<string> type = CommonOptions.WeightType(), states = CommonOptions.StateType(), precision = CommonOptions.Precision();
        ModelOptions sizes = new();
        return Measured("decode", "Writing: one token of each sequence, with the state from the last.", [.. sizes.All, batch, type, states, precision], (parsed, backend, report) =>
        {
            int b = parsed.GetValue(batch);
            var model = new Mamba2Model(sizes.Config(parsed), backend, weights: CommonOptions.WeightTypeOf(parsed.GetValue(type)!, model: null))
            {
                StateType = CommonOptions.StateTypeOf(parsed.GetValue(states)!), Precision = CommonOptions.PrecisionOf(parsed.GetValue(precision)!),
            };
            Mamba2State state = model.EmptyState(b);
            Tensor token = backend.Tensor<int>([b], new int[b]);
            // As generation does it: greedy, each token from the one before, several in one captured program, and the next run under way when the tokens of one are read.
            const int Burst = 16;
            using CapturedProgram program = backend.Capture(() =>
            {
                Tensor current = token;
                for (int i = 0; i < Burst; i++)
                {
                    using var inner = new Scope();
                    current = inner.Keep(model.NextInPlace(current, state));
                }
                Tensor.Overwrite(new Slice(0, 0, b), [current], token);
            });
            Lazy<int[]> burst = Start();
            Timing time = Measurement.Time(backend, parsed.GetValue(Repeat), () =>
            {
                Lazy<int[]> next = Start();
                _ = burst.Value;
                burst = next;
            });
            Lazy<int[]> Start()
            {
                program.Run();
                return token.ReadLater<int>();
            }
            time = new Timing(time.Median / Burst, time.Least / Burst, time.Most / Burst);
            report(
                $"decode {model.ParameterCount / 1e6:0.0}M parameters in {model.WeightType}, states in {model.StateType}, {parsed.GetValue(precision)}, batch {b}", time, 0, b, model.Parameters().Sum(entry => (double)entry.Parameter.Value.Type.Bytes) + 2 * state.Tensors.Sum(tensor => (double)tensor.Type.Bytes));
        });
    }

    /// <summary>Floating-point operations of all layers' matrix products and scans for one token, forward; a multiply-add is two.</summary>
    private static double PerToken(Mamba2Config config) => config.Layers
        * (2.0 * config.Width * (config.ProjectionWidth + config.InnerWidth) + ScanPerToken(config.InnerWidth, config.Groups, config.StateSize, config.ChunkSize));

    /// <summary>The same of the projection onto the vocabulary.</summary>
    private static double Projection(Mamba2Config config) => 2.0 * config.Width * config.VocabularySize;

    /// <summary>2 E N for the states, 2 E N for their outputs, E Q for the causal half inside chunks, and Q N for C·Bᵀ of each group.</summary>
    private static double ScanPerToken(double inner, int groups, int state, int chunk) => inner * (4.0 * state + chunk) + (double)groups * chunk * state;

    /// <summary>The sizes of a model: those of mamba2-130m unless said otherwise.</summary>
    private sealed class ModelOptions
    {
        private readonly Option<int> layers = CommonOptions.Count("--layers", 24, "The number of blocks."), width = CommonOptions.Count("--width", 768, "The width of the residual stream."),
            state = CommonOptions.Count("--state", 128, "The size of the state of a channel."), head = CommonOptions.Count("--head", 64, "The channels of a head."),
            vocabulary = CommonOptions.Count("--vocabulary", 50288, "The number of tokens.");

        public Option[] All => [layers, width, state, head, vocabulary];

        public Mamba2Config Config(ParseResult parsed) => new()
        {
            VocabularySize = parsed.GetValue(vocabulary),
            Layers = parsed.GetValue(layers),
            Width = parsed.GetValue(width),
            StateSize = parsed.GetValue(state),
            HeadSize = parsed.GetValue(head),
        };
    }

    private static Verb Measured(string name, string description, Option[] options, Action<ParseResult, Backend, BenchReport.Writer> measure)
    {
        var verb = new Verb(name, description, $"scratchmamba bench {name}", [.. options, Device, CommonOptions.Threads, Repeat, Tune, Json, Timeline]);
        verb.SetAction((parsed, cancellation) =>
        {
            using Backend opened = Devices.Open(parsed, Device);
            TextWriter output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(Tune))
                WriteTuned(opened, parsed.GetValue(Json) ? parsed.InvocationConfiguration.Error : output, () => measure(parsed, new StoppableBackend(opened, cancellation), (_, _, _, _, _, _) => { }));
            using var traced = new Trace(opened, parsed.GetValue(Timeline), output);
            var backend = new StoppableBackend(traced.Backend, cancellation);
            bool json = parsed.GetValue(Json);
            using var scope = new Scope();
            var report = new BenchReport(output, json, opened, traced.Ceilings);
            report.WriteCeilings();
            measure(parsed, backend, report.Write);
            return Task.FromResult(CommandLine.Done);
        });
        return verb;
    }

    /// <summary>Random weights made where the model lives, for those of billions would take the host minutes: matrices as large as they begin, norms of one, steps and decays in the middle of their ranges.</summary>
    private static Mamba2Model WithNoise(Mamba2Model model)
    {
        ulong stream = 100;
        foreach ((string path, Parameter parameter) in model.Parameters())
        {
            Tensor value = parameter.Value;
            using var scope = new Scope();
            if (value.Shape.Rank > 1)
                Tensor.Overwrite(new Affine(1 / Math.Sqrt(value.Shape.Columns), 0), [Noise(model.Backend, value.Shape, ++stream)], value);
            else if (path.EndsWith("norm.weight", StringComparison.Ordinal) || path.EndsWith("norm_f.weight", StringComparison.Ordinal) || path.EndsWith(".D", StringComparison.Ordinal))
                Tensor.Overwrite(new Full(value.Type, 1), [], value);
            else if (path.EndsWith("dt_bias", StringComparison.Ordinal))
                Tensor.Overwrite(new Full(value.Type, -4.6), [], value);
            else if (path.EndsWith("A_log", StringComparison.Ordinal))
                Tensor.Overwrite(new Full(value.Type, 2), [], value);
        }
        return model;
    }

    private static void WriteTuned(Backend backend, TextWriter output, Action work)
    {
        if (backend is not VulkanBackend vulkan)
            throw new MisuseException("--tune chooses among kernels of a device; name one, such as --device vulkan.");
        vulkan.StartTuning();
        using (new Scope())
            work();
        IReadOnlyList<TunedOperation> results = vulkan.FinishTuning();
        foreach (TunedOperation result in results)
            output.WriteLine($"{result.Operation}: {result.Chosen} ({string.Join(", ", result.Times.Select(way => string.Create(CultureInfo.InvariantCulture, $"{way.Name} {1e3 * way.Seconds:0.####} ms")))})");
        if (results.Count == 0)
            output.WriteLine("Nothing here can be tuned on this device: each operation has one kernel.");
    }

    private static Tensor Noise(Backend backend, Shape shape, ulong stream) =>
        Tensor.Create(backend, new Uniform(new TensorType(DType.F32, shape), 1, stream)) * 2 - 1;

    /// <summary>What training steps take of a device and of the host beside their time: memory early and late, so that what is lost shows, and who waits for whom.</summary>
    private sealed class DeviceUse
    {
        private const int Early = 10;

        private readonly VulkanBackend device;
        private int steps;
        private long held, start;
        private TimeSpan busy, waited;

        public DeviceUse(VulkanBackend device)
        {
            this.device = device;
            device.TimesPrograms = true;
        }

        /// <summary>A step has been made.</summary>
        public void Count()
        {
            if (++steps == Early)
                (held, busy, waited, start) = (device.HeldBytes, device.ProgramTime, device.Waited, Stopwatch.GetTimestamp());
        }

        /// <summary>What is behind the name of the measurement; nothing of few steps.</summary>
        public override string ToString()
        {
            if (steps <= Early)
                return "";
            TimeSpan wall = Stopwatch.GetElapsedTime(start), worked = device.ProgramTime - busy;
            double host = (wall - (device.Waited - waited)).TotalMilliseconds / (steps - Early);
            string idle = worked > TimeSpan.Zero ? string.Create(CultureInfo.InvariantCulture, $", device idle {1 - worked / wall:0.0%}") : "";
            return string.Create(CultureInfo.InvariantCulture, $", {held / Giga:0.00} GB taken after {Early} steps, {device.HeldBytes / Giga:0.00} after {steps}, host {host:0.00} ms a step{idle}");
        }
    }

    /// <summary>Ends a measurement, which has nothing to save, at its next operation: a process must not end while one of its threads still works on a device.</summary>
    private sealed class StoppableBackend(Backend inner, CancellationToken stop) : DecoratedBackend(inner)
    {
        /// <summary>The device that works, where it is one.</summary>
        public VulkanBackend? Device => Inner as VulkanBackend;

        protected override bool SeesCaptured => false;

        public override void Write(Storage storage, ReadOnlySpan<byte> data)
        {
            stop.ThrowIfCancellationRequested();
            base.Write(storage, data);
        }

        public override void Execute(Call call)
        {
            stop.ThrowIfCancellationRequested();
            base.Execute(call);
        }

        public override void Finish()
        {
            stop.ThrowIfCancellationRequested();
            base.Finish();
        }
    }
}
