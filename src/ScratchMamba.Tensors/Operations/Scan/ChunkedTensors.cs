namespace ScratchMamba.Tensors.Operations;

/// <summary>Cuts the inputs of a scan into chunks, [B, chunks, H, Q, …], for the definitions of its steps. The last chunk is filled up with steps of length 0, which change nothing.</summary>
internal readonly struct ChunkedTensors(ScanShape shape, DType type)
{
    private readonly int padding = checked(shape.Chunks * shape.Q - shape.L);

    /// <summary>[B, L, H] or [B, L, H, P] to [B, chunks, H, Q, 1 or P].</summary>
    public Tensor Positions(Tensor x)
    {
        int width = x.Shape.Rank == 3 ? 1 : x.Shape[3];
        return x.Pad(1, 0, padding).Reshape([shape.B, shape.Chunks, shape.Q, x.Shape[2], width]).Permute(0, 1, 3, 2, 4);
    }

    /// <summary>The inverse of <see cref="Positions"/>.</summary>
    public Tensor Joined(Tensor x) =>
        x.Permute(0, 1, 3, 2, 4).Reshape([shape.B, checked(shape.Chunks * shape.Q), shape.H, x.Shape[4]]).Slice(1, 0, shape.L);

    /// <summary>[B, L, G, N] to [B, chunks, H, Q, N]: every head gets its group's.</summary>
    public Tensor Groups(Tensor b)
    {
        Tensor groups = Positions(b).Reshape([shape.B, shape.Chunks, shape.G, 1, shape.Q, shape.N]);
        return groups.Broadcast([shape.B, shape.Chunks, shape.G, shape.HeadsPerGroup, shape.Q, shape.N]).Reshape([shape.B, shape.Chunks, shape.H, shape.Q, shape.N]);
    }

    /// <summary>The cumulative sum of dt·A inside each chunk: [B, chunks, H, Q, 1].</summary>
    public Tensor Decay(Tensor dt, Tensor a) => Positions(dt * a).CumulativeSum(3);

    /// <summary>How many documents began in the chunk up to each position, [B, chunks, 1, Q, 1]: 0 where the position continues what came before the chunk.</summary>
    public Tensor Document(Tensor sequence)
    {
        Tensor number = sequence.Cast(type);
        Tensor previous = TensorOperations.Concatenate(1, number.Slice(1, 0, Math.Min(1, shape.L)), number.Slice(1, 0, Math.Max(0, shape.L - 1)));
        Tensor begins = 1 - number.Equal(previous);
        return begins.Pad(1, 0, padding).Reshape([shape.B, shape.Chunks, 1, shape.Q, 1]).CumulativeSum(3);
    }

    /// <summary>The last position of every chunk.</summary>
    public Tensor Last(Tensor x) => x.Slice(3, shape.Q - 1, 1);
}
