using System.Globalization;
using System.Runtime.CompilerServices;

namespace ScratchMamba.Mamba2.Cures;

/// <summary>A factor for every layer: one for all, or one for each. The text form separates layers by slashes: <c>0.99</c>, <c>1/0.99/0.98</c>.</summary>
[CollectionBuilder(typeof(PerLayer), nameof(Create))]
public sealed class PerLayer : IEquatable<PerLayer>
{
    private readonly double[] values;

    private PerLayer(double[] values) => this.values = values;

    /// <summary>The factor that changes nothing.</summary>
    public static PerLayer One { get; } = new([1]);

    /// <summary>How many factors there are: 1 stands for every layer.</summary>
    public int Count => values.Length;

    /// <summary>Whether every factor is 1.</summary>
    public bool IsNeutral => values.All(value => value == 1);

    /// <summary>The factor of a layer.</summary>
    public double this[int layer] => values.Length == 1 ? values[0] : values[layer];

    /// <summary>One factor for every layer.</summary>
    public static implicit operator PerLayer(double value) => new([value]);

    /// <summary>A factor for each layer.</summary>
    /// <exception cref="ArgumentException">There are none.</exception>
    public static PerLayer Create(ReadOnlySpan<double> values) =>
        values.IsEmpty ? throw new ArgumentException("There must be a factor for every layer, or one for all.") : new PerLayer(values.ToArray());

    /// <summary>The factors.</summary>
    public IEnumerator<double> GetEnumerator() => values.AsEnumerable().GetEnumerator();

    /// <inheritdoc/>
    public bool Equals(PerLayer? other) => other is not null && values.AsSpan().SequenceEqual(other.values);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as PerLayer);

    /// <inheritdoc/>
    public override int GetHashCode() => values.Aggregate(0, HashCode.Combine);

    /// <summary>The text form.</summary>
    public override string ToString() => string.Join('/', values.Select(value => value.ToString("R", CultureInfo.InvariantCulture)));
}
