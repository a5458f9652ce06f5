using System.Runtime.InteropServices;
using ScratchMamba.Tensors;

namespace ScratchMamba.Vulkan;

/// <summary>
/// What a compiled shader declares: its push constant block, its specialization constants and its shared memory. Read from the SPIR-V itself, so that a launch
/// that does not fit is refused by name instead of reading addresses where numbers are.
/// </summary>
internal sealed class SpirvModule
{
    private const uint Magic = 0x07230203;
    private const int StoragePushConstant = 9, StorageWorkgroup = 4, StoragePhysical = 5349;
    private const int DecorationSpecId = 1, DecorationOffset = 35;
    private const int CapabilityCooperativeMatrix = 6022;

    private readonly Dictionary<uint, uint[]> definitions = [];
    private readonly Dictionary<uint, Dictionary<uint, uint>> offsets = [];
    private readonly Dictionary<uint, uint> specIds = [];
    private readonly List<uint[]> variables = [];

    private SpirvModule(string name) => Name = name;

    public string Name { get; }

    /// <summary>How many 64-bit addresses the push constant block begins with.</summary>
    public int BufferCount { get; private set; }

    /// <summary>The size of the push constant block in bytes.</summary>
    public int PushBytes { get; private set; }

    /// <summary>The numbers of the specialization constants.</summary>
    public IEnumerable<uint> ConstantIds => specIds.Values;

    /// <summary>Whether it multiplies on matrix units.</summary>
    public bool NeedsMatrixUnits { get; private set; }

    /// <summary>Reads a module.</summary>
    public static SpirvModule Read(string name, ReadOnlySpan<byte> code)
    {
        ReadOnlySpan<uint> words = MemoryMarshal.Cast<byte, uint>(code);
        if (code.Length % 4 != 0 || words.Length < 5 || words[0] != Magic)
            throw new VulkanException($"The shader {name} is not SPIR-V.");
        var module = new SpirvModule(name);
        for (int at = 5; at < words.Length;)
        {
            int length = (int)(words[at] >> 16);
            if (length == 0 || at + length > words.Length)
                throw new VulkanException($"The SPIR-V of the shader {name} is broken at word {at}.");
            module.Add(words.Slice(at, length).ToArray());
            at += length;
        }
        module.MeasurePushBlock();
        return module;
    }

    /// <summary>Refuses a launch that this shader cannot run.</summary>
    /// <exception cref="VulkanException">The push constants, the constants or the shared memory do not fit; the message says which and by how much.</exception>
    public void ThrowUnlessFits(Dispatch dispatch, DeviceTraits device)
    {
        if (dispatch.Buffers.Count != BufferCount)
            throw new VulkanException($"The shader {Name} takes {BufferCount} buffers; its launch supplies {dispatch.Buffers.Count}.");
        int supplied = 8 * dispatch.Buffers.Count + dispatch.Scalars.Length;
        if (supplied != PushBytes)
            throw new VulkanException($"The push constants of the shader {Name} take {PushBytes} bytes; its launch supplies {supplied}.");
        foreach (uint id in ConstantIds)
        {
            if (id >= dispatch.Constants.Count)
                throw new VulkanException($"The shader {Name} has a specialization constant {id}; its launch supplies only {dispatch.Constants.Count}.");
        }
        long shared = SharedBytes(dispatch.Constants);
        if (shared > device.SharedMemoryBytes)
            throw new VulkanException($"The shader {Name} with constants [{string.Join(", ", dispatch.Constants)}] takes {shared:N0} bytes of shared memory; the device has {device.SharedMemoryBytes:N0}.");
        if (dispatch.Constants.Count > 0 && dispatch.Constants[0] > device.WorkgroupInvocations)
            throw new VulkanException($"The shader {Name} is launched with {dispatch.Constants[0]} invocations in a workgroup; the device allows {device.WorkgroupInvocations}.");
    }

    /// <summary>Bytes of shared memory, for given values of the specialization constants.</summary>
    public long SharedBytes(IReadOnlyList<uint> constants)
    {
        long bytes = 0;
        foreach (uint[] variable in variables)
        {
            if (variable[3] == StorageWorkgroup)
                bytes += SizeOf(definitions[variable[1]][3], constants);
        }
        return bytes;
    }

    private void Add(uint[] words)
    {
        uint operation = words[0] & 0xFFFF;
        switch (operation)
        {
            case 17: // OpCapability
                NeedsMatrixUnits |= words[1] == CapabilityCooperativeMatrix;
                break;
            case 71 when words[2] == DecorationSpecId: // OpDecorate
                specIds[words[1]] = words[3];
                break;
            case 72 when words[3] == DecorationOffset: // OpMemberDecorate
                if (!offsets.TryGetValue(words[1], out Dictionary<uint, uint>? members))
                    offsets[words[1]] = members = [];
                members[words[2]] = words[4];
                break;
            case >= 19 and <= 33: // types
                definitions[words[1]] = words;
                break;
            case >= 41 and <= 52: // constants
                definitions[words[2]] = words;
                break;
            case 59: // OpVariable
                variables.Add(words);
                break;
            default:
                break;
        }
    }

    private void MeasurePushBlock()
    {
        if (variables.Find(variable => variable[3] == StoragePushConstant) is not { } push)
            return;
        uint block = definitions[push[1]][3];
        uint[] members = definitions[block][2..];
        bool isLeading = true;
        for (uint i = 0; i < members.Length; i++)
        {
            uint offset = offsets[block][i];
            bool isAddress = IsAddress(members[i]);
            if (isAddress && (!isLeading || offset != 8 * i))
                throw new VulkanException($"The push constants of the shader {Name} must begin with its addresses; member {i} is one at byte {offset}.");
            isLeading &= isAddress;
            if (isAddress)
                BufferCount++;
            PushBytes = Math.Max(PushBytes, (int)(offset + SizeOf(members[i], [])));
        }
    }

    private bool IsAddress(uint type)
    {
        uint[] definition = definitions[type];
        return (definition[0] & 0xFFFF) switch
        {
            32 => definition[2] == StoragePhysical,
            21 => definition[2] == 64,
            _ => false,
        };
    }

    private long SizeOf(uint type, IReadOnlyList<uint> constants)
    {
        uint[] definition = definitions[type];
        return (definition[0] & 0xFFFF) switch
        {
            20 => 4, // bool
            21 or 22 => definition[2] / 8, // int, float
            23 or 24 => definition[3] * SizeOf(definition[2], constants), // vector, matrix
            28 => Value(definition[3], constants) * SizeOf(definition[2], constants), // array
            30 => definition.Skip(2).Sum(member => SizeOf(member, constants)), // struct
            32 => 8, // pointer
            _ => throw new VulkanException($"The shader {Name} uses a type (instruction {definition[0] & 0xFFFF}) whose size is not known."),
        };
    }

    /// <summary>The value of a constant, with the specialization constants in place.</summary>
    private long Value(uint id, IReadOnlyList<uint> constants)
    {
        uint[] definition = definitions[id];
        if (specIds.TryGetValue(id, out uint number) && number < constants.Count)
            return constants[(int)number];
        uint operation = definition[0] & 0xFFFF;
        return operation switch
        {
            41 or 48 => 1, // true
            42 or 49 => 0, // false
            43 or 50 => definition[3],
            52 => Calculate(definition, constants),
            _ => throw new VulkanException($"The shader {Name} sizes an array with instruction {operation}, which is not known."),
        };
    }

    private long Calculate(uint[] definition, IReadOnlyList<uint> constants)
    {
        long At(int index) => Value(definition[index], constants);
        return definition[3] switch
        {
            128 => At(4) + At(5),
            130 => At(4) - At(5),
            132 => At(4) * At(5),
            134 or 135 => At(4) / At(5),
            137 or 139 => At(4) % At(5),
            169 => At(4) != 0 ? At(5) : At(6),
            170 => At(4) == At(5) ? 1 : 0,
            171 => At(4) != At(5) ? 1 : 0,
            172 or 173 => At(4) > At(5) ? 1 : 0,
            174 or 175 => At(4) >= At(5) ? 1 : 0,
            176 or 177 => At(4) < At(5) ? 1 : 0,
            178 or 179 => At(4) <= At(5) ? 1 : 0,
            194 or 195 => At(4) >> (int)At(5),
            196 => At(4) << (int)At(5),
            uint other => throw new VulkanException($"The shader {Name} sizes an array with the constant operation {other}, which is not known."),
        };
    }
}
