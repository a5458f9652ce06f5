using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tensors;

/// <summary>How operations on activations of 16 bits run where there is no kernel for them: widened, computed in F32, rounded.</summary>
internal static class Widening
{
    /// <summary>The outputs of an operation by way of <see cref="IPrimitive.Wide"/>, or null where it has no need of it.</summary>
    public static Tensor[]? Run(IPrimitive operation, ReadOnlySpan<Tensor> inputs) =>
        operation.Wide(Tensor.TypesOf(inputs)) is { } wide ? Run(operation, wide, inputs) : null;

    /// <summary>The outputs of an operation by way of another one that does the same in F32.</summary>
    public static Tensor[] Run(IPrimitive operation, IPrimitive wide, ReadOnlySpan<Tensor> inputs)
    {
        TensorType[] outputs = operation.Infer(Tensor.TypesOf(inputs));
        var widened = new Tensor[inputs.Length];
        for (int i = 0; i < widened.Length; i++)
            widened[i] = inputs[i].DType.IsNarrow() ? inputs[i].Cast(DType.F32) : inputs[i];
        Tensor[] results = Tensor.Run(wide, inputs[0].Backend, widened);
        for (int i = 0; i < results.Length; i++)
            results[i] = results[i].Cast(outputs[i].DType);
        return results;
    }

    /// <summary>Whether any tensor holds numbers of 16 bits.</summary>
    public static bool IsAnyNarrow(ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
        {
            if (tensor.DType.IsNarrow())
                return true;
        }
        return false;
    }
}
