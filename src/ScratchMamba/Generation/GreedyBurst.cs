using ScratchMamba.Mamba2;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Generation;

/// <summary>Several greedy steps as one captured program: the tokens between them never leave the device.</summary>
internal sealed class GreedyBurst : IDisposable
{
    private readonly CapturedProgram program;
    private readonly Scope home = Scope.Apart();
    private readonly Tensor tokens;

    /// <summary>A program that advances <paramref name="state"/> by <paramref name="count"/> tokens a run, beginning with <paramref name="first"/>.</summary>
    public GreedyBurst(Mamba2Model model, Mamba2State state, int first, int count)
    {
        Backend backend = model.Backend;
        Tensor token = backend.Tensor<int>([1], first);
        tokens = backend.Tensor<int>([count], new int[count]);
        home.Own([token, tokens]);
        program = backend.Capture(() =>
        {
            var made = new Tensor[count];
            Tensor current = token;
            for (int i = 0; i < count; i++)
            {
                using var scope = new Scope();
                made[i] = current = scope.Keep(model.NextInPlace(current, state));
            }
            Tensor.Overwrite(new Concatenate(0), made, tokens);
            Tensor.Overwrite(new Slice(0, count - 1, 1), [tokens], token);
        });
    }

    /// <summary>Begins to make the next tokens.</summary>
    public Lazy<int[]> Start()
    {
        program.Run();
        return tokens.ReadLater<int>();
    }

    public void Dispose()
    {
        program.Dispose();
        home.Dispose();
    }
}
