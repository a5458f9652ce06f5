using ScratchMamba.Catalog;
using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public class MatMulTests
{
    private static readonly int[] Extents = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 255, 256, 257];

    /// <summary>Every critical extent in every place, beside extents that change from case to case.</summary>
    public static TheoryData<int, int, int> Sizes()
    {
        var sizes = new TheoryData<int, int, int>();
        for (int i = 0; i < Extents.Length; i++)
        {
            sizes.Add(Extents[i], Extents[(3 * i + 5) % Extents.Length], Extents[(5 * i + 9) % Extents.Length]);
            sizes.Add(Extents[(3 * i + 1) % Extents.Length], Extents[i], Extents[(5 * i + 2) % Extents.Length]);
            sizes.Add(Extents[(5 * i + 4) % Extents.Length], Extents[(3 * i + 8) % Extents.Length], Extents[i]);
        }
        sizes.Add(97, 257, 513);
        return sizes;
    }

    [Theory, MemberData(nameof(Sizes))]
    public void AgreesWithTheSumThatDefinesIt(int m, int n, int k) => CompareWithNaive(m, n, k, vectorBits: 0);

    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(512)]
    public void AgreesForEveryVectorWidth(int bits)
    {
        foreach ((int m, int n, int k) in (ReadOnlySpan<(int, int, int)>)[(1, 33, 17), (2, 70, 33), (31, 65, 90), (33, 3, 65), (43, 97, 300)])
            CompareWithNaive(m, n, k, bits);
    }

    [Theory]
    [InlineData(300, 200, 700, 1)]
    [InlineData(5, 700, 300, 1)]
    [InlineData(300, 3, 500, 1)]
    [InlineData(65, 33, 40, 7)]
    [InlineData(70, 90, 3000, 1)]
    [InlineData(100, 300, 64, 1)]
    public void HasTheSameBitsForAnyNumberOfThreads(int m, int n, int k, int batches)
    {
        foreach (bool transposeB in (bool[])[false, true])
        {
            float[][] results = [.. new[] { 1, 2, 3 }.Select(threads =>
            {
                using var backend = new CpuBackend(threads);
                var draw = new Draw([], 5);
                Tensor a = draw.Normal([batches, m, k]).On(backend, DType.F32), b = draw.Normal(transposeB ? [batches, n, k] : [batches, k, n]).On(backend, DType.F32);
                return a.MatMul(b, transposeB: transposeB).ToArray<float>();
            })];
            Assert.Equal(results[0], results[1]);
            Assert.Equal(results[0], results[2]);
        }
    }

    [Fact]
    public void HasTheSameBitsForAnyVectorWidthWhereItIsBlocked()
    {
        float[][] results = [.. new[] { 128, 256, 512 }.Select(bits =>
        {
            using var backend = new CpuBackend(vectorBits: bits);
            var draw = new Draw([], 6);
            return draw.Normal([70, 600]).On(backend, DType.F32).MatMul(draw.Normal([50, 600]).On(backend, DType.F32), transposeB: true).ToArray<float>();
        })];
        Assert.Equal(results[0], results[1]);
        Assert.Equal(results[0], results[2]);
    }

    [Fact]
    public void CrossesTheBordersOfItsBlocks()
    {
        using var backend = new CpuBackend();
        const int Rows = 3101, Columns = 3093, Inner = 300;
        var draw = new Draw([], 7);
        Input a = draw.Normal([Rows, Inner]), b = draw.Normal([Inner, Columns]);
        float[] c = a.On(backend, DType.F32).MatMul(b.On(backend, DType.F32)).ToArray<float>();
        var random = new Random(8);
        foreach (int row in (int[])[0, 95, 96, 3071, 3072, 3099, Rows - 1, random.Next(Rows)])
        {
            foreach (int column in (int[])[0, 255, 256, 3071, 3072, 3089, Columns - 1, random.Next(Columns)])
            {
                double expected = Enumerable.Range(0, Inner).Sum(k => a.Values[row * Inner + k] * b.Values[k * Columns + column]);
                Assert.Equal(expected, c[row * Columns + column], 1e-4);
            }
        }
    }

    [Theory]
    [InlineData(0, 3, 4)]
    [InlineData(3, 0, 4)]
    [InlineData(3, 4, 0)]
    [InlineData(30, 40, 0)]
    public void EmptyExtentsGiveZerosOrNothing(int m, int n, int k)
    {
        using var backend = new CpuBackend();
        // What is freed here, full of ones, is what the product gets.
        using (new Scope())
            backend.Full(new TensorType(DType.F32, [2, m, n]), 1);
        Tensor c = backend.Zeros([2, m, k]).MatMul(backend.Zeros([2, k, n]));
        Assert.Equal([2, m, n], c.Shape.ToArray());
        Assert.All(c.ToArray<float>(), value => Assert.Equal(0, value));
    }

    [Fact]
    public void SharedOperandsEqualRepeatedOnes()
    {
        using var backend = new CpuBackend();
        foreach ((bool transposeA, bool transposeB) in (ReadOnlySpan<(bool, bool)>)[(false, false), (false, true), (true, false), (true, true)])
        {
            var draw = new Draw([], 9);
            Shape a = transposeA ? [17, 13] : [13, 17], b = transposeB ? [31, 17] : [17, 31];
            Tensor one = draw.Normal(a).On(backend, DType.F64), many = draw.Normal([2, 3, .. b]).On(backend, DType.F64);
            Compare(one, many, one.Broadcast([2, 3, .. a]), many, transposeA, transposeB);
            one = draw.Normal(b).On(backend, DType.F64);
            many = draw.Normal([2, 3, .. a]).On(backend, DType.F64);
            Compare(many, one, many, one.Broadcast([2, 3, .. b]), transposeA, transposeB);
        }
    }

    [Theory]
    [InlineData(1, 75, 100)]
    [InlineData(5, 33, 41)]
    [InlineData(40, 100, 600)]
    [InlineData(140, 70, 300)]
    [InlineData(20, 30, 1100)]
    public void WeightsOf16BitsGiveTheProductOfTheNumbersTheyAre(int m, int n, int k)
    {
        var draw = new Draw([], 11);
        Input a = draw.Normal([2, m, k]), w = draw.Normal([n, k], 1 / Math.Sqrt(k));
        foreach (DType type in (DType[])[DType.BF16, DType.F16])
        {
            foreach (int bits in (int[])[128, 256, 512])
            {
                using var backend = new CpuBackend(threads: 2, bits);
                Tensor x = a.On(backend, DType.F32), narrow = w.On(backend, DType.F32).Cast(type);
                double[] expected = x.MatMul(narrow.Cast(DType.F32), transposeB: true).ToDoubles();
                Assert.InRange(RelativeError.Of(x.MatMul(narrow, transposeB: true).ToDoubles(), expected), 0, 1e-6);
                // The rounding itself: half of the last of 8 or 11 bits.
                Assert.InRange(RelativeError.Of(narrow.ToDoubles(), w.Values), 0, type == DType.BF16 ? 1.0 / 256 : 1.0 / 2048);
            }
        }
    }

    /// <summary>Beside quantised weights few rows are rounded to 16 bits, which costs about 2e-5; many are not.</summary>
    [Theory]
    [InlineData(1, 75, 96)]
    [InlineData(5, 33, 64)]
    [InlineData(12, 4, 1536)]
    [InlineData(40, 100, 608)]
    [InlineData(140, 70, 320)]
    [InlineData(20, 30, 1120)]
    public void QuantizedWeightsGiveTheProductOfTheNumbersTheyAre(int m, int n, int k)
    {
        var draw = new Draw([], 13);
        Input a = draw.Normal([2, m, k]), w = draw.Normal([n, k], 1 / Math.Sqrt(k));
        foreach (DType type in (DType[])[DType.Q8_0, DType.Q4_0])
        {
            foreach (int bits in (int[])[128, 256, 512])
            {
                using var backend = new CpuBackend(threads: 2, bits);
                Tensor x = a.On(backend, DType.F32), quantized = w.On(backend, DType.F32).Cast(type);
                Assert.Equal(n * k / 32 * (type == DType.Q8_0 ? 34 : 18), quantized.Type.Bytes);
                Assert.Equal(quantized.ToDoubles(), quantized.Cast(DType.F32).ToDoubles());
                double[] expected = x.MatMul(quantized.Cast(DType.F32), transposeB: true).ToDoubles();
                Assert.InRange(RelativeError.Of(x.MatMul(quantized, transposeB: true).ToDoubles(), expected), 0, 2 * m <= 12 ? 3e-5 : 1e-6);
                Assert.InRange(RelativeError.Of(quantized.ToDoubles(), w.Values), 0, type == DType.Q8_0 ? 6e-3 : 0.1);
            }
        }
    }

    [Fact]
    public void QuantizedProductsBearExtremes()
    {
        using var backend = new CpuBackend(threads: 1);
        Tensor Quantized(DType type, float value) => backend.Tensor<float>([4, 64], [.. Enumerable.Repeat(value, 256)]).Cast(type);
        foreach (DType type in (DType[])[DType.Q8_0, DType.Q4_0])
        {
            foreach (float scale in (float[])[0, 1e-38f, 1e-20f, 1, 1e20f, 1e35f])
            {
                float[] x = [.. Enumerable.Range(0, 64).Select(i => scale * (i % 2 == 0 ? 1 : 0.5f))];
                double[] y = backend.Tensor<float>([1, 64], x).MatMul(Quantized(type, -8), transposeB: true).ToDoubles();
                Assert.All(y, value => Assert.True(Math.Abs(value + 8 * 48.0 * scale) <= 1e-4 * Math.Max(384.0 * scale, 1e-30), $"{type} {scale}: {value}"));
            }
            foreach (float odd in (float[])[float.NaN, float.PositiveInfinity, float.NegativeInfinity])
            {
                float[] x = new float[128];
                x[40] = odd;
                float[] y = backend.Tensor<float>([2, 64], x).MatMul(Quantized(type, 1), transposeB: true).ToArray<float>();
                Assert.All(y[..4], value => Assert.False(float.IsFinite(value)));
                Assert.All(y[4..], value => Assert.Equal(0, value));
            }
        }
    }

    [Fact]
    public void RowsOfQuantizedTablesAreGathered()
    {
        using var backend = new CpuBackend();
        Tensor table = new Draw([], 14).Normal([6, 96]).On(backend, DType.F32), indices = backend.Tensor<int>([2, 2], 5, 0, 3, 5);
        foreach (DType type in (DType[])[DType.Q8_0, DType.Q4_0])
            Assert.Equal(table.Cast(type).Cast(DType.F32).Gather(indices).ToDoubles(), table.Cast(type).Gather(indices).ToDoubles());
        Assert.Contains("multiples of 32", Assert.Throws<ShapeException>(() => backend.Zeros([2, 40]).Cast(DType.Q8_0)).Message);
        Assert.Contains("cast to F32 first", Assert.Throws<ShapeException>(() => TensorOperations.Concatenate(0, table.Cast(DType.Q4_0), table.Cast(DType.Q4_0))).Message);
    }

    [Fact]
    public void HalvesOfEveryKindAreWidenedExactly()
    {
        Half[] halves = [.. Enumerable.Range(0, 0x10000).Select(bits => BitConverter.UInt16BitsToHalf((ushort)bits))];
        foreach (int bits in (int[])[128, 256, 512])
        {
            using var backend = new CpuBackend(vectorBits: bits);
            // Each column has one number that is not zero, so that a product with ones is that number.
            for (int start = 0; start < halves.Length; start += 512)
            {
                var diagonal = new Half[512 * 64];
                for (int i = 0; i < 512; i++)
                    diagonal[i * 64 + i % 64] = halves[start + i];
                float[] actual = backend.Full(new TensorType(DType.F32, [1, 64]), 1).MatMul(backend.Tensor<Half>([512, 64], diagonal), transposeB: true).ToArray<float>();
                for (int i = 0; i < 512; i++)
                    Assert.Equal((float)halves[start + i], actual[i]);
            }
        }
    }

    [Fact]
    public void TheGradientPassesWeightsOf16Bits()
    {
        using var backend = new CpuBackend();
        var draw = new Draw([], 12);
        Tensor x = draw.Normal([3, 20]).On(backend, DType.F32).Track(), w = draw.Normal([7, 20]).On(backend, DType.F32).Cast(DType.BF16);
        Tensor seed = draw.Normal([3, 7]).On(backend, DType.F32);
        double[] gradient = x.MatMul(w, transposeB: true).Backward(seed)[x].ToDoubles();
        Assert.InRange(RelativeError.Of(gradient, seed.MatMul(w.Cast(DType.F32)).ToDoubles()), 0, 1e-6);
    }

    [Fact]
    public void AnInfinityInOneRowStaysInThatRow()
    {
        using var backend = new CpuBackend();
        float[] a = new float[20 * 30];
        a[4 * 30 + 2] = float.PositiveInfinity;
        float[] c = backend.Tensor<float>([20, 30], a).MatMul(backend.Full(new TensorType(DType.F32, [30, 11]), 1)).ToArray<float>();
        for (int i = 0; i < c.Length; i++)
            Assert.Equal(i / 11 == 4 ? float.PositiveInfinity : 0, c[i]);
    }

    /// <summary>Weights that products meet unchanged are kept as panels: nothing but memory shows it, until the weights change or go.</summary>
    [Theory]
    [InlineData(128, 40)]
    [InlineData(256, 25)]
    [InlineData(256, 200)]
    [InlineData(512, 64)]
    public void WeightsAreKeptPackedWhileTheyDoNotChange(int bits, int rows)
    {
        const int n = 410, k = 700;
        using var backend = new CpuBackend(threads: 2, bits);
        var draw = new Draw([], 17);
        Tensor x = draw.Normal([rows, k]).On(backend, DType.F32);
        using (new Scope())
        {
            Tensor w = draw.Normal([n, k]).On(backend, DType.F32), negative = draw.Normal([n, k]).On(backend, DType.F32);
            long before = backend.LiveBytes;
            float[] first = Product(w);
            Assert.Equal(before, backend.LiveBytes);
            for (int i = 0; i < 3; i++)
                Assert.Equal(first, Product(w));
            Assert.InRange(backend.LiveBytes, before + w.Type.Bytes, before + w.Type.Bytes * 11 / 10);
            // A view of other extents has its own products.
            Tensor wide = draw.Normal([rows, n]).On(backend, DType.F32), view = w.Reshape([k, n]);
            Assert.InRange(RelativeError.Of(wide.MatMul(view, transposeB: true).ToDoubles(), wide.MatMul(view.Transpose(0, 1)).ToDoubles()), 0, 1e-6);
            long bytes = backend.LiveBytes;
            Tensor.Overwrite(new Affine(-1, 0), [w], w);
            Assert.InRange(backend.LiveBytes, 0, bytes - w.Type.Bytes);
            Assert.Equal(Array.ConvertAll(first, value => -value), Product(w));
            for (int i = 0; i < 3; i++)
                Product(w);
            w.Write<float>(negative.ToArray<float>());
            Assert.Equal(Product(negative), Product(w));
            Product(w);
            Product(w);
        }
        Assert.Equal(x.Type.Bytes, backend.LiveBytes);

        float[] Product(Tensor weight)
        {
            using var scope = new Scope();
            return x.MatMul(weight, transposeB: true).ToArray<float>();
        }
    }

    private static void CompareWithNaive(int m, int n, int k, int vectorBits)
    {
        using var backend = new CpuBackend(threads: 2, vectorBits);
        foreach ((bool transposeA, bool transposeB) in (ReadOnlySpan<(bool, bool)>)[(false, false), (false, true), (true, false), (true, true)])
        {
            var draw = new Draw([], m + 1000 * n);
            Input a = draw.Normal(transposeA ? [k, m] : [m, k]), b = draw.Normal(transposeB ? [n, k] : [k, n], 1 / Math.Sqrt(k));
            double[] expected = Naive(a.Values, b.Values, m, n, k, transposeA, transposeB);
            foreach ((DType type, double tolerance) in (ReadOnlySpan<(DType, double)>)[(DType.F64, 1e-14), (DType.F32, 1e-6)])
            {
                double[] actual = a.On(backend, type).MatMul(b.On(backend, type), transposeA, transposeB).ToDoubles();
                Assert.InRange(RelativeError.Of(actual, expected), 0, tolerance);
            }
        }
    }

    private static void Compare(Tensor a, Tensor b, Tensor repeatedA, Tensor repeatedB, bool transposeA, bool transposeB)
    {
        Tensor[] leaves = [a.Track(), b.Track()];
        Tensor c = leaves[0].MatMul(leaves[1], transposeA, transposeB);
        Tensor seed = new Draw([], 10).Normal(c.Shape).On(c.Backend, DType.F64);
        Gradients gradients = c.Backward(seed);
        Tensor[] repeated = [repeatedA.Track(), repeatedB.Track()];
        Tensor expected = repeated[0].MatMul(repeated[1], transposeA, transposeB);
        Gradients expectedGradients = expected.Backward(seed);
        Assert.InRange(RelativeError.Of(c.Keep().ToDoubles(), expected.Keep().ToDoubles()), 0, 1e-14);
        for (int i = 0; i < 2; i++)
        {
            double[] actual = gradients[leaves[i]].ToDoubles(), sum = expectedGradients[repeated[i]].SumTo(leaves[i].Shape).ToDoubles();
            Assert.InRange(RelativeError.Of(actual, sum), 0, 1e-14);
        }
    }

    private static double[] Naive(double[] a, double[] b, int m, int n, int k, bool transposeA, bool transposeB)
    {
        var c = new double[m * n];
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = 0;
                for (int p = 0; p < k; p++)
                    sum += (transposeA ? a[p * m + i] : a[i * k + p]) * (transposeB ? b[j * k + p] : b[p * n + j]);
                c[i * n + j] = sum;
            }
        }
        return c;
    }
}
