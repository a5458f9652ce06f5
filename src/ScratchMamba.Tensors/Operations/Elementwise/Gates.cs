using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

/// <summary>What <see cref="Sigmoid"/>, <see cref="Silu"/> and <see cref="Softplus"/> share: all are written in <c>u = e^−|x|</c>, which cannot overflow.</summary>
internal static class Gates
{
    /// <summary>e^−|x|.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Decay<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T> => VectorMath.Exp(-Vector.Abs(x));

    /// <summary>σ(x) = (x ≥ 0 ? 1 : u) / (1 + u) and 1 − σ(x), each to full relative precision.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector<T> Sigmoid, Vector<T> Complement) Sigmoid<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> u = Decay(x), large = Vector<T>.One / (Vector<T>.One + u), small = u * large;
        Vector<T> negative = Vector.LessThan(x, Vector<T>.Zero);
        return (Vector.ConditionalSelect(negative, small, large), Vector.ConditionalSelect(negative, large, small));
    }
}
