using System.Runtime.InteropServices;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

/// <summary>Trainings in which something goes wrong.</summary>
public sealed class TroubleTests : IDisposable
{
    private const int Length = 20;

    private static readonly Mamba2Config Config = new() { VocabularySize = 32, Width = 16, Layers = 2, StateSize = 4, HeadSize = 8, ChunkSize = 8 };

    private static readonly int[] Tokens = [.. Enumerable.Range(0, 4000).Select(i => (i * i + i / 7) % 32)];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void TheFirstNumberThatIsNotFiniteIsNamed()
    {
        using var cpu = new CpuBackend();
        var faulty = new FaultyBackend(cpu);
        var finite = new FiniteBackend(faulty) { IsChecking = false };
        var batches = new TokenBatches(Tokens, 2, Length, seed: 3);
        Trainer Start(NonFinite policy) => new(
            new Mamba2Model(Config, finite, seed: 1),
            number =>
            {
                faulty.Begin(number == 2);
                return batches[number];
            },
            Length, new LearningRateSchedule(1e-3, 100, 0, LearningRateDecay.Constant))
        { OnNonFinite = policy };

        // A step without a fault makes nothing that is not finite.
        Trainer sound = Start(NonFinite.Stop);
        finite.IsChecking = true;
        sound.Step();
        finite.IsChecking = false;
        faulty.Begin(arms: false);
        using (new Scope())
            Trainer.Loss(sound.Model, batches[2], Length).Backward();
        int operations = faulty.Count, named = 0, inGradients = 0;
        var random = new Random(1);
        for (int trial = 0; trial < 25; trial++)
        {
            faulty.Begin(arms: false);
            faulty.Target = random.Next(operations);
            Trainer trainer = Start(NonFinite.Stop);
            trainer.Step();
            trainer.Step();
            faulty.Injected = null;
            double[] before = Weights(trainer.Model);
            try
            {
                trainer.Step();
            }
            catch (NumericalException fault)
            {
                Assert.Contains("step 3", fault.Message, StringComparison.OrdinalIgnoreCase);
                Assert.Contains(faulty.Injected!, fault.Message, StringComparison.Ordinal);
                Assert.Equal(before, Weights(trainer.Model));
                named++;
                inGradients += faulty.Injected!.Contains("gradient of backbone.layers.", StringComparison.Ordinal) ? 1 : 0;
            }
        }
        // Not every number has a part in the loss or a gradient.
        Assert.InRange(named, 12, 25);
        Assert.NotEqual(0, inGradients);

        faulty.Begin(arms: false);
        faulty.Target = operations / 3;
        Trainer skipping = Start(NonFinite.Skip);
        StepReport[] reports = [.. Enumerable.Range(0, 5).Select(_ => skipping.Step())];
        Assert.Equal([false, false, true, false, false], reports.Select(report => report.Skipped is not null));
        Assert.Equal((5, 4), (skipping.StepsDone, skipping.Optimizer.Updates));
    }

    [Fact]
    public void TenSkippedStepsInARowAreTheEnd()
    {
        using var cpu = new CpuBackend();
        var batches = new TokenBatches(Tokens, 2, Length, seed: 3);
        var model = new Mamba2Model(Config, cpu, seed: 1);
        model.Parameters().First().Parameter.Value.Write<float>([.. Enumerable.Repeat(float.NaN, 32 * 16)]);
        using var trainer = new Trainer(model, number => batches[number], Length, new LearningRateSchedule(1e-3, 100, 0, LearningRateDecay.Constant)) { OnNonFinite = NonFinite.Skip };
        for (int i = 0; i < 9; i++)
            Assert.NotNull(trainer.Step().Skipped);
        Assert.Contains("10 steps in a row", Assert.Throws<NumericalException>(() => trainer.Step()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AfterASpikeTrainingGoesBackAndPastItsBatches()
    {
        using var cpu = new CpuBackend();
        var batches = new TokenBatches([.. Enumerable.Range(0, 4000).Select(i => i % 32)], 2, Length, seed: 3);
        var noted = new Notes();
        var read = new List<long>();
        TokenBatch Batch(long number)
        {
            read.Add(number);
            TokenBatch batch = batches[number];
            return number == 47 ? batch with { Labels = [.. batch.Labels.Select(label => (label + 11) % 32)] } : batch;
        }
        using var run = new RunFolder(folder.File("run"));
        var training = new TrainingRun
        {
            Trainer = new Trainer(new Mamba2Model(Config, cpu, seed: 1), Batch, Length, new LearningRateSchedule(1e-2, 60, 5, LearningRateDecay.Constant)),
            Folder = run,
            SaveEvery = new SaveInterval(10, TimeSpan.Zero),
            Spikes = new SpikeDetector(2),
        };
        training.Observers.Add(noted);
        training.Run(CancellationToken.None);
        Assert.Equal([40L], noted.Returns);
        Assert.Equal(60, training.StepsDone);
        // Up to batch 47, back to step 40, and on with batch 48.
        Assert.Equal([.. Enumerable.Range(0, 68).Select(number => (long)number)], read);
    }

    [Fact]
    public void ASpikeIsFarAboveTheLossesBefore()
    {
        var detector = new SpikeDetector(5);
        for (int i = 0; i < 40; i++)
            Assert.False(detector.IsSpike(2 + 0.1 * (i % 2)));
        Assert.False(detector.IsSpike(2.2));
        Assert.True(detector.IsSpike(3));
        Assert.True(detector.IsSpike(3));
        Assert.False(detector.IsSpike(2));
    }

    private static double[] Weights(Mamba2Model model) => [.. model.Parameters().SelectMany(entry => entry.Parameter.Value.ToDoubles())];

    private sealed class Notes : ITrainingObserver
    {
        public List<long> Returns { get; } = [];

        public void Returned(long step) => Returns.Add(step);
    }

    /// <summary>Spoils a number that one operation makes.</summary>
    private sealed class FaultyBackend(Backend inner) : DecoratedBackend(inner)
    {
        private bool isArmed;

        public int Target { get; set; } = -1;

        public int Count { get; private set; }

        /// <summary>What made the number, and where, as messages have it.</summary>
        public string? Injected { get; set; }

        public void Begin(bool arms) => (isArmed, Count) = (arms, 0);

        public override void Execute(Call call)
        {
            base.Execute(call);
            if (Count++ != Target || !isArmed || call.Outputs[0].DType != DType.F32)
                return;
            var values = new float[call.Outputs[0].Count];
            Inner.Read(call.Outputs[0].Storage, MemoryMarshal.AsBytes(values.AsSpan()));
            values[values.Length / 2] = float.NaN;
            Inner.Write(call.Outputs[0].Storage, MemoryMarshal.AsBytes(values.AsSpan()));
            Injected = $"{Place.Suffix}: {call.Operation.Name} made NaN";
        }
    }
}
