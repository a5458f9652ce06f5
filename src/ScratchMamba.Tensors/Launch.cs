using System.Runtime.InteropServices;

namespace ScratchMamba.Tensors;

/// <summary>What an operation may know of the device that it plans a launch for.</summary>
public sealed record DeviceTraits
{
    /// <summary>The number of invocations of a subgroup; kernels that use subgroup operations run with exactly this many.</summary>
    public required int SubgroupSize { get; init; }

    /// <summary>Bytes of shared memory that one workgroup may use.</summary>
    public required int SharedMemoryBytes { get; init; }

    /// <summary>The most invocations of a workgroup.</summary>
    public required int WorkgroupInvocations { get; init; }

    /// <summary>Whether the device is a processor that runs shaders: shared memory and barriers cost more there than they save.</summary>
    public bool IsCpu { get; init; }

    /// <summary>Whether subgroups multiply bfloat16 matrices of 16 × 16 by 16 × 16 and add them up in float32.</summary>
    public bool HasMatrixUnits { get; init; }

    /// <summary>The side of the square float16 matrices that subgroups multiply and add up in float32: 16, 8, or 0 where they cannot.</summary>
    public int HalfMatrixSide { get; init; }

    /// <summary>Whether matrix units have sums of float16, too, 16 by 16.</summary>
    public bool HasHalfSums { get; init; }
}

/// <summary>What an operation plans its launch from: types only, no data.</summary>
public readonly ref struct LaunchCall(ReadOnlySpan<TensorType> inputs, ReadOnlySpan<TensorType> outputs, DeviceTraits device)
{
    /// <summary>The types of the inputs.</summary>
    public ReadOnlySpan<TensorType> Inputs { get; } = inputs;

    /// <summary>The types of the outputs.</summary>
    public ReadOnlySpan<TensorType> Outputs { get; } = outputs;

    /// <summary>The device.</summary>
    public DeviceTraits Device { get; } = device;
}

/// <summary>Which of an operation's memory a dispatch is given.</summary>
public enum SlotKind
{
    /// <summary>An input tensor.</summary>
    Input,

    /// <summary>An output tensor.</summary>
    Output,

    /// <summary>Memory that lives as long as the launch.</summary>
    Scratch,
}

/// <summary>A buffer of a dispatch: its address is one field of the push constant block.</summary>
public readonly record struct Slot(SlotKind Kind, int Index, bool Writes)
{
    /// <summary>Whether other dispatches of the launch that say so, too, may run beside this one.</summary>
    public bool IsApart { get; init; }

    /// <summary>Input number <paramref name="index"/>, read.</summary>
    public static Slot In(int index) => new(SlotKind.Input, index, Writes: false);

    /// <summary>Output number <paramref name="index"/>, written.</summary>
    public static Slot Out(int index) => new(SlotKind.Output, index, Writes: true);

    /// <summary>A part of output number <paramref name="index"/>, written; other dispatches of the launch write other parts of it.</summary>
    public static Slot OutPart(int index) => Out(index) with { IsApart = true };

    /// <summary>Output number <paramref name="index"/> of an earlier dispatch of the same launch, read.</summary>
    public static Slot OutRead(int index) => new(SlotKind.Output, index, Writes: false);

    /// <summary>Scratch number <paramref name="index"/>, written.</summary>
    public static Slot ScratchOut(int index) => new(SlotKind.Scratch, index, Writes: true);

    /// <summary>Scratch number <paramref name="index"/>, read.</summary>
    public static Slot ScratchIn(int index) => new(SlotKind.Scratch, index, Writes: false);
}

/// <summary>
/// One run of a compute shader. Its push constant block is the 64-bit addresses of <see cref="Buffers"/> in order, then <see cref="Scalars"/>; together at most
/// <see cref="MaxPushBytes"/> bytes.
/// </summary>
public sealed record Dispatch
{
    /// <summary>What every Vulkan device accepts.</summary>
    public const int MaxPushBytes = 128;

    /// <summary>The most workgroups along one axis that every Vulkan device accepts.</summary>
    public const int MaxGroups = 65_535;

    private Dispatch(string shader, (uint X, uint Y, uint Z) groups, Slot[] buffers, byte[] scalars, uint[] constants)
    {
        Shader = shader;
        Groups = groups;
        Buffers = buffers;
        Scalars = scalars;
        Constants = constants;
    }

    /// <summary>The shader's name: that of its source without the ending.</summary>
    public string Shader { get; }

    /// <summary>The number of workgroups along each axis.</summary>
    public (uint X, uint Y, uint Z) Groups { get; }

    /// <summary>The buffers.</summary>
    public IReadOnlyList<Slot> Buffers { get; }

    /// <summary>The bytes that follow the addresses in the push constant block.</summary>
    public ReadOnlyMemory<byte> Scalars { get; }

    /// <summary>The values of specialization constants 0, 1, …</summary>
    public IReadOnlyList<uint> Constants { get; }

    /// <summary>A dispatch over a grid.</summary>
    /// <param name="shader">The shader's name.</param>
    /// <param name="groups">The number of workgroups along each axis.</param>
    /// <param name="buffers">The buffers, in the order of the push constant block.</param>
    /// <param name="scalars">What follows them there: a struct of 4-byte fields, in scalar layout.</param>
    /// <param name="constants">The values of specialization constants 0, 1, …</param>
    public static Dispatch Grid<TScalars>(string shader, (long X, long Y, long Z) groups, ReadOnlySpan<Slot> buffers, in TScalars scalars, params ReadOnlySpan<uint> constants)
        where TScalars : unmanaged
    {
        byte[] bytes = MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(in scalars, 1)).ToArray();
        if (8 * buffers.Length + bytes.Length > MaxPushBytes)
            throw new ArgumentException($"{shader}: {buffers.Length} addresses and {bytes.Length} bytes of scalars exceed {MaxPushBytes} bytes of push constants.");
        return new Dispatch(shader, (checked((uint)groups.X), checked((uint)groups.Y), checked((uint)groups.Z)), buffers.ToArray(), bytes, constants.ToArray());
    }

    /// <summary>A dispatch over <paramref name="groups"/> workgroups in a row. Where they exceed <see cref="MaxGroups"/> they are folded into rows of equal length; the shader finds its
    /// number as x + y · (groups along x) and must ignore numbers from <paramref name="groups"/> on.</summary>
    public static Dispatch Linear<TScalars>(string shader, long groups, ReadOnlySpan<Slot> buffers, in TScalars scalars, params ReadOnlySpan<uint> constants) where TScalars : unmanaged
    {
        long rows = Math.Max(1, (groups + MaxGroups - 1) / MaxGroups);
        return Grid(shader, ((groups + rows - 1) / rows, rows, 1), buffers, in scalars, constants);
    }
}

/// <summary>How an operation runs on a device that has shaders: pure data, so that it can be checked without one.</summary>
/// <param name="Dispatches">What to run, in order; a dispatch sees what the ones before it wrote.</param>
/// <param name="ScratchBytes">The sizes of the scratch buffers.</param>
public sealed record Launch(IReadOnlyList<Dispatch> Dispatches, params IReadOnlyList<long> ScratchBytes)
{
    /// <summary>Nothing to run: the outputs are empty.</summary>
    public static Launch Nothing { get; } = new([]);

    /// <summary>A launch of one dispatch.</summary>
    public static implicit operator Launch(Dispatch dispatch) => new([dispatch]);
}

/// <summary>One of several ways to run an operation.</summary>
/// <param name="Name">What a tuner writes down: it stays the same as long as the kernel does.</param>
/// <param name="Launch">How it runs.</param>
public readonly record struct Alternative(string Name, Launch Launch);
