using ScratchMamba.Tensors;

namespace ScratchMamba.Modules;

/// <summary>A tensor that training changes: a tracked leaf whose data is overwritten in place. One of 16-bit numbers is not tracked: it is for inference.</summary>
/// <param name="value">The initial values.</param>
/// <param name="decays">Whether weight decay applies to it.</param>
public sealed class Parameter(Tensor value, bool decays)
{
    private readonly Tensor tracked = value.DType.IsFloating() ? value.Track() : value;

    /// <summary>The tensor: the same object for the parameter's whole life, but for one that is frozen or released.</summary>
    public Tensor Value => IsFrozen ? value : tracked;

    /// <summary>Whether training leaves it as it is: no gradient is computed for it.</summary>
    public bool IsFrozen { get; set; }

    /// <summary>Whether weight decay applies, by the published recipe.</summary>
    public bool Decays { get; } = decays;

    /// <summary>The extents.</summary>
    public Shape Shape => Value.Shape;

    /// <summary>The number of elements.</summary>
    public long Count => Value.Count;
}
