using ScratchMamba.Data;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tests.Cli;
using ScratchMamba.Tests.Tensors;
using ScratchMamba.Tests.Training;
using ScratchMamba.Training;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Trainings on a device go on exactly, too, even when the device is lost.</summary>
[Collection(nameof(VulkanCollection))]
public sealed class TrainingOnVulkanTests(VulkanFixture vulkan, SmallModel small) : IClassFixture<SmallModel>, IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory, InlineData("carried"), InlineData("fitted")]
    public void GoingOnIsAsIfTheTrainingHadNotStopped(string beginning) => ResumeTests.AssertResumes(folder, vulkan.Backend, beginning, steps: 4, stop: 2);

    [Fact]
    public void ModelsOfAnEnsembleAreTrainedAsAlone() => CapturedStepTests.EnsemblesAreTrainedAsAlone(vulkan.Backend);

    [Fact]
    public void NormsAreClipped() => AdamWTests.NormsAreClipped(vulkan.Backend);

    [Fact]
    public void AStepThatIsNotFiniteChangesNothing() => CapturedStepTests.NothingChangesByAStepThatIsNotFinite(vulkan.Backend);

    [Fact]
    public void AProcessThatIsKilledAndStoppedEndsAsIfItHadNotBeen()
    {
        _ = vulkan.Backend;
        // Few, since a driver for the processor compiles all shaders in every process.
        string device = VulkanFixture.DeviceName is { } name ? $"vulkan:{name}" : "vulkan";
        ResumeTests.AssertSurvives(
            small, folder, interruptions: 2, "--device", device, "--steps", "60", "--save-every", "7", "--initial-state", "carried", "--segments", "5", "--reset", "0.2", "--accumulate", "2", "--through", "2");
    }

    [Fact]
    public void ATrainingWhoseDeviceIsLostGoesOnFromItsLastCheckpoint()
    {
        _ = vulkan.Backend;
        var batches = new TokenBatches([.. Enumerable.Range(0, 2000).Select(i => (i * i + i / 7) % 32)], 2, 16, seed: 3) { Segments = 3 };
        Train("whole", null);
        Assert.Throws<DeviceLostException>(() => Train("lost", 4));
        Assert.Equal(3, RunFolder.CheckpointsIn(folder.File("lost"))[0].Step);
        Train("lost", null);
        Assert.Equal(Weights("whole"), Weights("lost"));

        byte[] Weights(string name) => File.ReadAllBytes(Path.Combine(RunFolder.Newest(folder.File(name))!, "model.safetensors"));

        void Train(string name, int? lostAt)
        {
            using var device = new VulkanBackend(VulkanFixture.DeviceName);
            using var run = new RunFolder(folder.File(name));
            var model = new Mamba2Model(new Mamba2Config { VocabularySize = 32, Width = 16, Layers = 1, StateSize = 4, HeadSize = 8, ChunkSize = 8 }, device, seed: 1);
            using var carried = new CarriedStates(model);
            TokenBatch Batch(long number)
            {
                if (number == lostAt)
                    device.SimulateLoss();
                return batches[number];
            }
            var training = new TrainingRun
            {
                Trainer = new Trainer(model, Batch, 16, new LearningRateSchedule(5e-3, 6, 2, LearningRateDecay.Cosine)) { InitialStates = carried },
                Folder = run,
                SaveEvery = new SaveInterval(3, TimeSpan.Zero),
            };
            training.Resume();
            training.Run(CancellationToken.None);
        }
    }
}
