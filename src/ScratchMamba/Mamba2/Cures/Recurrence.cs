using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>The coefficients of <c>hₜ = exp(Δₜ A) hₜ₋₁ + Δₜ xₜ Bₜᵀ, yₜ = hₜ Cₜ</c> over L tokens, or of one without the axis L.</summary>
/// <param name="X">[B, L, H, P].</param>
/// <param name="Step">Δ, [B, L, H].</param>
/// <param name="A">[H].</param>
/// <param name="B">[B, L, G, N].</param>
/// <param name="C">[B, L, G, N].</param>
internal readonly record struct Recurrence(Tensor X, Tensor Step, Tensor A, Tensor B, Tensor C)
{
    public int Length => X.Shape[1];

    /// <summary>y [B, L, H, P] and the last state [B, H, P, N].</summary>
    public (Tensor Y, Tensor State) Scan(Tensor? initial, Tensor? sequence, int chunk) => X.StateSpaceScan(Step, A, B, C, null, initial, sequence, chunk);

    /// <summary>y [B, H, P] and the next state, for one token.</summary>
    public (Tensor Y, Tensor State) Next(Tensor state) => X.StateSpaceStep(Step, A, B, C, state);

    /// <summary>The last state [B, H, P, N] only, from an empty one.</summary>
    public Tensor Sum(int chunk) => X.ChunkState(Step, A, B, null, chunk).StatePassing(Step.ChunkRetention(A, null, chunk)).Final;

    public Recurrence Part(int start, int length) => On(tensor => tensor.Slice(1, start, length));

    /// <summary>One position, without its axis.</summary>
    public Recurrence At(int position) => Part(position, 1).On(tensor => tensor.Reshape(tensor.Shape.Without(1)));

    /// <summary>What a token inserts and decays, as [B, 1, …].</summary>
    public Tensor[] Inserts(int batch, int length) =>
    [
        Step.Reshape([batch, length, Step.Shape[^1]]),
        X.Reshape([batch, length, X.Shape[^2], X.Shape[^1]]),
        B.Reshape([batch, length, B.Shape[^2], B.Shape[^1]]),
    ];

    /// <summary>One token as a sequence of one.</summary>
    public Recurrence Joined() => On(tensor => tensor.Reshape([tensor.Shape[0], 1, .. tensor.Shape.AsSpan()[1..]]));

    private Recurrence On(Func<Tensor, Tensor> change) => new(change(X), change(Step), A, change(B), change(C));
}
