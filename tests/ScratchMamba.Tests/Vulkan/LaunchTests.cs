using System.Security.Cryptography;
using System.Text.RegularExpressions;
using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;
using ScratchMamba.Vulkan;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>What can be said of launches and shaders without a device.</summary>
public partial class LaunchTests
{
    // A driver for the processor; NVIDIA; AMD without matrix units.
    private static readonly DeviceTraits[] Devices =
    [
        new() { SubgroupSize = 8, SharedMemoryBytes = 32 << 10, WorkgroupInvocations = 1024, IsCpu = true },
        new() { SubgroupSize = 32, SharedMemoryBytes = 48 << 10, WorkgroupInvocations = 1024, HasMatrixUnits = true, HalfMatrixSide = 16, HasHalfSums = true },
        new() { SubgroupSize = 64, SharedMemoryBytes = 32 << 10, WorkgroupInvocations = 1024 },
    ];

    private static readonly Dictionary<string, SpirvModule> Modules = Shaders.Names.ToDictionary(name => name, name => SpirvModule.Read(name, Shaders.Read(name)));

    public static TheoryData<string> Rows => [.. Catalog.Catalog.Rows.Select(row => row.Name)];

    [Theory, MemberData(nameof(Rows))]
    public void LaunchesFitTheirShaders(string name)
    {
        foreach ((string example, (int inputs, int outputs), DeviceTraits device, Launch launch) in Launches(name))
        {
            foreach (Dispatch dispatch in launch.Dispatches)
            {
                Assert.True(Modules.TryGetValue(dispatch.Shader, out SpirvModule? module), $"{example}: there is no shader '{dispatch.Shader}'");
                module.ThrowUnlessFits(dispatch, device);
                Assert.InRange(dispatch.Groups.X, 1u, (uint)Dispatch.MaxGroups);
                Assert.InRange(dispatch.Groups.Y, 1u, (uint)Dispatch.MaxGroups);
                Assert.InRange(dispatch.Groups.Z, 1u, (uint)Dispatch.MaxGroups);
                Assert.Contains(dispatch.Buffers, slot => slot.Writes);
                foreach (Slot slot in dispatch.Buffers)
                {
                    Assert.False(slot.Writes && slot.Kind == SlotKind.Input, $"{example}: {dispatch.Shader} writes input {slot.Index}");
                    Assert.InRange(slot.Index, 0, (slot.Kind switch { SlotKind.Input => inputs, SlotKind.Output => outputs, _ => launch.ScratchBytes.Count }) - 1);
                }
            }
        }
    }

    [Fact]
    public void EveryShaderBelongsToALaunch()
    {
        var used = new HashSet<string>();
        foreach (Row row in Catalog.Catalog.Rows)
            used.UnionWith(Launches(row.Name).SelectMany(found => found.Launch.Dispatches).Select(dispatch => dispatch.Shader));
        Assert.Empty(Shaders.Names.Except(used).Except(VulkanCeilings.Shaders));
    }

    /// <summary>A shader's source that was changed after it was compiled shows: tools/shaders/compile writes down the hash of what it read.</summary>
    [Fact]
    public void CompiledShadersMatchTheirSources()
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "shaders");
        string[] sources = [.. Directory.EnumerateFiles(folder, "*.comp").Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal)!];
        Assert.Equal(sources, Shaders.Names);
        Assert.All(sources, name =>
        {
            string written = File.ReadAllText(Path.Combine(folder, "compiled", name + ".sha256")).Trim();
            Assert.True(Hash(folder, name + ".comp") == written, $"{name}.comp, or a file that it includes, was changed: run tools/shaders/compile {name}");
        });
    }

    [Fact]
    public void AMismatchIsNamed()
    {
        SpirvModule affine = Modules["affine"];
        DeviceTraits device = Devices[0];
        Dispatch right = Dispatch.Linear("affine", 1, [Slot.In(0), Slot.Out(0)], new Scalars(1, 2, 3), 256);
        affine.ThrowUnlessFits(right, device);
        Assert.Contains("takes 2 buffers; its launch supplies 1", Refusal(Dispatch.Linear("affine", 1, [Slot.Out(0)], new Scalars(1, 2, 3), 256)));
        Assert.Contains("push constants of the shader affine", Refusal(Dispatch.Linear("affine", 1, [Slot.In(0), Slot.Out(0)], 1f, 256)));
        Assert.Contains("specialization constant 0", Refusal(Dispatch.Linear("affine", 1, [Slot.In(0), Slot.Out(0)], new Scalars(1, 2, 3))));
        Assert.Contains("2048 invocations", Refusal(Dispatch.Linear("affine", 1, [Slot.In(0), Slot.Out(0)], new Scalars(1, 2, 3), 2048)));
        Assert.Contains("is not SPIR-V", Assert.Throws<VulkanException>(() => SpirvModule.Read("x", [1, 2, 3, 4])).Message);

        string Refusal(Dispatch dispatch) => Assert.Throws<VulkanException>(() => affine.ThrowUnlessFits(dispatch, device)).Message;
    }

    private readonly record struct Scalars(uint Count, float A, float B);

    /// <summary>What the catalogue, which is made for the CPU and for small examples, does not draw.</summary>
    private static readonly (IPrimitive Operation, TensorType[] Inputs)[] Others =
    [
        (new Cast(DType.F32), [new TensorType(DType.I32, [300])]),
        (new Add(), [new TensorType(DType.BF16, [64]), new TensorType(DType.BF16, [64])]),
        (new MatMul(false, false), [Matrix(512, 512), Matrix(512, 512)]),
        (new MatMul(true, false), [Matrix(8192, 64), Matrix(8192, 64)]),
        (new MatMul(true, false, MatMulPrecision.Bfloat16), [Matrix(8192, 128), Matrix(8192, 136)]),
        (new ChunkState(64, false, MatMulPrecision.Bfloat16), Scan()),
        (new ChunkStateGradient(64, false, MatMulPrecision.Bfloat16), Scan([2, 3, 4, 64, 64])),
        (new ChunkScan(64, false, false, MatMulPrecision.Bfloat16), Scan([2, 130, 1, 64], [2, 3, 4, 64, 64])),
        (new ChunkScanGradient(64, false, false, MatMulPrecision.Bfloat16), Scan([2, 130, 1, 64], [2, 3, 4, 64, 64], [2, 130, 4, 64])),
        (new ChunkState(128, false, MatMulPrecision.Bfloat16), Narrow(Scan())),
        (new ChunkStateGradient(128, false, MatMulPrecision.Bfloat16), Narrow(Scan([2, 2, 4, 64, 64]), 4)),
        (new ChunkScan(128, false, false, MatMulPrecision.Bfloat16), Narrow(Scan([2, 130, 1, 64], [2, 2, 4, 64, 64]), 4, 5)),
        (new ChunkScanGradient(128, false, false, MatMulPrecision.Bfloat16), Narrow(Scan([2, 130, 1, 64], [2, 2, 4, 64, 64], [2, 130, 4, 64]), 4, 5, 6)),
        (new StateSpaceScan(128, false, false, false, true, MatMulPrecision.Bfloat16), Narrow(Scan([2, 130, 1, 64]), 4)),
        (new StateSpaceScanGradient(128, false, false, false, MatMulPrecision.Bfloat16), Narrow(Scan([2, 130, 1, 64], [2, 2, 4, 64, 64], [2, 130, 4, 64], [2, 4, 64, 64]), 4, 5, 6)),
        (new StateSpaceScan(128, false, false, false, true, MatMulPrecision.Float16), Half(Narrow(Scan([2, 130, 1, 64]), 4))),
        (new StateSpaceScanGradient(128, false, false, false, MatMulPrecision.Float16), Half(Narrow(Scan([2, 130, 1, 64], [2, 2, 4, 64, 64], [2, 130, 4, 64], [2, 4, 64, 64]), 4, 5, 6))),
        (new Gather(), [new TensorType(DType.Q4_0, [9, 64]), new TensorType(DType.I32, [3])]),
        (new MatMul(false, true), [Matrix(20, 64), new TensorType(DType.Q8_0, [30, 64])]),
        (new MatMul(false, true, MatMulPrecision.Bfloat16), [Matrix(512, 128), new TensorType(DType.BF16, [512, 128])]),
        (new MatMul(false, true, MatMulPrecision.Float16), [new TensorType(DType.F16, [512, 128]), new TensorType(DType.F16, [512, 128])]),
        (new MatMul(false, true, MatMulPrecision.Bfloat16x3), [Matrix(512, 100), Matrix(512, 100)]),
        (new MatMul(true, false, MatMulPrecision.Float16), [new TensorType(DType.F16, [16384, 768]), new TensorType(DType.F16, [16384, 1536])]),
    ];

    private static TensorType[] Scan(params ReadOnlySpan<Shape> last) =>
        [F32([2, 130, 4, 64]), F32([2, 130, 4]), F32([4]), F32([2, 130, 1, 64]), .. last.ToArray().Select(F32)];

    /// <summary>x, B and what else is named as bfloat16.</summary>
    private static TensorType[] Narrow(TensorType[] inputs, params int[] others) =>
        [.. inputs.Select((input, i) => i is 0 or 3 || others.Contains(i) ? input with { DType = DType.BF16 } : input)];

    private static TensorType[] Half(TensorType[] inputs) => [.. inputs.Select(input => input.DType == DType.BF16 ? input with { DType = DType.F16 } : input)];

    private static TensorType F32(Shape shape) => new(DType.F32, shape);

    private static TensorType Matrix(int rows, int columns) => new(DType.F32, [rows, columns]);

    private static IEnumerable<(string Example, (int Inputs, int Outputs) Counts, DeviceTraits Device, Launch Launch)> Launches(string name)
    {
        Row row = Catalog.Catalog.Rows.Single(row => row.Name == name);
        var random = new Random(1);
        var examples = Others.Where(example => example.Operation.GetType() == row.Operation).ToList();
        for (int i = 0; i < 40; i++)
        {
            // The first example is the simplest; the others draw every choice.
            Case drawn = row.Make(new Draw([.. Enumerable.Range(0, i == 0 ? 0 : 24).Select(_ => random.Next(1000))], i));
            examples.Add((drawn.Operation, [.. drawn.Inputs.Select(input => input.TypeIn(DType.F32))]));
        }
        foreach ((IPrimitive operation, TensorType[] inputs) in examples)
        {
            TensorType[] outputs = operation.Infer(inputs);
            foreach (DeviceTraits device in Devices)
            {
                if (operation.Launch(new LaunchCall(inputs, outputs, device)) is { } launch)
                    yield return ($"{operation} of {string.Join(", ", inputs)}", (inputs.Length, outputs.Length), device, launch);
            }
        }
    }

    private static string Hash(string folder, string source)
    {
        var files = new List<string>();
        Visit(source);
        byte[] all = [.. files.Distinct().SelectMany(file => File.ReadAllBytes(Path.Combine(folder, file)))];
        return Convert.ToHexStringLower(SHA256.HashData(all));

        void Visit(string file)
        {
            files.Add(file);
            foreach (Match include in Include().Matches(File.ReadAllText(Path.Combine(folder, file))))
                Visit(include.Groups[1].Value);
        }
    }

    [GeneratedRegex("^#include \"(.*)\"", RegexOptions.Multiline)]
    private static partial Regex Include();
}
