namespace ScratchMamba.Tensors;

/// <summary>Names the part of a model that computes on this thread, for messages: an operation says what went wrong, its place says where. Gradients are computed in the place of what they are the gradients of.</summary>
public static class Place
{
    [ThreadStatic]
    private static string? current;

    [ThreadStatic]
    private static bool isGradient;

    /// <summary>The name; null outside of every part.</summary>
    public static string? Current => current;

    internal static string Suffix => (current, isGradient) switch
    {
        (null, false) => "",
        (null, true) => " in a gradient",
        (_, false) => $" in {current}",
        _ => $" in the gradient of {current}",
    };

    /// <summary>Is in a part, or in its gradient, until the result is disposed.</summary>
    public static Mark Enter(string? name, bool isGradient = false) => new(name, isGradient);

    /// <summary>Goes back to the part before when disposed.</summary>
    public readonly ref struct Mark
    {
        private readonly string? before;
        private readonly bool wasGradient;

        internal Mark(string? name, bool isGradient)
        {
            (before, wasGradient) = (current, Place.isGradient);
            (current, Place.isGradient) = (name, isGradient);
        }

        /// <summary>Goes back to the part before.</summary>
        public void Dispose() => (current, isGradient) = (before, wasGradient);
    }
}
