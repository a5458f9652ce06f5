using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2;

/// <summary>What one layer carries from token to token.</summary>
/// <param name="Convolution">The last K − 1 inputs of the convolution, oldest first: [B, K − 1, channels].</param>
/// <param name="Recurrent">The state of every head: [B, H, P, N].</param>
public sealed record LayerState(Tensor Convolution, Tensor Recurrent);

/// <summary>What a model carries from token to token: all it knows of what it has read, of a size that does not grow.</summary>
public sealed class Mamba2State(IReadOnlyList<LayerState> layers)
{
    /// <summary>The layers' states.</summary>
    public IReadOnlyList<LayerState> Layers => layers;

    /// <summary>The number of sequences.</summary>
    public int Batch => layers[0].Recurrent.Shape[0];

    /// <summary>The state before the first token.</summary>
    public static Mamba2State Zeros(Mamba2Config config, int batch, Backend backend, DType type = DType.F32) => new(
    [
        .. Enumerable.Range(0, config.Layers).Select(_ => new LayerState(
            backend.Zeros(new TensorType(type, [batch, config.ConvolutionTaps - 1, config.ConvolutionWidth])),
            backend.Zeros(new TensorType(type, [batch, config.Heads, config.HeadSize, config.StateSize])))),
    ]);

    /// <summary>All tensors of the state.</summary>
    public IEnumerable<Tensor> Tensors => layers.SelectMany(layer => new[] { layer.Convolution, layer.Recurrent });

    /// <summary>The same state without its history: no gradient passes through it.</summary>
    public Mamba2State Detach() => new([.. layers.Select(layer => new LayerState(layer.Convolution.Detach(), layer.Recurrent.Detach()))]);

    /// <summary>Takes over another state's values in place.</summary>
    public void CopyFrom(Mamba2State other)
    {
        foreach ((Tensor target, Tensor source) in Tensors.Zip(other.Tensors))
            Tensor.Overwrite(new Affine(1, 0), [source], target);
    }
}
