using ScratchMamba.Checkpoints;
using ScratchMamba.Data;
using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Modules;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Training;

namespace ScratchMamba.Tests.Training;

/// <summary>Low-rank adapters: trained alone, saved alone, merged where a model is asked for.</summary>
public sealed class AdapterTests : IDisposable
{
    private const int Length = 20;

    private static readonly Mamba2Config Config = new() { VocabularySize = 32, Width = 32, Layers = 2, StateSize = 8, HeadSize = 16 };

    private static readonly TokenBatches Batches = new([.. Enumerable.Range(0, 2000).Select(i => (i * i + i / 7) % 32)], 2, Length, seed: 3);

    private readonly TemporaryFolder folder = new();
    private readonly CpuBackend cpu = new();

    public AdapterTests() => Checkpoint.Save(new Mamba2Model(Config, cpu, seed: 1), Base);

    private string Base => folder.File("base");

    public void Dispose()
    {
        cpu.Dispose();
        folder.Dispose();
    }

    private Mamba2Model Adapted(params string[] targets)
    {
        Mamba2Model model = Checkpoint.Load(Base, cpu);
        model.Adapt(new LowRankAdaptation(3, 6, targets.Length == 0 ? LowRankAdaptation.AllTargets : targets, Base), seed: 5);
        return model;
    }

    private static void Train(Mamba2Model model, int steps = 3, int accumulation = 1)
    {
        using var trainer = new Trainer(model, step => Batches[step], Length, new LearningRateSchedule(2e-2, 100, 0, LearningRateDecay.Constant), accumulation: accumulation);
        for (int i = 0; i < steps; i++)
            trainer.Step();
    }

    private static float[] Logits(Mamba2Model model)
    {
        using var scope = new Scope();
        using var pause = Differentiation.Pause();
        return model.Forward(model.Backend.Tensor<int>([2, Length], Batches[9].Inputs)).Logits.ToArray<float>();
    }

    private static double Error(float[] a, float[] b) => RelativeError.Of(Array.ConvertAll(a, x => (double)x), Array.ConvertAll(b, x => (double)x));

    private static Dictionary<string, float[]> Values(Mamba2Model model) => model.Parameters().ToDictionary(entry => entry.Path, entry => entry.Parameter.Value.ToArray<float>());

    [Fact]
    public void AnAdapterThatIsNotTrainedChangesNoBit() => Assert.Equal(Logits(Checkpoint.Load(Base, cpu)), Logits(Adapted()));

    [Theory, InlineData("in_proj"), InlineData("out_proj"), InlineData("in_proj", "out_proj")]
    public void OnlyAdaptersAreTrained(params string[] targets)
    {
        Mamba2Model model = Adapted(targets);
        Dictionary<string, float[]> before = Values(model);
        Train(model);
        foreach ((string path, float[] values) in Values(model))
            Assert.Equal(!path.Contains(".lora_", StringComparison.Ordinal), values.AsSpan().SequenceEqual(before[path]));
        Assert.Equal(2 * 2 * targets.Length, before.Keys.Count(path => path.Contains(".lora_", StringComparison.Ordinal)));
        Assert.NotEqual(Logits(Checkpoint.Load(Base, cpu)), Logits(model));
    }

    [Fact]
    public void TheChangeIsTheProductOfItsMatrices()
    {
        Mamba2Model model = Adapted("out_proj"), changed = Checkpoint.Load(Base, cpu);
        Train(model);
        Dictionary<string, float[]> values = Values(model);
        foreach ((string path, Parameter parameter) in changed.Parameters().Where(entry => entry.Path.EndsWith("out_proj.weight", StringComparison.Ordinal)))
        {
            string projection = path[..^".weight".Length];
            float[] w = values[path], a = values[$"{projection}.lora_A.weight"], b = values[$"{projection}.lora_B.weight"];
            int columns = parameter.Shape[1];
            parameter.Value.Write<float>([.. Enumerable.Range(0, w.Length).Select(i => w[i] + 2 * Enumerable.Range(0, 3).Sum(k => b[i / columns * 3 + k] * a[k * columns + i % columns]))]);
        }
        Assert.InRange(Error(Logits(model), Logits(changed)), 0, 1e-5);
    }

    [Fact]
    public void AdaptersAreSavedAloneAndMergedWhereAModelIsAskedFor()
    {
        Mamba2Model model = Adapted();
        Train(model);
        string adapter = folder.File("adapter"), merged = folder.File("merged");
        Checkpoint.Save(model, adapter);
        Assert.Equal(["adapter_config.json", "adapter_model.safetensors", "config.json"], Directory.GetFiles(adapter).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        Mamba2Model loaded = Checkpoint.Load(adapter, cpu);
        Assert.Null(loaded.Adaptation);
        Assert.InRange(Error(Logits(loaded), Logits(model)), 0, 1e-5);
        Conversion.Convert(adapter, merged, ModelFormat.HuggingFace);
        Assert.Equal(Values(loaded), Values(Checkpoint.Load(merged, cpu)));
        Conversion.Convert(adapter, folder.File("merged.gguf"), ModelFormat.Gguf);
        Assert.InRange(Error(Logits(Checkpoint.Load(folder.File("merged.gguf"), cpu)), Logits(loaded)), 0, 1e-6);
        // The same without config.json, as PEFT writes it, and with the base beside it.
        File.Delete(Path.Combine(adapter, "config.json"));
        string config = Path.Combine(adapter, "adapter_config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace(Base, "../base", StringComparison.Ordinal));
        Assert.Equal(Values(loaded), Values(Checkpoint.Load(adapter, cpu)));
    }

    [Fact]
    public void AdaptersOfAQuantizedModelAreMergedBeforeItIsHeldInFewBits()
    {
        string quantized = folder.File("base.gguf"), adapter = folder.File("adapter");
        Conversion.Convert(Base, quantized, ModelFormat.Gguf, StoredType.Q8_0);
        Mamba2Model model = Checkpoint.Load(quantized, cpu);
        model.Adapt(new LowRankAdaptation(3, 6, LowRankAdaptation.AllTargets, quantized), seed: 5);
        Train(model, steps: 10);
        Checkpoint.Save(model, adapter);
        Assert.Equal(DType.Q8_0, Checkpoint.StoredWeights(quantized));
        Assert.Null(Checkpoint.StoredWeights(adapter));
        float[] held = Logits(Checkpoint.Load(adapter, cpu, weights: DType.Q8_0));
        Assert.InRange(Error(held, Logits(model)), 0, 0.02);
        Assert.True(Error(held, Logits(Checkpoint.Load(quantized, cpu))) > 0.05);
    }

    [Fact]
    public void TrainingGoesOnFromSavedAdaptersBitForBit()
    {
        Mamba2Model model = Adapted();
        Train(model);
        string adapter = folder.File("adapter");
        Checkpoint.Save(model, adapter);
        Mamba2Model again = Adapted();
        Checkpoint.LoadInto(again, adapter);
        Assert.Equal(Values(model), Values(again));
    }

    [Fact]
    public void RecomputedAccumulatedAndAdaptedGoTogether()
    {
        Mamba2Model plain = Adapted(), recomputed = Adapted();
        recomputed.RecomputedLayers = int.MaxValue;
        Train(plain, accumulation: 2);
        Train(recomputed, accumulation: 2);
        Assert.Equal(Values(plain), Values(recomputed));
        var average = new WeightAverage(plain, 0.5);
        Assert.All(average.Means, entry => Assert.Contains(".lora_", entry.Path, StringComparison.Ordinal));
    }

    [Fact]
    public void AnAdaptedModelWritesWhatTheMergedOneWrites()
    {
        Mamba2Model model = Adapted();
        Train(model, steps: 10);
        Checkpoint.Save(model, folder.File("adapter"));
        int[] Written(Mamba2Model writer) => [.. new Generator(writer, new Sampler { Temperature = 0 }).Continue([1, 2, 3], 20)];
        Assert.Equal(Written(Checkpoint.Load(folder.File("adapter"), cpu)), Written(model));
    }

    [Fact]
    public void BadAdaptersAreRefused()
    {
        Assert.Throws<ArgumentException>(() => Adapted("x_proj"));
        Mamba2Model model = Adapted();
        Assert.Throws<InvalidOperationException>(() => model.Adapt(model.Adaptation!, 1));
        string adapter = folder.File("adapter"), config = Path.Combine(adapter, "adapter_config.json");
        Checkpoint.Save(model, adapter);
        string good = File.ReadAllText(config);
        void Refused(string bad, string word)
        {
            File.WriteAllText(config, bad);
            Assert.Contains(word, Assert.Throws<CheckpointException>(() => Checkpoint.Load(adapter, cpu)).Message, StringComparison.Ordinal);
        }
        Refused(good.Replace("LORA", "IA3", StringComparison.Ordinal), "LORA");
        Refused(good.Replace("\"none\"", "\"all\"", StringComparison.Ordinal), "biases");
        Refused(good.Replace("\"r\": 3", "\"r\": 4", StringComparison.Ordinal), "adapter of");
        Refused(good.Replace("\"r\": 3", "\"r\": 0", StringComparison.Ordinal), "rank");
        Refused(good.Replace(Base, folder.File("gone"), StringComparison.Ordinal), "not there");
        Refused(good.Replace(Base, adapter, StringComparison.Ordinal), "adapter itself");
        Refused("{", "adapter_config.json");
        File.WriteAllText(config, good);
        File.Delete(Path.Combine(adapter, "adapter_model.safetensors"));
        Assert.Throws<CheckpointException>(() => Checkpoint.Load(adapter, cpu));
    }
}
