using ScratchMamba.Checkpoints;
using ScratchMamba.Mamba2;
using ScratchMamba.Studies.Data;
using ScratchMamba.Studies.Laboratory;
using ScratchMamba.Studies.Measures;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tokenizers;

namespace ScratchMamba.Tests.Studies;

/// <summary>Small models that were trained on an H200, one to keep a passkey for 256K tokens and one without ever having seen a passkey, keep it here too.</summary>
public class PasskeyTests
{
    [Theory, InlineData("passkey-2x32", 23_852, 1024, 20), InlineData("passkey-2x32", 23_852, 16_384, 6), InlineData("passkey-2x32", 23_852, 131_072, 2), InlineData("records-2x64", 76_632, 1024, 20), InlineData("records-2x64", 76_632, 65_536, 2)]
    public void ASmallModelKeepsAPasskey(string name, long parameters, int length, int samples)
    {
        using var cpu = new CpuBackend();
        Mamba2Model model = Checkpoint.Load(Golden.File(name), cpu);
        Assert.Equal(parameters, model.Config.ParameterCount);
        PasskeyTable answers = PasskeyTable.Measure(model, new TextPasskey(new ByteTokenizer()), [.. PasskeyTable.Even(length, samples)], 11, new JobContext(cpu, new Store(""), (_, _) => { }, CancellationToken.None));
        Assert.Equal((samples, samples), answers.Count(length));
        Assert.Equal((samples, samples), answers.Between(0, length));
        Assert.Equal((0, 0), answers.Between(length, 2 * length));
    }
}
