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
    protected override bool SeesCaptured => IsChecking;

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        base.Execute(call);
        if (!IsChecking)
            return;
        for (int i = 0; i < call.Outputs.Length; i++)
        {
            Tensor output = call.Outputs[i];
            switch (output.DType)
            {
                case DType.F32:
                    Check<float>(call, i, value => value);
                    break;
                case DType.F64:
                    Check<double>(call, i, value => value);
                    break;
                case DType.BF16:
                    Check<BFloat16>(call, i, value => (float)value);
                    break;
                case DType.F16:
                    Check<Half>(call, i, value => (double)value);
                    break;
            }
        }
    }

    private void Check<T>(Call call, int index, Func<T, double> number) where T : unmanaged
    {
        Tensor output = call.Outputs[index];
        var values = new T[output.Count];
        Inner.Read(output.Storage, MemoryMarshal.AsBytes(values.AsSpan()));
        // A constant is what it is meant to be: the bounds of a clamp may be infinite.
        bool isConstant = call.Inputs.Length == 0;
        int at = Array.FindIndex(values, value => isConstant ? double.IsNaN(number(value)) : !double.IsFinite(number(value)));
        if (at < 0)
            return;
        var inputs = string.Join(", ", Tensor.TypesOf(call.Inputs));
        throw new NumericalException(
            $"Step {Step}{Place.Suffix}: {call.Operation.Name} made {number(values[at])} at element {at} of output {index}, {output.Type}; its inputs were {inputs}.");
    }
}
