namespace ScratchMamba.Tests.Tensors;

/// <summary>
/// The selective state space recurrence as plain loops in float64, one position after another:
/// <c>h_t = exp(dt_t·A) · h_{t−1} + dt_t · x_t ⊗ B_t, y_t = C_t h_t + D · x_t</c>. It shares nothing with the library.
/// </summary>
internal sealed class ScanOracle
{
    public required int Batch, L, H, P, G, N;

    /// <summary>[B, L, H, P].</summary>
    public required double[] X;

    /// <summary>[B, L, H].</summary>
    public required double[] Dt;

    /// <summary>[H].</summary>
    public required double[] A;

    /// <summary>[B, L, G, N].</summary>
    public required double[] B, C;

    /// <summary>[H], [H, P] or null.</summary>
    public double[]? D;

    /// <summary>[B, H, P, N] or null.</summary>
    public double[]? Initial;

    /// <summary>[B, L] or null.</summary>
    public int[]? Sequence;

    /// <summary>y [B, L, H, P] and the final state [B, H, P, N].</summary>
    public (double[] Y, double[] Final) Run()
    {
        var y = new double[X.Length];
        double[] state = Initial is null ? new double[Batch * H * P * N] : [.. Initial];
        for (int b = 0; b < Batch; b++)
        {
            for (int h = 0; h < H; h++)
            {
                for (int p = 0; p < P; p++)
                {
                    Span<double> row = state.AsSpan(((b * H + h) * P + p) * N, N);
                    for (int t = 0; t < L; t++)
                    {
                        int at = b * L + t, group = (at * G + h / (H / G)) * N;
                        double dt = Dt[at * H + h], x = X[(at * H + h) * P + p], sum = 0;
                        bool begins = Sequence is not null && t > 0 && Sequence[at] != Sequence[at - 1];
                        double decay = begins ? 0 : Math.Exp(dt * A[h]);
                        for (int n = 0; n < N; n++)
                        {
                            row[n] = decay * row[n] + dt * x * B[group + n];
                            sum += C[group + n] * row[n];
                        }
                        double skip = D is null ? 0 : D.Length == H ? D[h] : D[h * P + p];
                        y[(at * H + h) * P + p] = sum + skip * x;
                    }
                }
            }
        }
        return (y, state);
    }
}
