using System.Runtime.InteropServices;
using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Backends;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
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

    /// <summary>Trainings that make their steps from other operations, each the default one (a captured step) but for what it is called by.</summary>
    public static TheoryData<string> Recipes => ["captured", "bf16", "documents", "accumulated", "recomputed", "carried through", "carried bf16 documents", "penalty", "groups", "adapters"];

    [Theory, MemberData(nameof(Recipes))]
    public void TheFirstNumberThatIsNotFiniteIsNamed(string recipe)
    {
        const int FaultyStep = 2, Trials = 16;
        using var cpu = new CpuBackend();
        var faulty = new FaultyBackend(cpu);
        var finite = new FiniteBackend(faulty) { IsChecking = false };
        bool Is(string word) => recipe.Contains(word, StringComparison.Ordinal);
        int accumulation = Is("accumulated") || Is("through") ? 2 : 1;
        var batches = new TokenBatches(Tokens, 2, Length, seed: 3) { Segments = Is("carried") ? 4 : 1 };
        int[] documents = [.. Enumerable.Range(0, 2 * Length).Select(i => i % Length / 7)];
        TokenBatch Batch(long number)
        {
            if (number % accumulation == 0)
                faulty.Begin(number == FaultyStep * accumulation);
            return Is("documents") ? batches[number] with { Documents = documents } : batches[number];
        }
        Trainer Start(NonFinite policy)
        {
            var model = new Mamba2Model(Is("groups") ? Config with { Groups = 2, ProjectionBias = true } : Config, finite, seed: 1) { RecomputedLayers = Is("recomputed") ? int.MaxValue : 0 };
            if (Is("bf16"))
                model.Precision = MatMulPrecision.Bfloat16;
            if (Is("adapters"))
                model.Adapt(new LowRankAdaptation(3, 6, LowRankAdaptation.AllTargets, ""), seed: 2);
            return new Trainer(model, Batch, Length, new LearningRateSchedule(1e-3, 100, 0, LearningRateDecay.Constant), accumulation: accumulation)
            {
                OnNonFinite = policy,
                InitialStates = Is("carried") ? new CarriedStates(model, 0.2, seed: 5) : null,
                Through = Is("through") ? 2 : 1,
                Penalty = Is("penalty") ? new ForgettingPenalty(0.1, 0.1) : null,
            };
        }

        // A step without a fault makes nothing that is not finite.
        Trainer sound = Start(NonFinite.Stop);
        finite.IsChecking = true;
        for (int i = 0; i <= FaultyStep; i++)
            sound.Step();
        finite.IsChecking = false;
        int operations = faulty.Count, named = 0, inGradients = 0;
        var random = new Random(1);
        for (int trial = 0; trial < Trials; trial++)
        {
            faulty.Begin(arms: false);
            faulty.Target = random.Next(operations);
            using Trainer trainer = Start(NonFinite.Stop);
            for (int i = 0; i < FaultyStep; i++)
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
        Assert.InRange(named, Trials / 2, Trials);
        Assert.NotEqual(0, inGradients);
    }

    [Fact]
    public void AStepThatIsNotFiniteCanBeSkipped()
    {
        using var cpu = new CpuBackend();
        var faulty = new FaultyBackend(cpu) { Target = 60 };
        var batches = new TokenBatches(Tokens, 2, Length, seed: 3);
        TokenBatch Batch(long number)
        {
            faulty.Begin(number == 2);
            return batches[number];
        }
        using var trainer = new Trainer(new Mamba2Model(Config, new FiniteBackend(faulty) { IsChecking = false }, seed: 1), Batch, Length, new LearningRateSchedule(1e-3, 100, 0, LearningRateDecay.Constant))
        {
            OnNonFinite = NonFinite.Skip,
        };
        StepReport[] reports = [.. Enumerable.Range(0, 5).Select(_ => trainer.Step())];
        Assert.Equal([false, false, true, false, false], reports.Select(report => report.Skipped is not null));
        Assert.Equal((5, 4), (trainer.StepsDone, trainer.Optimizer.Updates));
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
            if (Count++ != Target || !isArmed)
                return;
            if (call.Outputs[0].DType == DType.F32)
                Spoil(call.Outputs[0], float.NaN);
            else if (call.Outputs[0].DType == DType.BF16)
                Spoil(call.Outputs[0], (BFloat16)float.NaN);
            else
                return;
            Injected = $"{Place.Suffix}: {call.Operation.Name} made NaN";
        }

        private void Spoil<T>(Tensor tensor, T value) where T : unmanaged
        {
            var values = new T[tensor.Count];
            Inner.Read(tensor.Storage, MemoryMarshal.AsBytes(values.AsSpan()));
            values[values.Length / 2] = value;
            Inner.Write(tensor.Storage, MemoryMarshal.AsBytes(values.AsSpan()));
        }
    }
}
