namespace ScratchMamba.Tensors.Operations;

/// <summary>The extents of a scan, in the letters of the paper: B batch, L length, H heads, P head width, G groups, N state, Q chunk.</summary>
internal readonly record struct ScanShape(int B, int L, int H, int P, int G, int N, int Q)
{
    /// <summary>Floating-point operations of a scan forward, for each token: 2 N to and from the state for each channel, Q for the causal half of a chunk, and Q N for C·Bᵀ of each group.</summary>
    public double Flops => (double)B * L * ((double)H * P * (4.0 * N + Q) + (double)G * Q * N);

    /// <summary>The number of chunks; the last one may be shorter than Q.</summary>
    public int Chunks => (int)(((long)L + Q - 1) / Q);

    /// <summary>The number of heads that share one B and C.</summary>
    public int HeadsPerGroup => H / G;

    /// <summary>The longest that a chunk gets: no tile need be larger.</summary>
    public int LongestChunk => Math.Min(Q, L);

    /// <summary>[B, chunks, H, P, N].</summary>
    public Shape States => [B, Chunks, H, P, N];

    /// <summary>Which heads, [Begin, End), of which sequence and group are in part <paramref name="index"/>, where the heads of a group are in <paramref name="blocks"/> blocks of <paramref name="heads"/>.</summary>
    public (int Batch, int Group, int Block, int Begin, int End) HeadsOf(int index, int blocks, int heads)
    {
        int block = index % blocks, group = index / blocks % G, first = group * HeadsPerGroup, begin = first + block * heads;
        return (index / blocks / G, group, block, begin, Math.Min(first + HeadsPerGroup, begin + heads));
    }

    /// <summary>The length of chunk <paramref name="chunk"/>.</summary>
    public int Length(int chunk) => Math.Min(Q, L - chunk * Q);

    /// <summary>A chunk longer than the whole is as long as the whole.</summary>
    public static int Effective(int chunk, int length) => Math.Min(chunk, Math.Max(1, length));

    /// <summary>Checks x [B,L,H,P], dt [B,L,H], A [H] and B [B,L,G,N] (and C where <paramref name="hasC"/>), then the optional sequence [B,L] at the end. States that have been computed, at <paramref name="state"/>, may be of 16 bits beside F32.</summary>
    public static ScanShape Check(string operation, ReadOnlySpan<TensorType> inputs, int count, int chunk, bool hasC, int sequence, int state = -1)
    {
        Rules.RequireCount(operation, inputs, count);
        for (int i = 0; i < inputs.Length; i++)
        {
            // Activations of 16 bits come with all else in F32, but for the states, which may be of either.
            bool isActivation = i is 0 or 3 || (hasC && i == 4);
            DType type = i == sequence ? DType.I32 : isActivation || !inputs[0].DType.IsNarrow() ? inputs[0].DType : DType.F32;
            bool isState = i == state && inputs[i].DType.IsNarrow() && inputs[0].DType != DType.F64;
            ShapeException.ThrowUnless(
                (inputs[i].DType == type || isState) && type != (i == sequence ? DType.F32 : DType.I32), operation,
                "tensors must be of one floating-point type, or x, B, C and the states of 16 bits and the rest of F32, and the sequence of I32", inputs);
        }
        if (chunk < 1)
            throw new ShapeException($"{operation}: a chunk has at least one position; got {chunk}");
        Shape x = inputs[0].Shape, b = inputs[3].Shape;
        ShapeException.ThrowUnless(x.Rank == 4, operation, "x must be [batch, length, heads, width]", inputs);
        ShapeException.ThrowUnless(inputs[1].Shape == [x[0], x[1], x[2]], operation, "dt must be [batch, length, heads]", inputs);
        ShapeException.ThrowUnless(inputs[2].Shape == [x[2]], operation, "A must be [heads]", inputs);
        ShapeException.ThrowUnless(
            b.Rank == 4 && b[0] == x[0] && b[1] == x[1] && b[2] > 0 && x[2] % b[2] == 0, operation,
            "B must be [batch, length, groups, state], and the groups divide the heads", inputs);
        if (hasC)
            ShapeException.ThrowUnless(inputs[4].Shape == b, operation, "C must have the shape of B", inputs);
        if (sequence >= 0)
            ShapeException.ThrowUnless(inputs[sequence].Shape == [x[0], x[1]], operation, "the sequence must be [batch, length]", inputs);
        return new ScanShape(x[0], x[1], x[2], x[3], b[2], b[3], Effective(chunk, x[1]));
    }
}
