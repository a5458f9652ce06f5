namespace ScratchMamba.Mamba2.Probes;

/// <summary>Of how many directions a matrix consists: <c>exp(−Σ p log p)</c> with <c>p = σ / Σσ</c>. Source: Roy and Vetterli, "The effective rank" (2007).</summary>
public static class EffectiveRank
{
    private const int Sweeps = 60;

    /// <summary>The effective rank of a matrix in row-major order; NaN if it is zero.</summary>
    public static double Of(ReadOnlySpan<double> matrix, int columns)
    {
        double[] values = SingularValues(matrix, columns);
        double sum = values.Sum();
        return sum > 0 ? Math.Exp(-values.Where(value => value > 0).Sum(value => value / sum * Math.Log(value / sum))) : double.NaN;
    }

    /// <summary>The singular values, in no particular order, by one-sided Jacobi rotations: rows are turned in pairs until all are perpendicular; their lengths are the values.</summary>
    public static double[] SingularValues(ReadOnlySpan<double> matrix, int columns)
    {
        int rows = matrix.Length / columns;
        double[][] vectors = rows <= columns ? Rows(matrix, rows, columns, columns, 1) : Rows(matrix, columns, rows, 1, columns);
        bool turned = true;
        for (int sweep = 0; sweep < Sweeps && turned; sweep++)
        {
            turned = false;
            for (int i = 0; i < vectors.Length; i++)
            {
                for (int j = i + 1; j < vectors.Length; j++)
                    turned |= Turn(vectors[i], vectors[j]);
            }
        }
        return Array.ConvertAll(vectors, vector => Math.Sqrt(Dot(vector, vector)));
    }

    private static double[][] Rows(ReadOnlySpan<double> matrix, int count, int length, int pitch, int step)
    {
        var rows = new double[count][];
        for (int i = 0; i < count; i++)
        {
            rows[i] = new double[length];
            for (int j = 0; j < length; j++)
                rows[i][j] = matrix[i * pitch + j * step];
        }
        return rows;
    }

    private static bool Turn(double[] x, double[] y)
    {
        double xx = Dot(x, x), yy = Dot(y, y), xy = Dot(x, y);
        if (Math.Abs(xy) <= 1e-15 * Math.Sqrt(xx * yy))
            return false;
        double zeta = (yy - xx) / (2 * xy), tangent = (zeta < 0 ? -1 : 1) / (Math.Abs(zeta) + Math.Sqrt(1 + zeta * zeta));
        double cosine = 1 / Math.Sqrt(1 + tangent * tangent), sine = cosine * tangent;
        for (int i = 0; i < x.Length; i++)
            (x[i], y[i]) = (cosine * x[i] - sine * y[i], sine * x[i] + cosine * y[i]);
        return true;
    }

    private static double Dot(double[] x, double[] y) => System.Numerics.Tensors.TensorPrimitives.Dot<double>(x, y);
}
