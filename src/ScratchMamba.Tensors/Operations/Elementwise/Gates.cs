using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors.Operations;

/// <summary>What <see cref="Sigmoid"/>, <see cref="Silu"/> and <see cref="Softplus"/> share.</summary>
internal static class Gates
{
    /// <summary>e^−|x|.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Decay<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T> => VectorMath.Exp(-Vector.Abs(x));

    /// <summary>x · σ(x) = x / (1 + e⁻ˣ), to full relative precision where it is a normal number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Silu<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> limit = VectorMath.ExpLimit<T>();
        x = VectorMath.AtLeast(-limit, x);
        return x / (Vector<T>.One + VectorMath.ExpWithin(-VectorMath.AtMost(limit, x)));
    }

    /// <summary>x where it is neither so small nor so large that σ(x) is 0 or 1 up to the smallest normal number, else the bound.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<T> Bounded<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> limit = VectorMath.ExpLimit<T>();
        return VectorMath.AtLeast(-limit, VectorMath.AtMost(limit, x));
    }

    /// <summary>σ(x) = 1 / (1 + e⁻ˣ) and 1 − σ(x), each to full relative precision, for x that is <see cref="Bounded"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector<T> Sigmoid, Vector<T> Complement) Sigmoid<T>(Vector<T> x) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Vector<T> u = VectorMath.ExpWithin(-x), sigmoid = Vector<T>.One / (Vector<T>.One + u);
        return (sigmoid, u * sigmoid);
    }
}
