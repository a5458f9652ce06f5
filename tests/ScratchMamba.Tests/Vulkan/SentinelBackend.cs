using ScratchMamba.Tensors;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>
/// A Vulkan backend with a pattern around every tensor that is compared after every operation. Fresh memory is filled with a byte of the test's choice,
/// so that an element that no shader writes shows.
/// </summary>
internal sealed class SentinelBackend(string? device) : VulkanBackend(device)
{
    private const byte Pattern = 0xA5;

    internal override long Padding => 256;

    public byte Filling { get; set; }

    public override Storage Allocate(TensorType type)
    {
        var storage = (VulkanStorage)base.Allocate(type);
        FillAt(storage, -Padding, storage.Bytes + 2 * Padding, Pattern * 0x01010101u);
        if (storage.Bytes > 0)
            FillAt(storage, 0, storage.Bytes, Filling * 0x01010101u);
        return storage;
    }

    public override void Release(Storage storage)
    {
        Check(storage, "An operation");
        base.Release(storage);
    }

    public override void Execute(Call call)
    {
        byte[][] before = [.. call.Inputs.ToArray().Select(Bytes)];
        Tensor[] outputs = call.Outputs.ToArray();
        base.Execute(call);
        for (int i = 0; i < call.Inputs.Length; i++)
        {
            Storage input = call.Inputs[i].Storage;
            if (!Array.Exists(outputs, output => output.Storage == input))
                Assert.True(Bytes(call.Inputs[i]).AsSpan().SequenceEqual(before[i]), $"{call.Operation.Name} changed its input {i}.");
        }
        foreach (Tensor output in outputs)
            Check(output.Storage, call.Operation.Name);
    }

    private byte[] Bytes(Tensor tensor)
    {
        var bytes = new byte[tensor.Type.Bytes];
        Read(tensor.Storage, bytes);
        return bytes;
    }

    private void Check(Storage storage, string operation)
    {
        var padding = new byte[Padding];
        ReadAt((VulkanStorage)storage, -Padding, padding);
        Assert.False(padding.AsSpan().ContainsAnyExcept(Pattern), $"{operation} wrote before the start of a tensor of {storage.Bytes} bytes.");
        ReadAt((VulkanStorage)storage, storage.Bytes, padding);
        Assert.False(padding.AsSpan().ContainsAnyExcept(Pattern), $"{operation} wrote behind the end of a tensor of {storage.Bytes} bytes.");
    }
}
