using System.Runtime.Intrinsics;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Runs operations on the CPU, on all cores, with the widest vectors there are. Results do not depend on the number of threads.
/// </summary>
public unsafe class CpuBackend : Backend
{
    private readonly CpuMemory memory = new();
    private bool disposed;

    /// <summary>A backend for this machine.</summary>
    /// <param name="threads">How many threads work on one operation; 0 for one per core.</param>
    /// <param name="vectorBits">The widest vectors that kernels may use (128, 256 or 512); 0 for the widest that is fast here.</param>
    public CpuBackend(int threads = 0, int vectorBits = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        if (vectorBits is not (0 or 128 or 256 or 512))
            throw new ArgumentOutOfRangeException(nameof(vectorBits), vectorBits, "Vectors have 128, 256 or 512 bits.");
        Threads = threads == 0 ? Environment.ProcessorCount : threads;
        VectorBits = vectorBits != 0 ? vectorBits
            : Vector512.IsHardwareAccelerated ? 512
            : Vector256.IsHardwareAccelerated ? 256
            : 128;
    }

    /// <inheritdoc/>
    public override string Name => "cpu";

    /// <summary>How many threads work on one operation.</summary>
    public int Threads { get; }

    /// <summary>The widest vectors that kernels use, in bits.</summary>
    public int VectorBits { get; }

    /// <inheritdoc/>
    public override Storage Allocate(TensorType type)
    {
        ThrowUnlessHoldable(type);
        try
        {
            return new CpuStorage(type.Bytes, memory.Rent(type.Bytes));
        }
        catch (OutOfMemoryException)
        {
            throw new InsufficientMemoryException(
                $"No memory for a tensor of {type} ({type.Bytes / 1e6:N0} MB); tensors hold {LiveBytes / 1e6:N0} MB already. Use a smaller batch or a shorter length.");
        }
    }

    /// <inheritdoc/>
    protected internal override Storage Promise(TensorType type)
    {
        ThrowUnlessHoldable(type);
        return new CpuStorage(type.Bytes, null);
    }

    /// <inheritdoc/>
    public override void Trim() => memory.Trim();

    /// <inheritdoc/>
    public override void Release(Storage storage) => memory.Return(((CpuStorage)storage).Address);

    /// <inheritdoc/>
    public override void Write(Storage storage, ReadOnlySpan<byte> data) => data.CopyTo(new Span<byte>(((CpuStorage)storage).Address, data.Length));

    /// <inheritdoc/>
    public override void Read(Storage storage, Span<byte> data) => new ReadOnlySpan<byte>(((CpuStorage)storage).Address, data.Length).CopyTo(data);

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        if ((Widening.IsAnyNarrow(call.Inputs) || Widening.IsAnyNarrow(call.Outputs)) && RunWidened(call))
            return;
        call.Operation.Compute(new CpuCall(call, Threads, VectorBits));
    }

    private void ThrowUnlessHoldable(TensorType type)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (type.Count > int.MaxValue)
            throw new NotSupportedException($"A tensor of {type} has {type.Count:N0} elements; the CPU backend holds at most {int.MaxValue:N0} in one tensor. Split the batch.");
    }

    private static bool RunWidened(Call call)
    {
        using var scope = new Scope();
        using Differentiation.Mode paused = Differentiation.Pause();
        if (Widening.Run(call.Operation, call.Inputs) is not { } results)
            return false;
        CpuCall.CopyToOutputs(call, results);
        return true;
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        disposed = true;
        memory.Dispose();
    }
}
