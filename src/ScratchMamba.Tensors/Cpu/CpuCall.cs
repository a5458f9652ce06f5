using System.Diagnostics;
using System.Numerics;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>What a CPU kernel sees of the operation it runs.</summary>
public readonly ref struct CpuCall
{
    [ThreadStatic]
    private static TensorType[]? types;

    private readonly Call call;

    private readonly CpuBackend backend;

    internal CpuCall(Call call, CpuBackend backend)
    {
        this.call = call;
        this.backend = backend;
    }

    /// <summary>How many threads the kernel may use. Its results must not depend on it.</summary>
    public int Threads => backend.Threads;

    /// <summary>The widest vectors it may use, in bits.</summary>
    public int VectorBits => backend.VectorBits;

    /// <summary>The number of inputs.</summary>
    public int InputCount => call.Inputs.Length;

    /// <summary>The number of outputs.</summary>
    public int OutputCount => call.Outputs.Length;

    /// <summary>The element type of the first input, or of the first output where there is no input.</summary>
    public DType DType => call.Inputs.IsEmpty ? call.Outputs[0].DType : call.Inputs[0].DType;

    /// <summary>The type of input <paramref name="index"/>.</summary>
    public TensorType InputType(int index) => call.Inputs[index].Type;

    /// <summary>The types of all inputs; valid until this thread asks again.</summary>
    public ReadOnlySpan<TensorType> InputTypes()
    {
        int count = call.Inputs.Length;
        if (types is null || types.Length < count)
            types = new TensorType[Math.Max(16, count)];
        for (int i = 0; i < count; i++)
            types[i] = call.Inputs[i].Type;
        return types.AsSpan(0, count);
    }

    /// <summary>The type of output <paramref name="index"/>.</summary>
    public TensorType OutputType(int index) => call.Outputs[index].Type;

    /// <summary>The elements of input <paramref name="index"/>.</summary>
    public ReadOnlySpan<T> Input<T>(int index) where T : unmanaged => Span<T>(call.Inputs[index]);

    /// <summary>The elements of output <paramref name="index"/>, to be written.</summary>
    public Span<T> Output<T>(int index) where T : unmanaged => Span<T>(call.Outputs[index]);

    // Storage is native, so that addresses may be handed to the bodies of parallel loops.
    internal unsafe T* InputAddress<T>(int index) where T : unmanaged => Address<T>(call.Inputs[index]);

    internal unsafe T* OutputAddress<T>(int index) where T : unmanaged => Address<T>(call.Outputs[index]);

    /// <summary>A weight [N, K] as <see cref="Gemm{T}.PanelsB"/> for a product of some rows; null where it has not been met often enough.</summary>
    internal unsafe T* Panels<T>(int index, int rows) where T : unmanaged, IFloatingPointIeee754<T> => backend.PanelsOf<T>(call.Inputs[index], rows);

    // For operations that only move bits.
    internal unsafe byte* InputBytes(int index) => ((CpuStorage)call.Inputs[index].Storage).Address;

    internal unsafe byte* OutputBytes(int index) => ((CpuStorage)call.Outputs[index].Storage).Address;

    /// <summary>Computes the outputs by the definition of an operation that has no kernel of its own here.</summary>
    internal void RunDefinition(IPrimitive operation)
    {
        using var scope = new Scope();
        using Differentiation.Mode paused = Differentiation.Pause();
        CopyToOutputs(call, operation.Definition(call.Inputs) ?? throw new NotSupportedException($"{operation.Name} has no definition in smaller operations."));
    }

    /// <summary>Copies what was computed elsewhere into the outputs.</summary>
    internal static unsafe void CopyToOutputs(Call call, Tensor[] results)
    {
        for (int i = 0; i < results.Length; i++)
        {
            long bytes = results[i].Type.Bytes;
            Buffer.MemoryCopy(((CpuStorage)results[i].Storage).Address, ((CpuStorage)call.Outputs[i].Storage).Address, bytes, bytes);
        }
    }

    private static unsafe Span<T> Span<T>(Tensor tensor) where T : unmanaged => new(Address<T>(tensor), checked((int)tensor.Count));

    private static unsafe T* Address<T>(Tensor tensor) where T : unmanaged
    {
        Debug.Assert(DTypes.Of<T>() == tensor.DType, $"A kernel reads {tensor.Type} as {typeof(T).Name}.");
        return (T*)((CpuStorage)tensor.Storage).Address;
    }
}
