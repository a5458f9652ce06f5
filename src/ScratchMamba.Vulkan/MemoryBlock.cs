using ScratchMamba.Vulkan.Bindings;
using Buffer = ScratchMamba.Vulkan.Bindings.Buffer;

namespace ScratchMamba.Vulkan;

/// <summary>One allocation of the device with one buffer over all of it; mapped for good where the host can see it.</summary>
internal sealed unsafe class MemoryBlock
{
    private readonly VulkanDevice device;
    private readonly DeviceMemory memory;

    private MemoryBlock(VulkanDevice device, Buffer buffer, DeviceMemory memory, long size, bool isMapped)
    {
        this.device = device;
        this.memory = memory;
        Buffer = buffer;
        Size = size;
        var info = new BufferDeviceAddressInfo { Buffer = buffer };
        Address = device.Vk.GetBufferDeviceAddress(device.Handle, &info);
        if (!isMapped)
            return;
        void* host;
        device.Check(device.Vk.MapMemory(device.Handle, memory, 0, ulong.MaxValue, default, &host), "mapping memory");
        Host = (byte*)host;
    }

    public Buffer Buffer { get; }

    public long Size { get; }

    public ulong Address { get; }

    /// <summary>Where the host sees it, or null.</summary>
    public byte* Host { get; }

    /// <summary>Makes a block, or returns null where there is no memory for it.</summary>
    public static MemoryBlock? TryMake(VulkanDevice device, long size, int memoryType, bool isMapped)
    {
        Vk vk = device.Vk;
        var info = new BufferCreateInfo
        {
            Size = (ulong)size,
            Usage = BufferUsageFlags.StorageBufferBit | BufferUsageFlags.TransferSrcBit | BufferUsageFlags.TransferDstBit | BufferUsageFlags.ShaderDeviceAddressBit,
        };
        Buffer buffer;
        Result result = vk.CreateBuffer(device.Handle, &info, null, &buffer);
        if (IsExhausted(result))
            return null;
        device.Check(result, $"making a buffer of {size:N0} bytes");
        MemoryRequirements requirements;
        vk.GetBufferMemoryRequirements(device.Handle, buffer, &requirements);
        var flags = new MemoryAllocateFlagsInfo { Flags = MemoryAllocateFlags.DeviceAddressBit };
        var allocate = new MemoryAllocateInfo { PNext = &flags, AllocationSize = requirements.Size, MemoryTypeIndex = (uint)memoryType };
        DeviceMemory memory;
        result = vk.AllocateMemory(device.Handle, &allocate, null, &memory);
        if (result != Result.Success)
        {
            vk.DestroyBuffer(device.Handle, buffer, null);
            if (IsExhausted(result))
                return null;
            device.Check(result, $"allocating {size:N0} bytes");
        }
        device.Check(vk.BindBufferMemory(device.Handle, buffer, memory, 0), "binding memory");
        return new MemoryBlock(device, buffer, memory, size, isMapped);
    }

    /// <summary>An access to a range of this block.</summary>
    public Access Access(long offset, long bytes, bool writes) => new(Address + (ulong)offset, Address + (ulong)(offset + bytes), writes);

    public void Free()
    {
        device.Vk.DestroyBuffer(device.Handle, Buffer, null);
        device.Vk.FreeMemory(device.Handle, memory, null);
    }

    private static bool IsExhausted(Result result) => result is Result.ErrorOutOfDeviceMemory or Result.ErrorOutOfHostMemory or Result.ErrorTooManyObjects;
}
