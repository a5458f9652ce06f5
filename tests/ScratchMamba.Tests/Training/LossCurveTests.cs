using System.Globalization;
using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

/// <summary>A thousand steps, against those of Hugging Face's model trained by PyTorch: <c>tools/golden/loss-curve</c>.</summary>
public class LossCurveTests
{
    private const int Rows = 4, Length = 32, Steps = 1000, WarmUp = 50;

    [Fact]
    public void AThousandStepsAreThoseOfPyTorch()
    {
        byte[] text = File.ReadAllBytes(Golden.File("tokenizer/lines.txt"));
        double[][] expected = [.. File.ReadLines(Golden.File("hf-tiny/loss-curve.txt")).Select(line => line.Split(' ').Select(number => double.Parse(number, CultureInfo.InvariantCulture)).ToArray())];
        Assert.Equal(Steps, expected.Length);
        using var cpu = new CpuBackend();
        using var trainer = new Trainer(Checkpoint.Load(Golden.File("hf-tiny"), cpu), Batch, Length, new LearningRateSchedule(2e-3, Steps, WarmUp, LearningRateDecay.Constant));
        double worst = 0, noise = 0;
        for (int step = 0; step < Steps; step++)
        {
            (double single, double exact) = (expected[step][0], expected[step][1]);
            double error = Math.Abs(trainer.Step().Loss - exact) / exact;
            if (step < 200)
                Assert.InRange(error, 0, 1e-3);
            (worst, noise) = (Math.Max(worst, error), Math.Max(noise, Math.Abs(single - exact) / exact));
        }
        // The noise is what PyTorch's float32 and float64 differ by: 1.5e-5.
        Assert.InRange(worst, 0, 10 * noise);

        TokenBatch Batch(long step)
        {
            int[] At(int offset) => [.. Enumerable.Range(0, Rows).SelectMany(row => text.Skip((int)(7919 * (Rows * step + row) % (text.Length - Length - 1)) + offset).Take(Length)).Select(value => value % 97)];
            return new TokenBatch(At(0), At(1));
        }
    }
}
