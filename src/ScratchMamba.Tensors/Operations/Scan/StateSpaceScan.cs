namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// The selective state space scan <c>h_t = exp(dt_t·A) · h_{t−1} + dt_t · x_t ⊗ B_t, y_t = C_t h_t + D · x_t</c>, computed by chunks in time linear in the length:
    /// what each chunk adds to the state, the states between chunks, and from them the outputs.
    /// </summary>
    /// <param name="x">[B, L, H, P].</param>
    /// <param name="dt">Step sizes, positive: [B, L, H].</param>
    /// <param name="a">Decay rates A, negative: [H].</param>
    /// <param name="b">[B, L, G, N], where G divides H: head h uses group h / (H / G).</param>
    /// <param name="c">[B, L, G, N].</param>
    /// <param name="skip">D, per head [H] or per channel [H, P]; null for none.</param>
    /// <param name="initial">The state before the first position, [B, H, P, N]; null for zero.</param>
    /// <param name="sequence">Which document each position belongs to, I32 [B, L]: the state starts afresh where it changes. Null for a single one.</param>
    /// <param name="chunk">
    /// Positions per chunk. It changes the speed, not the result. Of 32 to 256, 64 was the best on the CPU for P 32 and N 64 and within a tenth of it for P 64 and N 128, forward and
    /// backward together. Twice that moves half as many states through memory, but 4·Q² elements of it no longer fit the second-level cache.
    /// </param>
    /// <param name="precision">How exactly matrices are multiplied; decays and sums are float32 whatever is said.</param>
    /// <returns>y [B, L, H, P], and the state after the last position [B, H, P, N].</returns>
    /// <remarks>Tri Dao and Albert Gu, "Transformers are SSMs", arXiv 2405.21060, section 6.</remarks>
    public static (Tensor Y, Tensor FinalState) StateSpaceScan(
        this Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c, Tensor? skip = null, Tensor? initial = null, Tensor? sequence = null, int chunk = 64, MatMulPrecision precision = MatMulPrecision.Full)
    {
        Tensor added = x.ChunkState(dt, a, b, sequence, chunk, precision);
        Tensor retention = dt.ChunkRetention(a, sequence, chunk);
        (Tensor states, Tensor final) = added.StatePassing(retention, initial, x.DType.IsNarrow() ? x.DType : null);
        Tensor y = x.ChunkScan(dt, a, b, c, states, skip, sequence, chunk, precision);
        return (y, final);
    }
}
