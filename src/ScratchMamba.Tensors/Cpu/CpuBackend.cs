using System.Numerics;
using System.Runtime.Intrinsics;
using ScratchMamba.Tensors.Autograd;

namespace ScratchMamba.Tensors.Cpu;

/// <summary>
/// Runs operations on the CPU, on all cores, with the widest vectors there are. Results do not depend on the number of threads.
/// </summary>
public unsafe class CpuBackend : Backend
{
    // Of fewer rows, products read the matrix where it is; of more, packing it is less than 3 % of them. A small one is packed from the cache.
    private const int LeastRows = 25, MostRows = 256;
    private const long LeastBytes = 1 << 20;

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
    public override void Release(Storage storage)
    {
        DropPanels((CpuStorage)storage);
        memory.Return(((CpuStorage)storage).Address);
    }

    /// <inheritdoc/>
    public override void Write(Storage storage, ReadOnlySpan<byte> data)
    {
        DropPanels((CpuStorage)storage);
        data.CopyTo(new Span<byte>(((CpuStorage)storage).Address, data.Length));
    }

    /// <inheritdoc/>
    public override void Read(Storage storage, Span<byte> data) => new ReadOnlySpan<byte>(((CpuStorage)storage).Address, data.Length).CopyTo(data);

    /// <inheritdoc/>
    public override void Execute(Call call)
    {
        foreach (Tensor output in call.Outputs)
            DropPanels((CpuStorage)output.Storage);
        if ((Widening.IsAnyNarrow(call.Inputs) || Widening.IsAnyNarrow(call.Outputs)) && RunWidened(call))
            return;
        call.Operation.Compute(new CpuCall(call, this));
    }

    /// <summary>
    /// The matrix Wᵀ, W [N, K], as panels, so that a product of few rows with it need not pack it first: kept beside weights that several products have met unchanged, where half of the machine's memory
    /// holds both. Null otherwise. Packing 3352×768 takes as long as 20 % of the product of 64 rows, 34 % of that of 32.
    /// </summary>
    internal T* PanelsOf<T>(Tensor weight, int rows) where T : unmanaged, IFloatingPointIeee754<T>
    {
        var storage = (CpuStorage)weight.Storage;
        if (rows is < LeastRows or > MostRows || storage.Bytes < LeastBytes || storage.Program is not null || weight.DType != DTypes.Of<T>())
            return null;
        static T* AddressOf(Tensor tensor) => (T*)((CpuStorage)tensor.Storage).Address;
        lock (storage)
        {
            (int n, int k) = (weight.Shape[0], weight.Shape[1]);
            var product = new Gemm<T> { B = (T*)storage.Address, Batches = 1, N = n, K = k, BRow = 1, BColumn = k };
            var type = new TensorType(weight.DType, product.PanelShape(VectorBits));
            if (storage.Panels is null && ++storage.Products > 2 && memory.HeldBytes + type.Bytes <= GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2)
            {
                storage.Panels = new Tensor(type, Take(type));
                product.Pack(AddressOf(storage.Panels), Threads, VectorBits);
            }
            // A view of other extents has none.
            return storage.Panels?.Type == type ? AddressOf(storage.Panels) : null;
        }
    }

    private void DropPanels(CpuStorage storage)
    {
        storage.Products = 0;
        if (storage.Panels is not { } panels)
            return;
        storage.Panels = null;
        Return(panels.Storage);
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
