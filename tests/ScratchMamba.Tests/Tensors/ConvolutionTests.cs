using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Tests.Tensors;

public sealed class ConvolutionTests : IDisposable
{
    private readonly CpuBackend cpu = new();
    private readonly Random random = new(12);

    public void Dispose() => cpu.Dispose();

    [Theory]
    [InlineData(1, 5, 3, 4)]
    [InlineData(2, 130, 7, 4)]
    [InlineData(2, 3, 600, 1)]
    [InlineData(1, 70, 33, 50)]
    [InlineData(3, 1, 64, 4)]
    public void IsItsFormula(int batch, int length, int channels, int taps)
    {
        foreach ((bool bias, bool initial, bool packed, bool silu) in Options())
        {
            using var scope = new Scope();
            double[] x = Values(batch * length * channels), w = Values(channels * taps), b = Values(channels), before = Values(batch * (taps - 1) * channels);
            int[] documents = [.. Enumerable.Range(0, batch * length).Select(i => i / 3)];
            Tensor y = F64([batch, length, channels], x).CausalConvolution(
                F64([channels, taps], w),
                bias ? F64([channels], b) : null,
                initial ? F64([batch, taps - 1, channels], before) : null,
                packed ? cpu.Tensor<int>([batch, length], documents) : null,
                silu);
            double[] expected = Naive(x, batch, length, channels, w, bias ? b : null, initial ? before : null, packed ? documents : null, silu);
            Assert.True(RelativeError.Of(y.ToDoubles(), expected) < 1e-13, $"bias {bias}, initial {initial}, packed {packed}, silu {silu}");
        }
    }

    /// <summary>A sequence in segments, whatever their lengths, gives the values and gradients of the whole.</summary>
    [Theory]
    [InlineData(4)]
    [InlineData(1)]
    [InlineData(7)]
    public void ACarriedStateContinuesTheSequence(int taps)
    {
        const int Batch = 2, Length = 20, Channels = 5;
        int[] segments = [1, 1, 2, 9, 3, 4];
        Tensor x = F64([Batch, Length, Channels]).Track(), w = F64([Channels, taps]).Track(), bias = F64([Channels]).Track();
        // A document starts at 6, inside the long segment, and one at 19; that the segments begin inside documents is what carrying is for.
        Tensor documents = cpu.Tensor<int>([Batch, Length], [.. Enumerable.Range(0, Batch * Length).Select(i => i % Length < 6 ? 0 : i % Length < 19 ? 1 : 2)]);
        Tensor seed = F64([Batch, Length, Channels]);
        Tensor whole = x.CausalConvolution(w, bias, sequence: documents, silu: true).Keep();

        Tensor? state = null;
        var parts = new List<Tensor>();
        int start = 0;
        foreach (int length in segments)
        {
            Tensor part = x.Slice(1, start, length), numbers = documents.Slice(1, start, length);
            parts.Add(part.CausalConvolution(w, bias, state, numbers, silu: true));
            state = part.ConvolutionState(taps, state, numbers);
            start += length;
        }
        Tensor joined = TensorOperations.Concatenate(1, [.. parts]).Keep();
        Assert.True(RelativeError.Of(joined.ToDoubles(), whole.ToDoubles()) < 1e-14);

        Gradients expected = whole.Backward(seed), actual = joined.Backward(seed);
        foreach (Tensor leaf in new[] { x, w, bias })
            Assert.True(RelativeError.Of(actual[leaf].ToDoubles(), expected[leaf].ToDoubles()) < 1e-13);
    }

    [Fact]
    public void PackedDocumentsAreIndependent()
    {
        const int Channels = 40, Taps = 4;
        int[] lengths = [5, 1, 2, 90, 3];
        Tensor w = F64([Channels, Taps]), x = F64([1, lengths.Sum(), Channels]);
        int[] numbers = [.. lengths.SelectMany((length, document) => Enumerable.Repeat(document + 7, length))];
        Tensor packed = x.CausalConvolution(w, sequence: cpu.Tensor<int>([1, numbers.Length], numbers), silu: true);
        var separate = new List<double>();
        for (int i = 0, start = 0; i < lengths.Length; start += lengths[i++])
            separate.AddRange(x.Slice(1, start, lengths[i]).CausalConvolution(w, silu: true).ToDoubles());
        Assert.Equal(separate, packed.ToDoubles());
    }

    [Fact]
    public void TheStateForgetsOtherDocuments()
    {
        Tensor x = cpu.Tensor<double>([1, 4, 1], 1, 2, 3, 4);
        Assert.Equal([0, 3, 4], x.ConvolutionState(4, sequence: cpu.Tensor<int>([1, 4], 0, 0, 1, 1)).ToDoubles());
        Assert.Equal([2, 3, 4], x.ConvolutionState(4).ToDoubles());
        Tensor initial = cpu.Tensor<double>([1, 5, 1], 5, 6, 7, 8, 9);
        Assert.Equal([9, 1, 2, 3, 4], x.ConvolutionState(6, initial).ToDoubles());
        Assert.Equal([9, 1, 2, 3, 4], x.ConvolutionState(6, initial, cpu.Tensor<int>([1, 4], 3, 3, 3, 3)).ToDoubles());
        Assert.Equal([0, 0, 0, 0, 4], x.ConvolutionState(6, initial, cpu.Tensor<int>([1, 4], 3, 3, 3, 4)).ToDoubles());
    }

    [Fact]
    public void ChangingAnInputChangesNothingBefore()
    {
        const int Length = 80, At = 66;
        Tensor w = F64([3, 4]);
        double[] x = Values(Length * 3), moved = [.. x];
        moved[At * 3 + 1] += 1;
        double[] a = F64([1, Length, 3], x).CausalConvolution(w).ToDoubles(), b = F64([1, Length, 3], moved).CausalConvolution(w).ToDoubles();
        Assert.Equal(a[..(At * 3)], b[..(At * 3)]);
        Assert.NotEqual(a[At * 3 + 1], b[At * 3 + 1]);
    }

    [Theory]
    [InlineData(0, 2, 3)]
    [InlineData(2, 0, 3)]
    [InlineData(2, 2, 0)]
    public void EmptyExtentsAreAllowed(int batch, int length, int channels)
    {
        Tensor x = F64([batch, length, channels]).Track(), w = F64([channels, 4]).Track(), bias = F64([channels]).Track(), initial = F64([batch, 3, channels]).Track();
        Tensor y = x.CausalConvolution(w, bias, initial, silu: true);
        Gradients gradients = y.Backward(F64([batch, length, channels]));
        foreach (Tensor leaf in new[] { x, w, bias, initial })
            Assert.Equal(new double[leaf.Count], gradients[leaf].ToDoubles());
    }

    private static IEnumerable<(bool Bias, bool Initial, bool Packed, bool Silu)> Options() =>
        Enumerable.Range(0, 16).Select(bits => ((bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0));

    private static double[] Naive(
        double[] x, int batch, int length, int channels, double[] w, double[]? bias, double[]? initial, int[]? documents, bool silu)
    {
        int taps = w.Length / channels;
        var y = new double[x.Length];
        for (int b = 0; b < batch; b++)
        {
            for (int t = 0; t < length; t++)
            {
                for (int c = 0; c < channels; c++)
                {
                    double sum = bias?[c] ?? 0;
                    for (int k = 0; k < taps; k++)
                    {
                        int j = t - (taps - 1) + k;
                        if (documents is not null && documents[b * length + Math.Max(j, 0)] != documents[b * length + t])
                            continue;
                        double input = j >= 0 ? x[(b * length + j) * channels + c] : initial?[(b * (taps - 1) + j + taps - 1) * channels + c] ?? 0;
                        sum += w[c * taps + k] * input;
                    }
                    y[(b * length + t) * channels + c] = silu ? sum / (1 + Math.Exp(-sum)) : sum;
                }
            }
        }
        return y;
    }

    private Tensor F64(Shape shape) => F64(shape, Values((int)shape.Count));

    private Tensor F64(Shape shape, double[] values) => cpu.Tensor<double>(shape, values);

    private double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextDouble() - 1)];
}
