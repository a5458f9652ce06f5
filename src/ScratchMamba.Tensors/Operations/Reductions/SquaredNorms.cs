using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>The squared Euclidean norm of each tensor, <c>Σ x²</c>, as a vector.</summary>
    /// <param name="tensors">At least one, of any shapes and one floating-point type.</param>
    /// <exception cref="ShapeException">There is none, or the types differ.</exception>
    public static Tensor SquaredNorms(params ReadOnlySpan<Tensor> tensors)
    {
        if (tensors.IsEmpty)
            throw new ShapeException("SquaredNorms: takes at least one tensor");
        return Tensor.Apply(new SquaredNorms(), tensors);
    }
}

/// <summary>The squared Euclidean norm of each input, <c>yᵢ = Σ xᵢ²</c>: all at once, since a step of training asks for those of hundreds of gradients, most of them small.</summary>
public readonly record struct SquaredNorms : IPrimitive
{
    /// <summary>Workgroups that share a tensor, of so many invocations: enough to fill a large device.</summary>
    private const int Groups = 256, Workgroup = 256;

    private readonly record struct Scalars(uint Count, uint Tensors, uint Tensor);

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        if (inputs.IsEmpty)
            throw new ShapeException($"{nameof(SquaredNorms)}: takes at least one tensor");
        Rules.RequireFloating(nameof(SquaredNorms), inputs);
        return [inputs[0] with { Shape = [inputs.Length] }];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        if (call.Outputs[0].DType != DType.F32)
            return null;
        int count = call.Inputs.Length, groups = call.Device.IsCpu ? 16 : Groups;
        uint workgroup = (uint)(call.Device.IsCpu ? call.Device.SubgroupSize : Workgroup);
        List<Dispatch> dispatches = [];
        for (int i = 0; i < count; i++)
        {
            dispatches.Add(Dispatch.Linear(
                "squared_norms", groups, [Slot.In(i), Slot.ScratchOut(0) with { IsApart = true }], new Scalars((uint)call.Inputs[i].Count, (uint)count, (uint)i), workgroup));
        }
        dispatches.Add(RowLaunch.ColumnSums(call.Device, Slot.ScratchIn(0), Slot.Out(0), groups, count, 0, count, count));
        return new Launch(dispatches, (long)groups * count * sizeof(float));
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        var gradients = new Tensor?[call.InputCount];
        for (int i = 0; i < gradients.Length; i++)
            gradients[i] = call.Needs(i) ? call.Input(i) * 2 * call.Gradient(0).Slice(0, i, 1).Reshape(new Shape()) : null;
        return gradients;
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        var norms = new Tensor[inputs.Length];
        for (int i = 0; i < norms.Length; i++)
            norms[i] = inputs[i].Square().Sum().Reshape([1]);
        return [TensorOperations.Concatenate(0, norms)];
    }

    private static unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        for (int i = 0; i < call.InputCount; i++)
        {
            long count = call.InputType(i).Count;
            int parts = checked((int)((count + Body<T>.Block - 1) / Body<T>.Block));
            T[] partial = ArrayPool<T>.Shared.Rent(parts);
            fixed (T* sums = partial)
                CpuParallel.For(call.Threads, parts, Body<T>.Block, new Body<T> { X = call.InputAddress<T>(i), Count = count, Sums = sums });
            double sum = 0;
            for (int part = 0; part < parts; part++)
                sum += double.CreateTruncating(partial[part]);
            call.Output<T>(0)[i] = T.CreateTruncating(sum);
            ArrayPool<T>.Shared.Return(partial);
        }
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public const int Block = 4096;

        public T* X, Sums;
        public long Count;

        public readonly void Invoke(int index)
        {
            long start = (long)index * Block;
            Sums[index] = TensorPrimitives.SumOfSquares(new ReadOnlySpan<T>(X + start, (int)Math.Min(Block, Count - start)));
        }
    }
}
