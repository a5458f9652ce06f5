using System.Runtime.InteropServices;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tests.Tensors;

/// <summary>
/// A CPU backend that notices access outside a tensor: on Linux an unreadable page follows the data, so that reading or writing behind it stops the process;
/// before the data stands a pattern that is compared after every operation. Fresh memory is filled with a byte of the test's choice.
/// </summary>
internal sealed unsafe partial class GuardedBackend(byte fill) : CpuBackend(threads: 2)
{
    private const byte Pattern = 0xA5;
    private const int FrontBytes = 256;

    private static readonly int Page = Environment.SystemPageSize;
    private readonly Dictionary<Storage, (nint Block, nint Length)> blocks = [];

    public override Storage Allocate(TensorType type)
    {
        long body = FrontBytes + type.Bytes;
        nint length = (nint)((body + Page - 1) / Page * Page + Page);
        byte* block = OperatingSystem.IsLinux() ? Map(length) : (byte*)NativeMemory.Alloc((nuint)length);
        byte* data = block + length - Page - type.Bytes;
        new Span<byte>(block, (int)(data - block)).Fill(Pattern);
        new Span<byte>(data, (int)type.Bytes).Fill(fill);
        if (OperatingSystem.IsLinux() && mprotect(block + length - Page, Page, 0) != 0)
            throw new InvalidOperationException("mprotect failed");
        var storage = new CpuStorage(type.Bytes, data);
        blocks.Add(storage, ((nint)block, length));
        return storage;
    }

    public override void Release(Storage storage)
    {
        Check(storage);
        blocks.Remove(storage, out (nint Block, nint Length) block);
        Free(block);
    }

    public override void Execute(Call call)
    {
        var before = new List<byte[]>();
        foreach (Tensor input in call.Inputs)
            before.Add(Bytes(input).ToArray());
        base.Execute(call);
        for (int i = 0; i < call.Inputs.Length; i++)
            Assert.True(Bytes(call.Inputs[i]).SequenceEqual(before[i]), $"{call.Operation.Name} changed its input {i}.");
        foreach (Storage storage in blocks.Keys)
            Check(storage, call.Operation.Name);
    }

    public override void Dispose()
    {
        foreach ((nint, nint) block in blocks.Values)
            Free(block);
        blocks.Clear();
        base.Dispose();
    }

    private static ReadOnlySpan<byte> Bytes(Tensor tensor) => new(((CpuStorage)tensor.Storage).Address, (int)tensor.Type.Bytes);

    private void Check(Storage storage, string operation = "An operation")
    {
        byte* block = (byte*)blocks[storage].Block;
        int front = (int)(((CpuStorage)storage).Address - block);
        Assert.False(new ReadOnlySpan<byte>(block, front).ContainsAnyExcept(Pattern), $"{operation} wrote before the start of a tensor of {storage.Bytes} bytes.");
    }

    private static byte* Map(nint length)
    {
        const int ReadWrite = 3, PrivateAnonymous = 0x22;
        void* address = mmap(null, length, ReadWrite, PrivateAnonymous, -1, 0);
        return (nint)address == -1 ? throw new InvalidOperationException("mmap failed") : (byte*)address;
    }

    private static void Free((nint Block, nint Length) block)
    {
        if (OperatingSystem.IsLinux())
            _ = munmap((void*)block.Block, block.Length);
        else
            NativeMemory.Free((void*)block.Block);
    }

    [LibraryImport("libc")]
    private static partial void* mmap(void* address, nint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc")]
    private static partial int mprotect(void* address, nint length, int protection);

    [LibraryImport("libc")]
    private static partial int munmap(void* address, nint length);
}
