using ScratchMamba.Generation;
using ScratchMamba.Mamba2;
using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Mamba2.Probes;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Tests.Mamba2;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Cures and probes on a device agree with float64 on the CPU.</summary>
[Collection(nameof(VulkanCollection))]
public sealed class CuresOnVulkanTests(VulkanFixture fixture)
{
    private const int Batch = 2, Length = 21;

    [Theory, InlineData("retention=0.9,insertion=0.75"), InlineData("window=6,step=2"), InlineData("reset=8"), InlineData("stagger=10"), InlineData("norm=0.02@5")]
    public void CuresAgreeWithTheCpu(string text)
    {
        using var scope = new Scope();
        using var cpu = new CpuBackend();
        Outcome[] outcomes = [.. new[] { Samples.Model("plain", cpu), Samples.Model("plain", fixture.Backend, DType.F32) }.Select(model =>
        {
            model.Cure = Cure.Parse(text);
            int[] tokens = Samples.Tokens(Batch * Length);
            (Tensor whole, Mamba2State state) = model.Forward(model.Backend.Tensor<int>([Batch, Length], tokens));
            (Tensor next, state) = model.Step(model.Backend.Tensor<int>([Batch], tokens[..Batch]), state);
            return Outcome.Of(model, (TensorOperations.Concatenate(1, whole, next.Reshape([Batch, 1, model.Config.VocabularySize])), state));
        })];
        Outcome.AssertClose(outcomes[0], outcomes[1], 1e-5);
    }

    [Fact]
    public void ProbesSeeTheSame()
    {
        using var scope = new Scope();
        using var cpu = new CpuBackend();
        StateProbe[] probes = [new(5), new(5)];
        foreach ((StateProbe probe, Mamba2Model model) in probes.Zip([Samples.Model("plain", cpu), Samples.Model("plain", fixture.Backend, DType.F32)]))
        {
            model.Observer = probe;
            model.Forward(model.Backend.Tensor<int>([Batch, Length], Samples.Tokens(Batch * Length)));
        }
        foreach ((LayerSample expected, LayerSample actual) in probes[0][1].Zip(probes[1][1]))
        {
            Assert.Equal(expected.Heads[1][2].State.Norm, actual.Heads[1][2].State.Norm, 1e-5);
            Assert.Equal(expected.Heads[1][2].LogRetention, actual.Heads[1][2].LogRetention, 1e-5);
        }
    }

    [Fact]
    public void ACapturedContinuationKeepsItsCure()
    {
        // Factors are part of what is captured; a window moves, and is not captured.
        using var home = new Scope();
        Mamba2Model model = Samples.Model("plain", fixture.Backend, DType.F32);
        foreach (string text in new[] { "retention=0.8,insertion=0.5", "window=3" })
        {
            model.Cure = Cure.Parse(text);
            int[] prompt = Samples.Tokens(5), generated = [.. new Generator(model, Sampler.Greedy).Continue(prompt, 20)];
            using var scope = new Scope();
            Mamba2State state = model.Forward(model.Backend.Tensor<int>([1, 5], prompt)).State;
            foreach ((int token, int following) in generated.Zip(generated[1..]))
            {
                (Tensor logits, state) = model.Step(model.Backend.Tensor<int>([1], token), state);
                Assert.Equal(logits.ToDoubles().Index().MaxBy(entry => entry.Item).Index, following);
            }
        }
    }
}
