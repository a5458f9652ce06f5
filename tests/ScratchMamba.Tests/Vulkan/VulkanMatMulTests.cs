using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Vulkan;

/// <summary>Every kernel of the matrix product on every device: also those that are chosen only on a GPU, or only for shapes larger than the catalogue's.</summary>
[Collection(nameof(VulkanCollection))]
public class VulkanMatMulTests(VulkanFixture fixture)
{
    /// <summary>The kernel that a shape is to choose on a GPU; the extents; the number of dispatches, two where the inner axis is split.</summary>
    [Theory]
    [InlineData("matmul_tile", 1, 64, 128, 16, 1)]
    [InlineData("matmul_tile", 2, 100, 132, 44, 1)]
    [InlineData("matmul_tile", 1, 640, 260, 24, 1)]
    [InlineData("matmul_tile", 2, 64, 132, 1028, 2)]
    [InlineData("matmul_tile", 2, 68, 4100, 20, 1)]
    [InlineData("matmul_tile", 1, 4100, 132, 20, 1)]
    [InlineData("matmul", 1, 9, 5, 3, 1)]
    [InlineData("matmul", 3, 33, 65, 17, 1)]
    [InlineData("matmul", 2, 577, 577, 9, 1)]
    [InlineData("matmul", 2, 34, 31, 1030, 2)]
    [InlineData("matmul", 1, 40, 40, 0, 1)]
    public void TiledKernelsAgreeWithTheCpu(string shader, int batches, int m, int n, int k, int dispatches)
    {
        foreach ((bool transposeA, bool transposeB) in (ReadOnlySpan<(bool, bool)>)[(false, false), (false, true), (true, false), (true, true)])
            Compare(shader, dispatches, new MatMul(transposeA, transposeB), transposeA ? [batches, k, m] : [batches, m, k], transposeB ? [n, k] : [k, n], batches, m);
    }

    [Theory]
    [InlineData(1, 1, 30, 4)]
    [InlineData(1, 1, 257, 768)]
    [InlineData(1, 3, 64, 260)]
    [InlineData(3, 8, 33, 1028)]
    public void FewRowsAgreeWithTheCpu(int batches, int m, int n, int k) =>
        Compare("matmul_few_rows", 1, new MatMul(false, true), [batches, m, k], [batches, n, k], batches, m);

    [Theory]
    [InlineData(1, 1, 4, 7, 1)]
    [InlineData(1, 3, 36, 300, 1)]
    [InlineData(2, 8, 132, 1030, 2)]
    public void FewRowsOfColumnsAgreeWithTheCpu(int batches, int m, int n, int k, int dispatches) =>
        Compare("matmul_few_rows_columns", dispatches, new MatMul(false, false), [batches, m, k], [batches, k, n], batches, m);

    /// <summary>What is added where results are written, by every kernel that shapes choose on a GPU: a residual, or a bias.</summary>
    [Theory]
    [InlineData(1, 64, 128, 16, true, false)]
    [InlineData(2, 64, 132, 16, true, true)]
    [InlineData(2, 64, 132, 1028, true, false)]
    [InlineData(3, 33, 65, 17, true, false)]
    [InlineData(3, 33, 65, 17, false, true)]
    [InlineData(2, 34, 31, 1030, false, true)]
    [InlineData(1, 3, 64, 260, true, false)]
    [InlineData(3, 8, 36, 300, true, true)]
    [InlineData(2, 50, 1, 12, false, true)]
    [InlineData(2, 50, 1, 12, false, false)]
    public void AddendsAreAddedByEveryKernel(int batches, int m, int n, int k, bool transposeB, bool isRow)
    {
        SentinelBackend vulkan = fixture.Backend;
        var draw = new Draw([], m);
        var product = new MatMul(false, transposeB, HasAddend: true);
        Input[] inputs = [draw.Normal([batches, m, k]), draw.Normal(transposeB ? [batches, n, k] : [batches, k, n], 1 / Math.Sqrt(k)), draw.Normal(isRow ? [n] : [batches, m, n])];
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        double[] expected = Tensor.Apply(product, [.. inputs.Select(input => input.On(cpu, DType.F64))]).ToDoubles();
        vulkan.Filling = 0xFF;
        foreach (IPrimitive way in (ReadOnlySpan<IPrimitive>)[product, new OnGpu(product, vulkan.Device.Traits with { IsCpu = false })])
            Assert.InRange(RelativeError.Of(Tensor.Run(way, vulkan, [.. inputs.Select(input => input.On(vulkan, DType.F32))])[0].ToDoubles(), expected), 0, 1e-5);
    }

    [Fact]
    public void AColumnIsTakenForARow()
    {
        Compare("matmul_few_rows", 1, new MatMul(false, false), [2, 50, 12], [2, 12, 1], 2, 50);
        Compare("matmul_few_rows_columns", 1, new MatMul(true, true), [2, 11, 52], [2, 1, 11], 2, 52);
        Compare("matmul_few_rows", 1, new MatMul(true, true), [2, 12, 1], [2, 50, 12], 2, 1);
    }

    /// <summary>Products of rounded operands, on devices that have matrix units; exact ones elsewhere.</summary>
    [Theory]
    [InlineData(1, 128, 128, 32)]
    [InlineData(1, 136, 264, 40)]
    [InlineData(2, 200, 128, 100)]
    [InlineData(1, 1000, 136, 33)]
    [InlineData(2, 128, 136, 1030)]
    public void MatrixUnitsMultiplyRoundedOperands(int batches, int m, int n, int k)
    {
        SentinelBackend vulkan = fixture.Backend;
        bool hasUnits = vulkan.Device.Traits.HasMatrixUnits;
        foreach ((bool transposeA, bool transposeB) in (ReadOnlySpan<(bool, bool)>)[(false, false), (false, true), (true, false), (true, true)])
        {
            foreach (MatMulPrecision precision in (ReadOnlySpan<MatMulPrecision>)[MatMulPrecision.Bfloat16, MatMulPrecision.Bfloat16x3])
            {
                var product = new MatMul(transposeA, transposeB, precision);
                Input a = new Draw([], m).Normal(transposeA ? [batches, k, m] : [batches, m, k]), b = new Draw([], n).Normal(transposeB ? [n, k] : [k, n], 1 / Math.Sqrt(k));
                using var cpu = new CpuBackend();
                using var scope = new Scope();
                Tensor[] operands = [a.On(cpu, DType.F64), b.On(cpu, DType.F64)];
                if (hasUnits && precision == MatMulPrecision.Bfloat16)
                    operands = [.. operands.Select(Rounded)];
                double[] expected = Tensor.Apply(product, operands).ToDoubles();
                vulkan.Filling = 0xFF;
                Tensor actual = Tensor.Apply(product, a.On(vulkan, DType.F32), b.On(vulkan, DType.F32));
                // Matrix units cut off what does not fit a sum instead of rounding: 2.0e-6 was seen at k = 1030, and 6e-6 from what three products leave out.
                Assert.InRange(RelativeError.Of(actual.ToDoubles(), expected), 0, 1e-5);
                if (hasUnits && precision == MatMulPrecision.Bfloat16)
                    Assert.Contains("matmul_cooperative", product.Launch(new LaunchCall([a.TypeIn(DType.F32), b.TypeIn(DType.F32)], [actual.Type], vulkan.Device.Traits))!.Dispatches.Select(dispatch => dispatch.Shader));
            }
        }
    }

    /// <summary>Products of float16 on matrix units, where a driver has any: those of a processor's, which only tests use, too.</summary>
    [Fact]
    public void MatrixUnitsMultiplyFloat16()
    {
        const int m = 136, n = 264, k = 40;
        SentinelBackend vulkan = fixture.Backend;
        DeviceTraits traits = vulkan.Device.Traits with { IsCpu = false };
        // A processor's driver takes long to compile one.
        (bool, bool, DType?)[] ways = [(false, true, null), (false, true, DType.F32), (false, true, DType.F16), .. vulkan.Device.Traits.IsCpu ? ((bool, bool, DType?)[])[] : [(false, false, null), (true, false, DType.F16)]];
        foreach ((bool transposeA, bool transposeB, DType? addend) in ways)
        {
            var product = new MatMul(transposeA, transposeB, MatMulPrecision.Float16, HasAddend: addend is not null);
            Input a = new Draw([], m).Normal(transposeA ? [k, m] : [m, k]), b = new Draw([], n).Normal(transposeB ? [n, k] : [k, n], 1 / Math.Sqrt(k));
            using var cpu = new CpuBackend();
            using var scope = new Scope();
            Tensor left = a.On(vulkan, DType.F32).Cast(DType.F16), right = b.On(vulkan, DType.F32).Cast(DType.F16);
            Input added = new Draw([], k).Normal([m, n]);
            Tensor[] inputs = [left, right, .. addend is { } type ? (Tensor[])[added.On(vulkan, DType.F32).Cast(type)] : []];
            TensorType[] types = Tensor.TypesOf(inputs);
            double[] expected = Tensor.Apply(product, [.. inputs.Select(input => cpu.Tensor(input.Shape, input.ToDoubles()))]).ToDoubles();
            bool hasLaunch = new OnGpu(product, traits).Launch(new LaunchCall(types, product.Infer(types), traits)) is not null;
            Assert.Equal(traits.HalfMatrixSide > 0, hasLaunch);
            vulkan.Filling = 0xFF;
            Tensor actual = hasLaunch ? Tensor.Apply(new OnGpu(product, traits), inputs) : Tensor.Apply(product, inputs);
            // One rounding to eleven bits.
            Assert.InRange(RelativeError.Of(actual.ToDoubles(), expected), 0, 5e-4);
        }
    }

    /// <summary>Rounding to bfloat16 for matrix units, on every device: nearest, ties to even, infinities and NaN kept, zeros around.</summary>
    [Theory]
    [InlineData(3, 5, 3, 32, 1)]
    [InlineData(3, 16, 32, 16, 1)]
    [InlineData(7, 9, 32, 16, 2)]
    [InlineData(7, 9, 16, 16, 2, true)]
    [InlineData(100, 68, 80, 104, 2, true)]
    [InlineData(68, 132, 136, 72, 1, true)]
    public void OperandsAreRoundedToNearest(int rows, int columns, int lines, int pitch, int parts, bool isTurned = false)
    {
        float[] special = [1 + 1f / 256, 1 + 3f / 256, -1 - 1f / 256, 3.4e38f, float.PositiveInfinity, float.NegativeInfinity, float.NaN, BitConverter.UInt32BitsToSingle(0x7FFFFFFF), -0f, 1e-40f];
        var random = new Random(rows);
        float[] values = [.. Enumerable.Range(0, rows * columns).Select(i => i < special.Length ? special[i] : (float)(random.NextDouble() * 4 - 2))];
        using var scope = new Scope();
        var operation = new RoundedOperand(rows, columns, lines, pitch, parts, isTurned);
        int[] words = Tensor.Apply(operation, fixture.Backend.Tensor([rows, columns], values)).ToArray<int>();
        for (int line = 0; line < lines; line++)
        {
            for (int place = 0; place < pitch; place++)
            {
                (int row, int column) = isTurned ? (place, line) : (line, place);
                float value = row < rows && column < columns ? values[row * columns + column] : 0;
                int at = line * pitch + place;
                float rounded = Half(words, at), expected = Nearest(value);
                Assert.Equal(expected, rounded);
                if (parts == 2)
                    Assert.Equal(float.IsFinite(expected) ? Nearest(value - expected) : float.IsNaN(value) ? float.NaN : 0, Half(words, lines * pitch + at));
            }
        }

        static float Half(int[] words, int at) => BitConverter.Int32BitsToSingle(words[at / 2] >> (at % 2 * 16) << 16);
    }

    private static float Nearest(float value)
    {
        if (float.IsNaN(value))
            return float.NaN;
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
    }

    private static Tensor Rounded(Tensor x) => x.Backend.Tensor(x.Shape, x.ToDoubles().Select(value => (double)Nearest((float)value)).ToArray());

    private void Compare(string shader, int dispatches, MatMul product, Shape a, Shape b, int batches, int m)
    {
        SentinelBackend vulkan = fixture.Backend;
        var forced = new OnGpu(product, vulkan.Device.Traits with { IsCpu = false });
        TensorType[] types = [new(DType.F32, a), new(DType.F32, b)];
        Launch launch = forced.Launch(new LaunchCall(types, product.Infer(types), vulkan.Device.Traits))!;
        // Without a batch axis of B the batches may be rows of one product, which is then another shape.
        if (b.Rank == 3 || batches == 1 || product.TransposeA)
        {
            Dispatch[] passes = [.. launch.Dispatches.TakeWhile(dispatch => dispatch.Shader == "matmul_operand")];
            Assert.Equal(shader, launch.Dispatches[passes.Length].Shader);
            Assert.Equal(dispatches, launch.Dispatches.Count - passes.Length);
            // Operands that many meet are turned first.
            Assert.Equal((!product.TransposeA && (product.TransposeB ? b[^2] : b[^1]) >= 4096 ? 1 : 0) + (product.TransposeB && m >= 4096 ? 1 : 0), passes.Length);
        }
        var draw = new Draw([], m);
        Input left = draw.Normal(a), right = draw.Normal(b, 1 / Math.Sqrt(Math.Max(1, product.TransposeB ? b[^1] : b[^2])));
        using var cpu = new CpuBackend();
        using var scope = new Scope();
        double[] expected = Tensor.Apply(product, left.On(cpu, DType.F64), right.On(cpu, DType.F64)).ToDoubles();
        vulkan.Filling = 0xFF;
        double[] actual = Tensor.Apply(forced, left.On(vulkan, DType.F32), right.On(vulkan, DType.F32)).ToDoubles();
        Assert.InRange(RelativeError.Of(actual, expected), 0, 1e-5);
    }

    /// <summary>The kernel that brings an operand, by itself.</summary>
    private readonly record struct RoundedOperand(int Rows, int Columns, int Lines, int Pitch, int Parts, bool IsTurned) : IPrimitive
    {
        private readonly record struct Scalars(uint Rows, uint Columns, uint Lines, uint Packs, uint Count);

        public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => [new TensorType(DType.I32, [Parts * Lines * Pitch / 2])];

        public void Compute(CpuCall call) => throw new NotSupportedException();

        public Launch? Launch(LaunchCall call)
        {
            uint packs = (uint)Pitch / 8, count = (uint)Lines * packs, groups = IsTurned ? (uint)((Lines + 63) / 64 * ((Pitch + 63) / 64)) : (count + 63) / 64;
            return Dispatch.Linear(
                "matmul_operand", groups, [Slot.In(0), Slot.Out(0)], new Scalars((uint)Rows, (uint)Columns, (uint)Lines, packs, count),
                [64, .. Elements.Codes(Columns, DType.F32)!, DType.BF16.ShaderCode(), (uint)Parts, IsTurned ? 1u : 0]);
        }
    }

    /// <summary>A matrix product as another device would run it.</summary>
    private readonly record struct OnGpu(MatMul Product, DeviceTraits Traits) : IPrimitive
    {
        public TensorType[] Infer(ReadOnlySpan<TensorType> inputs) => Product.Infer(inputs);

        public void Compute(CpuCall call) => Product.Compute(call);

        public Launch? Launch(LaunchCall call) => Product.Launch(new LaunchCall(call.Inputs, call.Outputs, Traits));
    }
}
