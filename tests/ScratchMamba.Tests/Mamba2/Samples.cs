using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Small models for tests, one for each option.</summary>
internal static class Samples
{
    public static readonly Mamba2Config Plain = new()
    {
        VocabularySize = 11, Width = 12, Layers = 2, StateSize = 5, HeadSize = 6, ChunkSize = 8, NormPerGroup = false,
    };

    public static readonly IReadOnlyDictionary<string, Mamba2Config> All = new Dictionary<string, Mamba2Config>
    {
        ["plain"] = Plain,
        ["untied"] = Plain with { TiedEmbeddings = false },
        ["two groups, norm over the whole width"] = Plain with { Groups = 2 },
        ["two groups, norm per group"] = Plain with { Groups = 2, NormPerGroup = true },
        ["a group for each head"] = Plain with { Groups = 4, NormPerGroup = true },
        ["D per channel"] = Plain with { SkipPerChannel = true },
        ["time step limits"] = Plain with { TimeStepLow = 0.01, TimeStepHigh = 0.05 },
        ["norm before the gate"] = Plain with { NormBeforeGate = true },
        ["norm before the gate, per group"] = Plain with { NormBeforeGate = true, Groups = 2, NormPerGroup = true },
        ["no gated norm"] = Plain with { GatedNorm = false },
        ["biases"] = Plain with { ProjectionBias = true },
        ["no convolution bias"] = Plain with { ConvolutionBias = false },
        ["three taps"] = Plain with { ConvolutionTaps = 3 },
        ["one tap"] = Plain with { ConvolutionTaps = 1 },
        ["a learned initial state"] = Plain with { LearnsInitialState = true },
        ["expansion 3, odd sizes"] = Plain with { Width = 7, Expansion = 3, HeadSize = 3, StateSize = 1, Groups = 7, NormPerGroup = true },
        ["a head of one channel"] = Plain with { HeadSize = 1, StateSize = 3 },
    };

    public static TheoryData<string> Names => [.. All.Keys];

    /// <summary>A float64 model whose every parameter is random, those that start as constants too.</summary>
    public static Mamba2Model Model(string name, Backend backend, DType type = DType.F64)
    {
        var model = new Mamba2Model(All[name], backend, type, seed: 7);
        var random = new Random(5);
        foreach ((_, Parameter parameter) in model.Parameters())
        {
            double[] values = parameter.Value.ToDoubles();
            for (int i = 0; i < values.Length; i++)
                values[i] += 0.3 * (random.NextDouble() - 0.5);
            if (type == DType.F64)
                parameter.Value.Write<double>(values);
            else
                parameter.Value.Write<float>(Array.ConvertAll(values, value => (float)value));
        }
        return model;
    }

    public static int[] Tokens(int count, int seed = 3)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(Plain.VocabularySize))];
    }
}
