using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2;

/// <summary>Where the sequences of a batch end that are shorter than its rows.</summary>
internal sealed class Padding
{
    private readonly int[] lengths;

    /// <summary>The padding of rows of <paramref name="length"/>, of which the first so many positions are there.</summary>
    public Padding(Backend backend, DType type, int[] lengths, int length)
    {
        this.lengths = lengths;
        Mask = backend.Tensor<float>([lengths.Length, length, 1], [.. lengths.SelectMany(own => Enumerable.Range(0, length).Select(position => position < own ? 1f : 0))]).Cast(type);
        Ends = backend.Tensor<int>([lengths.Length], [.. lengths.Select((own, row) => row * length + own - 1)]);
    }

    /// <summary>1 at the positions that are there and 0 behind them, [B, L, 1].</summary>
    public Tensor Mask { get; }

    /// <summary>Where each row's last position is in [B · L].</summary>
    public Tensor Ends { get; }

    /// <summary>The last inputs of each row, as many as <paramref name="before"/> has: [B, K − 1, channels].</summary>
    public Tensor Last(Tensor before, Tensor x)
    {
        Tensor all = TensorOperations.Concatenate(1, before, x);
        return TensorOperations.Concatenate(0, [.. lengths.Select((length, row) => all.Slice(0, row, 1).Slice(1, length, before.Shape[1]))]);
    }
}
