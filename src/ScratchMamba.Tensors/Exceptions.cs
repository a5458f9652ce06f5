using System.Runtime.CompilerServices;

namespace ScratchMamba.Tensors;

/// <summary>An operation was given tensors that its rule does not allow. Thrown before anything is allocated.</summary>
public sealed class ShapeException(string message) : ArgumentException(message)
{
    /// <summary>Throws unless a rule holds, naming the operation, the rule and what was passed.</summary>
    /// <example><c>RmsNorm: weight must be a vector as long as a row; got [2, 3] and [4]</c></example>
    public static void ThrowUnless(bool holds, string operation, string rule, ReadOnlySpan<TensorType> inputs)
    {
        if (!holds)
            Throw(operation, rule, inputs);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Throw(string operation, string rule, ReadOnlySpan<TensorType> inputs)
    {
        // The dtypes are only worth reading when they are not all the same.
        bool mixed = false;
        foreach (TensorType input in inputs)
            mixed |= input.DType != inputs[0].DType;
        var shown = new List<string>();
        foreach (TensorType input in inputs)
            shown.Add(mixed ? input.ToString() : input.Shape.ToString());
        string list = shown.Count < 2 ? string.Concat(shown) : string.Join(", ", shown[..^1]) + " and " + shown[^1];
        throw new ShapeException($"{operation}: {rule}; got {list}");
    }
}

/// <summary>A gradient was asked through an operation that has no derivative.</summary>
public sealed class MissingDerivativeException(string operation)
    : NotSupportedException($"{operation} has no derivative; detach its inputs if no gradient should pass through it");

/// <summary>A value that is not a finite number appeared, or two computations that should agree did not.</summary>
public sealed class NumericalException(string message) : ArithmeticException(message);
