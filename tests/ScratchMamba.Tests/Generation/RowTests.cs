using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Generation;

/// <summary>What texts that are written together rely on: a row of a batch is, to the last bit, what it is alone.</summary>
public class RowTests
{
    private static readonly Mamba2Config Large = new() { VocabularySize = 1000, Width = 264, Layers = 2, StateSize = 48, HeadSize = 24 };

    private static readonly Mamba2Config Odd = new() { VocabularySize = 37, Width = 27, Layers = 2, StateSize = 13, HeadSize = 9, Expansion = 3, TiedEmbeddings = false };

    /// <summary>All rows of its matrices are whole blocks.</summary>
    private static readonly Mamba2Config Blocks = new() { VocabularySize = 100, Width = 96, Layers = 2, StateSize = 48, HeadSize = 24 };

    [Theory]
    [InlineData(128, null), InlineData(256, null), InlineData(512, null), InlineData(256, DType.BF16), InlineData(256, DType.F16)]
    [InlineData(128, DType.Q8_0), InlineData(256, DType.Q8_0), InlineData(512, DType.Q8_0), InlineData(128, DType.Q4_0), InlineData(256, DType.Q4_0), InlineData(512, DType.Q4_0)]
    public void ARowOfAStepIsWhatItIsAlone(int vectorBits, DType? weights)
    {
        foreach (Mamba2Config config in weights?.IsQuantized() == true ? new[] { Blocks } : [Large, Odd])
        {
            using var cpu = new CpuBackend(2, vectorBits);
            var model = new Mamba2Model(config, cpu, seed: 3, weights: weights);
            foreach (int batch in new[] { 2, 3, 7, 8, 12 })
            {
                using var scope = new Scope();
                // Beyond twelve rows products are computed in tiles, which add up in another order.
                int[] tokens = [.. Enumerable.Range(0, batch).Select(row => row * 17 % config.VocabularySize)];
                float[][] together = Steps(model, [.. tokens]);
                for (int row = 0; row < batch; row++)
                    Assert.True(Steps(model, tokens[row])[0].AsSpan().SequenceEqual(together[row]), $"row {row} of {batch}");
            }
        }
    }

    /// <summary>The logits of each row after a few steps, in which rows feed on what they were given.</summary>
    private static float[][] Steps(Mamba2Model model, params int[] tokens)
    {
        Mamba2State state = model.EmptyState(tokens.Length);
        Tensor logits = model.StepInPlace(model.Backend.Tensor([tokens.Length], tokens), state);
        for (int i = 0; i < 3; i++)
            logits = model.StepInPlace(logits.ArgMax(), state);
        return [.. logits.ToArray<float>().Chunk(model.Config.VocabularySize)];
    }
}
