using System.Numerics;
using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors.Backends;

/// <summary>Throws at the first output that is not a finite number, naming the operation, the element and the step.</summary>
public sealed class FiniteBackend(Backend inner) : DecoratedBackend(inner)
{
    /// <summary>The number that messages name; whoever steps sets it.</summary>
    public long Step { get; set; }

    /// <summary>Whether outputs are looked at, which takes a reading of each: as long as they are not, this backend costs nothing.</summary>
    public bool IsChecking { get; set; } = true;

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        base.Execute(call);
        if (!IsChecking)
            return;
        for (int i = 0; i < call.Outputs.Length; i++)
        {
            Tensor output = call.Outputs[i];
            if (output.DType == DType.F32)
                Check<float>(call, i);
            else if (output.DType == DType.F64)
                Check<double>(call, i);
        }
    }

    private void Check<T>(Call call, int index) where T : unmanaged, IFloatingPoint<T>
    {
        Tensor output = call.Outputs[index];
        var values = new T[output.Count];
        Inner.Read(output.Storage, MemoryMarshal.AsBytes(values.AsSpan()));
        int at = Array.FindIndex(values, value => !T.IsFinite(value));
        if (at < 0)
            return;
        var inputs = string.Join(", ", Tensor.TypesOf(call.Inputs));
        throw new NumericalException(
            $"Step {Step}{Place.Suffix}: {call.Operation.Name} made {values[at]} at element {at} of output {index}, {output.Type}; its inputs were {inputs}.");
    }
}
