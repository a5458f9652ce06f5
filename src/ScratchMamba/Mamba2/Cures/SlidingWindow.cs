using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>
/// The state of the last r inserts, <c>hₜ = Σ exp(A (Δₛ₊₁ + … + Δₜ)) Δₛ xₛ Bₛᵀ over t − r &lt; s ≤ t</c>, exactly. Carried are h and the last r inserts: Δ [B, r, H], x [B, r, H, P]
/// and B [B, r, G, N], oldest first, zeros where there were fewer.
/// </summary>
/// <param name="length">r.</param>
internal sealed class SlidingWindow(int length)
{
    /// <summary>Whole sequences in linear time, without ever subtracting.</summary>
    /// <remarks>
    /// Tokens are cut into blocks of r, so that a window is the end of one block and the beginning of the next. The beginnings are a scan of every block from an empty state.
    /// The ends are a scan too, of the block before, backward and without decay: the decay of an insert to the end of its block is put into it beforehand, that
    /// from there on is applied afterwards, and both are at most 1.
    /// </remarks>
    public (Tensor Y, Tensor State, Tensor[] Inserts) Scan(Recurrence tokens, IReadOnlyList<Tensor> before, int chunk)
    {
        int batch = tokens.X.Shape[0], count = tokens.Length, blocks = (count + length - 1) / length, padded = checked(blocks * length);
        Tensor[] all = [.. before.Zip(tokens.Inserts(batch, count), (past, now) => TensorOperations.Concatenate(1, past, now))];
        Recurrence Blocks(int start, Tensor c) => Of([.. all.Select(part => Blocked(part.Pad(1, 0, padded - count).Slice(1, start, padded)))], tokens.A, c);

        Tensor queries = Blocked(tokens.C.Pad(1, 0, padded - count));
        Recurrence now = Blocks(length, queries), past = Blocks(0, queries);
        (Tensor y, _) = now.Scan(null, null, chunk);
        if (length > 1)
            y += Ends(past, chunk) * Column((now.Step.CumulativeSum(1) * tokens.A).Exp());
        y = y.Reshape([batch, padded, y.Shape[2], y.Shape[3]]).Slice(1, 0, count);
        Tensor[] inserts = [.. all.Select(part => part.Slice(1, count, length))];
        return (y, Of(inserts, tokens.A, inserts[2]).Sum(chunk), inserts);

        Tensor Blocked(Tensor x) => x.Reshape([checked(batch * blocks), length, .. x.Shape.AsSpan()[2..]]);
    }

    /// <summary>
    /// One token: what leaves the window is subtracted from the state. Its decay is computed anew from the steps since, and every r tokens the state is summed anew
    /// from the inserts, so that roundings do not accumulate.
    /// </summary>
    public (Tensor Y, Tensor State, Tensor[] Inserts) Step(Recurrence token, Tensor state, IReadOnlyList<Tensor> before, long position, int chunk)
    {
        Tensor[] kept = [.. before.Select(part => part.Slice(1, 1, length - 1))], now = token.Inserts(token.X.Shape[0], 1);
        Tensor rest;
        if (length == 1)
        {
            rest = state.Backend.Zeros(state.Type);
        }
        else if (position % length == 0)
        {
            rest = Of(kept, token.A, kept[2]).Sum(chunk);
        }
        else
        {
            Recurrence leaving = Of([.. before], token.A, before[2]).At(0);
            Tensor decay = (kept[0].Sum(1) * token.A).Exp();
            // A decay rate of 0 leaves the state as it is: this only adds −decay · Δ x Bᵀ.
            rest = (leaving with { Step = -(leaving.Step * decay), A = token.A * 0 }).Next(state).State;
        }
        (Tensor y, Tensor next) = token.Next(rest);
        return (y, next, [.. kept.Zip(now, (old, fresh) => TensorOperations.Concatenate(1, old, fresh))]);
    }

    /// <summary>The memory of a window that has seen nothing.</summary>
    public Tensor[] Empty(Mamba2Config config, int batch, Backend backend, DType type) =>
    [
        backend.Zeros(new TensorType(type, [batch, length, config.Heads])),
        backend.Zeros(new TensorType(type, [batch, length, config.Heads, config.HeadSize])),
        backend.Zeros(new TensorType(type, [batch, length, config.Groups, config.StateSize])),
    ];

    /// <summary>For each position j of the next block, C_j times the inserts behind j of this block, decayed to its end.</summary>
    private Tensor Ends(Recurrence block, int chunk)
    {
        // Row j has what position j + 1 inserts, for those behind j begin there.
        Recurrence ahead = block with { X = Ahead(block.X), Step = Ahead(block.Step), B = Ahead(block.B) };
        Tensor decay = (Ahead(ahead.Step).CumulativeSum(1, reverse: true) * block.A).Exp();
        (Tensor y, _) = new Recurrence(Reversed(ahead.X), Reversed(ahead.Step * decay), block.A * 0, Reversed(ahead.B), Reversed(block.C)).Scan(null, null, chunk);
        return Reversed(y);
    }

    private Tensor Ahead(Tensor x) => x.Slice(1, 1, length - 1).Pad(1, 0, 1);

    private Tensor Reversed(Tensor x)
    {
        int rows = x.Shape[0] * length;
        int[] order = [.. Enumerable.Range(0, rows).Select(row => row / length * length + (length - 1 - row % length))];
        return x.Reshape([rows, .. x.Shape.AsSpan()[2..]]).Gather(x.Backend.Tensor<int>([rows], order)).Reshape(x.Shape);
    }

    private static Recurrence Of(Tensor[] inserts, Tensor a, Tensor c) => new(inserts[1], inserts[0], a, inserts[2], c);

    private static Tensor Column(Tensor perHead) => perHead.Reshape([.. perHead.Shape.AsSpan(), 1]);
}
