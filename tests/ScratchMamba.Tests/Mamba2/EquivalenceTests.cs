using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Mamba2;

/// <summary>Chunked scan ≡ step ≡ sequential recurrence, for every option: outputs, final states and gradients, in float64.</summary>
public sealed class EquivalenceTests : IDisposable
{
    private const int Batch = 2, Length = 21;
    private const double Tolerance = 1e-10;

    private readonly CpuBackend cpu = new();
    private readonly Scope scope = new();

    public static TheoryData<string> Names => Samples.Names;

    public void Dispose()
    {
        scope.Dispose();
        cpu.Dispose();
    }

    [Theory, MemberData(nameof(Names))]
    public void TheScanIsTheRecurrence(string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        int[] tokens = Samples.Tokens(Batch * Length);
        Outcome expected = Outcome.Of(model, new SequentialReference(model).Forward(tokens, Batch));
        Outcome actual = Outcome.Of(model, model.Forward(cpu.Tensor<int>([Batch, Length], tokens)));
        Outcome.AssertClose(expected, actual);
    }

    [Theory, MemberData(nameof(Names))]
    public void TheStepIsTheRecurrence(string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        int[] tokens = Samples.Tokens(Batch * Length);
        Outcome expected = Outcome.Of(model, new SequentialReference(model).Forward(tokens, Batch));
        Mamba2State? state = null;
        var logits = new Tensor[Length];
        for (int t = 0; t < Length; t++)
        {
            (Tensor next, state) = model.Step(cpu.Tensor<int>([Batch], tokens[t], tokens[Length + t]), state);
            logits[t] = next.Reshape([Batch, 1, model.Config.VocabularySize]);
        }
        Outcome.AssertClose(expected, Outcome.Of(model, (TensorOperations.Concatenate(1, logits), state!)));
    }

    [Theory, MemberData(nameof(Names))]
    public void TheStepInPlaceIsTheStep(string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        int[] tokens = Samples.Tokens(Batch * 3);
        (_, Mamba2State state) = model.Forward(cpu.Tensor<int>([Batch, 2], tokens[..(2 * Batch)]));
        Mamba2State own = Mamba2State.Zeros(model.Config, Batch, cpu, DType.F64);
        own.CopyFrom(state);
        foreach (int t in new[] { 0, 2, 4 })
        {
            Tensor token = cpu.Tensor<int>([Batch], tokens[t..(t + Batch)]);
            (Tensor expected, state) = model.Step(token, state);
            Assert.InRange(RelativeError.Of(model.StepInPlace(token, own).ToDoubles(), expected.ToDoubles()), 0, 1e-12);
            foreach ((Tensor left, Tensor right) in state.Tensors.Zip(own.Tensors))
                Assert.InRange(RelativeError.Of(right.ToDoubles(), left.ToDoubles()), 0, 1e-12);
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void ACarriedStateContinuesTheSequenceWithItsGradient(string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        int[] tokens = Samples.Tokens(Length);
        Outcome whole = Outcome.Of(model, model.Forward(cpu.Tensor<int>([1, Length], tokens)));
        foreach (int cut in new[] { 1, 2, 8, 13, 20 })
        {
            (Tensor first, Mamba2State between) = model.Forward(cpu.Tensor<int>([1, cut], tokens[..cut]));
            (Tensor second, Mamba2State last) = model.Forward(cpu.Tensor<int>([1, Length - cut], tokens[cut..]), between);
            Outcome.AssertClose(whole, Outcome.Of(model, (TensorOperations.Concatenate(1, first, second), last)));
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void DocumentsPackedInARowAreAsIfApart(string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        if (model.Config.LearnsInitialState)
            return; // The learned state opens rows, not the documents inside them.
        int[] tokens = Samples.Tokens(Batch * Length);
        // Documents shorter than the taps, longer than a chunk, and ending with one.
        int[] sequence = [.. Enumerable.Repeat(4, 2), .. Enumerable.Repeat(9, 14), .. Enumerable.Repeat(5, 5), .. Enumerable.Repeat(0, 8), .. Enumerable.Repeat(1, 1), .. Enumerable.Repeat(2, 12)];
        Tensor numbers = cpu.Tensor<int>([Batch, Length], sequence);
        Outcome expected = Outcome.Of(model, new SequentialReference(model).Forward(tokens, Batch, null, sequence));
        Outcome.AssertClose(expected, Outcome.Of(model, model.Forward(cpu.Tensor<int>([Batch, Length], tokens), null, numbers)));

        (Tensor alone, Mamba2State state) = model.Forward(cpu.Tensor<int>([1, 14], tokens[2..16]));
        (Tensor packed, _) = model.Forward(cpu.Tensor<int>([Batch, Length], tokens), null, numbers);
        Assert.InRange(RelativeError.Of(packed.Slice(0, 0, 1).Slice(1, 2, 14).ToDoubles(), alone.ToDoubles()), 0, Tolerance);
    }

    [Theory, MemberData(nameof(Names))]
    public void PackedRowsContinueACarriedState(string name)
    {
        Mamba2Model model = Samples.Model(name, cpu);
        int[] before = Samples.Tokens(Batch * 9, seed: 8), tokens = Samples.Tokens(Batch * Length);
        int[] sequence = [.. Enumerable.Repeat(0, 6), .. Enumerable.Repeat(1, 15), .. Enumerable.Repeat(0, 21)];
        (_, Mamba2State carried) = model.Forward(cpu.Tensor<int>([Batch, 9], before));
        Outcome expected = Outcome.Of(model, new SequentialReference(model).Forward(tokens, Batch, carried, sequence));
        (_, Mamba2State again) = model.Forward(cpu.Tensor<int>([Batch, 9], before));
        Outcome.AssertClose(expected, Outcome.Of(model, model.Forward(cpu.Tensor<int>([Batch, Length], tokens), again, cpu.Tensor<int>([Batch, Length], sequence))));
    }

    [Fact]
    public void TheChunkSizeDoesNotMatter()
    {
        int[] tokens = Samples.Tokens(Batch * Length);
        Outcome? expected = null;
        foreach (int chunk in new[] { 1, 2, 7, 8, 21, 64, 256 })
        {
            var model = new Mamba2Model(Samples.Plain with { ChunkSize = chunk }, cpu, DType.F64, seed: 1);
            Outcome actual = Outcome.Of(model, model.Forward(cpu.Tensor<int>([Batch, Length], tokens)));
            Outcome.AssertClose(expected ??= actual, actual);
        }
    }

    [Fact]
    public void ATokenChangesNothingBeforeIt()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        int[] tokens = Samples.Tokens(Length), changed = [.. tokens];
        const int At = 13;
        changed[At] = (changed[At] + 1) % model.Config.VocabularySize;
        float[] before = model.Forward(cpu.Tensor<int>([1, Length], tokens)).Logits.ToArray<float>();
        float[] after = model.Forward(cpu.Tensor<int>([1, Length], changed)).Logits.ToArray<float>();
        int vocabulary = model.Config.VocabularySize;
        Assert.Equal(before[..(At * vocabulary)], after[..(At * vocabulary)]);
        for (int t = At; t < Length; t++)
            Assert.NotEqual(before[(t * vocabulary)..((t + 1) * vocabulary)], after[(t * vocabulary)..((t + 1) * vocabulary)]);
    }

    [Fact]
    public void RecomputingBlocksGivesTheSameBits()
    {
        Mamba2Model model = Samples.Model("plain", cpu, DType.F32);
        Tensor tokens = cpu.Tensor<int>([Batch, Length], Samples.Tokens(Batch * Length));
        Outcome kept = Outcome.Of(model, model.Forward(tokens));
        model.RecomputedLayers = int.MaxValue;
        Outcome recomputed = Outcome.Of(model, model.Forward(tokens));
        Assert.Equal(kept.Logits, recomputed.Logits);
        foreach ((string path, double[] gradient) in kept.Gradients)
            Assert.Equal(gradient, recomputed.Gradients[path]);
    }

    [Fact]
    public void PrefillGivesTheLastLogits()
    {
        Mamba2Model model = Samples.Model("untied", cpu);
        Tensor tokens = cpu.Tensor<int>([Batch, Length], Samples.Tokens(Batch * Length));
        double[] expected = model.Forward(tokens).Logits.Slice(1, Length - 1, 1).ToDoubles();
        Assert.Equal(expected, model.Prefill(tokens).Logits.ToDoubles(), (a, b) => Math.Abs(a - b) < Tolerance);
    }
}
