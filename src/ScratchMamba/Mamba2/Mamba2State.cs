using ScratchMamba.Mamba2.Cures;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2;

/// <summary>What one layer carries from token to token.</summary>
/// <param name="Convolution">The last K − 1 inputs of the convolution, oldest first: [B, K − 1, channels].</param>
/// <param name="Recurrent">The state of every head: [B, H, P, N], which may be held in 16 bits; see <see cref="Mamba2Model.StateType"/>.</param>
public sealed record LayerState(Tensor Convolution, Tensor Recurrent)
{
    /// <summary>What a cure carries beside the state; null without one that does.</summary>
    public CureMemory? Memory { get; init; }

    /// <summary>log α₁:ₜ, how much every head retains of its first token: Σ log αₛ over all tokens read, [B, H]. Null unless <see cref="Mamba2Model.TracksRetention"/> is set.</summary>
    public Tensor? LogRetention { get; init; }

    /// <summary>All tensors of the state.</summary>
    public IEnumerable<Tensor> Tensors => [Convolution, Recurrent, .. Memory?.Tensors ?? [], .. LogRetention is null ? (Tensor[])[] : [LogRetention]];

    /// <summary>The same state with that of the heads rounded to, or widened from, a type.</summary>
    internal LayerState HeldIn(DType type) => Recurrent.DType == type ? this : this with { Recurrent = Recurrent.Cast(type) };

    /// <summary>The same state of other tensors, in the order of <see cref="Tensors"/>.</summary>
    internal LayerState With(ReadOnlySpan<Tensor> tensors) => new(tensors[0], tensors[1])
    {
        Memory = Memory is null ? null : new CureMemory(Memory.Position, tensors[2..(2 + Memory.Tensors.Count)].ToArray()),
        LogRetention = LogRetention is null ? null : tensors[^1],
    };
}

/// <summary>What a model carries from token to token: all it knows of what it has read, of a size that does not grow.</summary>
public sealed class Mamba2State(IReadOnlyList<LayerState> layers)
{
    /// <summary>The layers' states.</summary>
    public IReadOnlyList<LayerState> Layers => layers;

    /// <summary>The number of sequences.</summary>
    public int Batch => layers[0].Recurrent.Shape[0];

    /// <summary>The state before the first token of a model without cures and learned initial states; see <see cref="Mamba2Model.EmptyState"/> for the others.</summary>
    public static Mamba2State Zeros(Mamba2Config config, int batch, Backend backend, DType type = DType.F32) => new(
    [
        .. Enumerable.Range(0, config.Layers).Select(_ => new LayerState(
            backend.Zeros(new TensorType(type, [batch, config.ConvolutionTaps - 1, config.ConvolutionWidth])),
            backend.Zeros(new TensorType(type, [batch, config.Heads, config.HeadSize, config.StateSize])))),
    ]);

    /// <summary>All tensors of the state.</summary>
    public IEnumerable<Tensor> Tensors => layers.SelectMany(layer => layer.Tensors);

    /// <summary>The same state without its history: no gradient passes through it.</summary>
    public Mamba2State Detach() => new([.. layers.Select(layer => layer.With([.. layer.Tensors.Select(tensor => tensor.Detach())]))]);

    /// <summary>The same state in memory of its own.</summary>
    public Mamba2State Copy() => Stack([this]);

    /// <summary>The sequences of several states as those of one, in order. The states must have been made by models alike; positions that a cure counts are those of the first.</summary>
    internal static Mamba2State Stack(IReadOnlyList<Mamba2State> states) => new(
    [
        .. states[0].Layers.Select((first, layer) =>
        {
            Tensor[][] parts = [.. states.Select(state => state.Layers[layer].Tensors.ToArray())];
            // A copy even of a single one, which Concatenate as a function would return as it is.
            return first.With([.. Enumerable.Range(0, parts[0].Length).Select(i => Tensor.Apply(new Concatenate(0), [.. parts.Select(part => part[i])]))]);
        }),
    ]);

    /// <summary>Some of the sequences, in memory of their own.</summary>
    internal Mamba2State Rows(ReadOnlySpan<int> rows)
    {
        Tensor indices = layers[0].Recurrent.Backend.Tensor([rows.Length], rows);
        return new([.. layers.Select(layer => layer.With([.. layer.Tensors.Select(tensor => tensor.Gather(indices))]))]);
    }

    /// <summary>Takes over another state's values in place.</summary>
    /// <exception cref="ArgumentException">The states are not alike.</exception>
    public void CopyFrom(Mamba2State other)
    {
        if (Tensors.Count() != other.Tensors.Count() || layers.Zip(other.Layers).Any(pair => pair.First.Memory is null != pair.Second.Memory is null))
            throw new ArgumentException("The states are not alike: one carries what a cure needs, the other does not. A model's EmptyState has all that it needs.");
        foreach ((Tensor target, Tensor source) in Tensors.Zip(other.Tensors))
            Tensor.Overwrite(new Concatenate(0), [source], target);
        foreach ((LayerState target, LayerState source) in layers.Zip(other.Layers))
            target.Memory?.MoveTo(source.Memory!.Position);
    }
}
