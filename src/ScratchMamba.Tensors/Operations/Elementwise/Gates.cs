using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

/// <summary>What the kernels of <see cref="Sigmoid"/>, <see cref="Silu"/> and <see cref="Softplus"/> share.</summary>
internal static class Gates
{
    /// <summary>Elements of an intermediate result that are held at once, on the stack.</summary>
    public const int Chunk = 256;

    /// <summary>
    /// ln(1 + u) for u in [0, 1], in place, to a few units in the last place however small u is:
    /// 2 artanh(s) = 2s · (1 + s²/3 + s⁴/5 + …) with s = u / (2 + u) ≤ 1/3.
    /// </summary>
    public static void LogOnePlus<T>(Span<T> u) where T : unmanaged, IFloatingPointIeee754<T>
    {
        // The first term left out is below 9⁻ⁿ / (2n + 1): 1.4e-9 for n = 8 and 1.7e-18 for n = 17.
        int terms = typeof(T) == typeof(float) ? 8 : 17;
        int i = 0;
        for (; i <= u.Length - Vector<T>.Count; i += Vector<T>.Count)
        {
            var x = new Vector<T>(u[i..]);
            Vector<T> s = x / (x + new Vector<T>(T.CreateTruncating(2)));
            Vector<T> square = s * s, sum = Vector<T>.Zero;
            for (int n = terms - 1; n >= 0; n--)
                sum = sum * square + new Vector<T>(T.One / T.CreateTruncating(2 * n + 1));
            ((s + s) * sum).CopyTo(u[i..]);
        }
        for (; i < u.Length; i++)
        {
            T s = u[i] / (u[i] + T.CreateTruncating(2));
            T square = s * s, sum = T.Zero;
            for (int n = terms - 1; n >= 0; n--)
                sum = sum * square + T.One / T.CreateTruncating(2 * n + 1);
            u[i] = (s + s) * sum;
        }
    }
}
