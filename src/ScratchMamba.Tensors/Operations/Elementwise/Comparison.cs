using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

/// <summary>A relation between two numbers.</summary>
internal interface IRelation
{
    static abstract bool Holds<T>(T x, T y) where T : unmanaged, IFloatingPointIeee754<T>;

    /// <summary>All bits of an element are set where the relation holds, and clear elsewhere.</summary>
    static abstract Vector<T> Mask<T>(Vector<T> x, Vector<T> y) where T : unmanaged, IFloatingPointIeee754<T>;
}

/// <summary>The kernels of the comparisons: 1 where a relation holds and 0 elsewhere.</summary>
internal readonly struct Comparison<TRelation> : IBinaryKernel where TRelation : IRelation
{
    public void Apply<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> z) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int i = 0;
        for (; i <= z.Length - Vector<T>.Count; i += Vector<T>.Count)
            (TRelation.Mask(new Vector<T>(x[i..]), new Vector<T>(y[i..])) & Vector<T>.One).CopyTo(z[i..]);
        for (; i < z.Length; i++)
            z[i] = TRelation.Holds(x[i], y[i]) ? T.One : T.Zero;
    }

    public void Apply<T>(ReadOnlySpan<T> x, T y, Span<T> z) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int i = 0;
        for (; i <= z.Length - Vector<T>.Count; i += Vector<T>.Count)
            (TRelation.Mask(new Vector<T>(x[i..]), new Vector<T>(y)) & Vector<T>.One).CopyTo(z[i..]);
        for (; i < z.Length; i++)
            z[i] = TRelation.Holds(x[i], y) ? T.One : T.Zero;
    }

    public void Apply<T>(T x, ReadOnlySpan<T> y, Span<T> z) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int i = 0;
        for (; i <= z.Length - Vector<T>.Count; i += Vector<T>.Count)
            (TRelation.Mask(new Vector<T>(x), new Vector<T>(y[i..])) & Vector<T>.One).CopyTo(z[i..]);
        for (; i < z.Length; i++)
            z[i] = TRelation.Holds(x, y[i]) ? T.One : T.Zero;
    }
}
