using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors;

/// <summary>
/// The extents of a dense row-major tensor, outermost first; written as a collection expression: <c>[2, 3, 4]</c>.
/// The empty shape <c>[]</c> is a scalar. At most <see cref="MaxRank"/> axes; an extent may be 0.
/// </summary>
[CollectionBuilder(typeof(Shape), nameof(Create))]
public readonly struct Shape : IEquatable<Shape>
{
    /// <summary>The largest number of axes.</summary>
    public const int MaxRank = 8;

    [InlineArray(MaxRank)]
    private struct Extents
    {
        private int first;
    }

    private readonly Extents extents;

    /// <summary>The shape with these extents.</summary>
    /// <exception cref="ArgumentException">There are more than <see cref="MaxRank"/> extents, or one is negative.</exception>
    public Shape(params ReadOnlySpan<int> extents)
    {
        if (extents.Length > MaxRank)
            throw new ArgumentException($"A shape has at most {MaxRank} axes; got {extents.Length}.", nameof(extents));
        for (int i = 0; i < extents.Length; i++)
        {
            if (extents[i] < 0)
                throw new ArgumentException($"An extent is negative: [{string.Join(", ", extents.ToArray())}].", nameof(extents));
            this.extents[i] = extents[i];
        }
        Rank = extents.Length;
    }

    /// <summary>Builds a shape from a collection expression.</summary>
    public static Shape Create(ReadOnlySpan<int> extents) => new(extents);

    /// <summary>The number of axes.</summary>
    public int Rank { get; }

    /// <summary>The number of elements: the product of the extents.</summary>
    public long Count
    {
        get
        {
            long count = 1;
            foreach (int extent in this)
                count = checked(count * extent);
            return count;
        }
    }

    /// <summary>The extent of the last axis, or 1 for a scalar: the length of a row.</summary>
    public int Columns => Rank == 0 ? 1 : this[^1];

    /// <summary>The product of all extents but the last: the number of rows.</summary>
    public long Rows
    {
        get
        {
            long rows = 1;
            for (int i = 0; i < Rank - 1; i++)
                rows = checked(rows * this[i]);
            return rows;
        }
    }

    /// <summary>The extent of an axis.</summary>
    public int this[int axis] => (uint)axis < (uint)Rank
        ? extents[axis]
        : throw new ArgumentOutOfRangeException(nameof(axis), axis, $"{this} has no axis {axis}.");

    /// <summary>The extent of an axis counted from either end.</summary>
    public int this[Index axis] => this[axis.GetOffset(Rank)];

    /// <summary>The extents, outermost first.</summary>
    [UnscopedRef]
    public ReadOnlySpan<int> AsSpan() => ((ReadOnlySpan<int>)extents)[..Rank];

    /// <summary>The extents, as a new array.</summary>
    public int[] ToArray() => AsSpan().ToArray();

    /// <summary>Enumerates the extents, outermost first.</summary>
    [UnscopedRef]
    public ReadOnlySpan<int>.Enumerator GetEnumerator() => AsSpan().GetEnumerator();

    /// <summary>Turns an axis that may be negative (−1 is the last) into one in [0, <see cref="Rank"/>).</summary>
    /// <exception cref="ShapeException">There is no such axis.</exception>
    public int Axis(int axis, [CallerMemberName] string operation = "")
    {
        int resolved = axis < 0 ? axis + Rank : axis;
        return (uint)resolved < (uint)Rank ? resolved : throw new ShapeException($"{operation}: {this} has no axis {axis}");
    }

    /// <summary>The same shape with one extent replaced.</summary>
    public Shape With(int axis, int extent)
    {
        int[] changed = ToArray();
        changed[axis] = extent;
        return new Shape(changed);
    }

    /// <summary>The same shape without one axis.</summary>
    public Shape Without(int axis) => [.. AsSpan()[..axis], .. AsSpan()[(axis + 1)..]];

    /// <summary>The product of the extents of axes <paramref name="from"/> up to, not including, <paramref name="to"/>.</summary>
    public long Product(int from, int to)
    {
        long product = 1;
        for (int i = from; i < to; i++)
            product = checked(product * this[i]);
        return product;
    }

    /// <inheritdoc/>
    public bool Equals(Shape other) => AsSpan().SequenceEqual(other.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (int extent in this)
            hash.Add(extent);
        return hash.ToHashCode();
    }

    /// <summary>Whether all extents are equal.</summary>
    public static bool operator ==(Shape left, Shape right) => left.Equals(right);

    /// <summary>Whether any extent differs.</summary>
    public static bool operator !=(Shape left, Shape right) => !left.Equals(right);

    /// <summary>The extents in brackets: <c>[2, 3, 4]</c>.</summary>
    public override string ToString() => $"[{string.Join(", ", ToArray())}]";
}
