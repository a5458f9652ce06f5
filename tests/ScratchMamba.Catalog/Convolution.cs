using ScratchMamba.Tensors;
using ScratchMamba.Tensors.Operations;

namespace ScratchMamba.Catalog;

public static partial class Catalog
{
    private static Row[] Convolution =>
    [
        Row<CausalConvolution>(
            draw =>
            {
                (CausalConvolution operation, List<Input> inputs) = Convolve(draw);
                return new Case(operation, [.. inputs]);
            },
            new Misuse(new CausalConvolution(false, false, false, false), "[batch, length, channels]", F32([2, 3]), F32([3, 4])),
            new Misuse(new CausalConvolution(false, false, false, false), "[channels, taps]", F32([1, 2, 3]), F32([4, 3])),
            new Misuse(new CausalConvolution(false, false, false, false), "at least one tap", F32([1, 2, 3]), F32([3, 0])),
            new Misuse(new CausalConvolution(true, false, false, false), "bias must be", F32([1, 2, 3]), F32([3, 4]), F32([2])),
            new Misuse(new CausalConvolution(true, true, false, false), "initial must be", F32([1, 2, 3]), F32([3, 4]), F32([3]), F32([1, 4, 3])),
            new Misuse(new CausalConvolution(false, false, true, false), "sequence must be", F32([1, 2, 3]), F32([3, 4]), F32([1, 2])),
            new Misuse(new CausalConvolution(true, false, false, false), "takes 3 tensors", F32([1, 2, 3]), F32([3, 4])))
        with
        {
            Benchmark = draw => new Case(
                new CausalConvolution(true, false, false, true), draw.Normal([2, 1024, 1792]), draw.Normal([1792, 4]), draw.Normal([1792])),
        },
        Row<CausalConvolutionGradient>(
            draw =>
            {
                (CausalConvolution operation, List<Input> inputs) = Convolve(draw);
                return new Case(
                    new CausalConvolutionGradient(operation.HasBias, operation.HasInitial, operation.HasSequence, operation.Silu),
                    [.. inputs, draw.Normal(inputs[0].Shape)]);
            },
            new Misuse(new CausalConvolutionGradient(false, false, false, true), "type of x", F32([1, 2, 3]), F32([3, 4]), F32([1, 3, 2])))
        with
        {
            IsDifferentiable = false,
            Benchmark = draw => new Case(
                new CausalConvolutionGradient(true, false, false, true),
                draw.Normal([2, 1024, 1792]), draw.Normal([1792, 4]), draw.Normal([1792]), draw.Normal([2, 1024, 1792])),
        },
        Row<MixerConvolution>(
            draw =>
            {
                (MixerConvolution operation, List<Input> inputs) = ConvolveProjection(draw);
                return new Case(operation, [.. inputs]);
            },
            new Misuse(new MixerConvolution(4, 2, false, false, false), "the projection must be", F32([1, 2, 8]), F32([8, 4])),
            new Misuse(new MixerConvolution(4, 2, false, false, false), "[channels, taps]", F32([1, 2, 10]), F32([7, 4]))),
        Row<MixerConvolutionGradient>(
            draw =>
            {
                (MixerConvolution o, List<Input> inputs) = ConvolveProjection(draw);
                TensorType[] results = o.Infer([.. inputs.Select(input => input.TypeIn(DType.F32))]);
                return new Case(
                    new MixerConvolutionGradient(o.Inner, o.GroupWidth, o.HasBias, o.HasInitial, o.HasSequence), [.. inputs, .. results.Select(result => draw.Normal(result.Shape))]);
            },
            new Misuse(
                new MixerConvolutionGradient(4, 2, false, false, false), "gradients of the results",
                F32([1, 2, 10]), F32([8, 4]), F32([1, 2, 4]), F32([1, 2, 2]), F32([1, 2, 3]), F32([1, 2, 2])))
        with
        {
            IsDifferentiable = false,
        },
    ];

    private static (MixerConvolution Operation, List<Input> Inputs) ConvolveProjection(Draw draw)
    {
        int taps = draw.OneOf(1, 2, 4), batch = draw.OneOf(1, 2), length = draw.Extent(70), inner = draw.OneOf(2, 6, 8, 64), state = draw.OneOf(2, 4, 5, 16), channels = inner + 2 * state;
        bool bias = draw.Choice(2) == 1, initial = draw.Choice(2) == 1, sequence = draw.Choice(2) == 1;
        var inputs = new List<Input> { draw.Normal([batch, length, channels + draw.OneOf(2, 1, 4)]), draw.Normal([channels, taps], 1 / Math.Sqrt(taps)) };
        if (bias)
            inputs.Add(draw.Normal([channels]));
        if (initial)
            inputs.Add(draw.Normal([batch, taps - 1, channels]));
        if (sequence)
            inputs.Add(Documents(draw, batch, length));
        return (new MixerConvolution(inner, state, bias, initial, sequence), inputs);
    }

    private static (CausalConvolution Operation, List<Input> Inputs) Convolve(Draw draw)
    {
        int taps = draw.OneOf(1, 2, 3, 4, 5, 40), batch = draw.OneOf(1, 2, 3), length = draw.Extent(257);
        int channels = draw.OneOf(1, 3, 8, 33, 64, 600);
        if (channels * length * taps > 60_000)
            channels = 3;
        var inputs = new List<Input> { draw.Normal([batch, length, channels]), draw.Normal([channels, taps], 1 / Math.Sqrt(taps)) };
        bool bias = draw.Choice(2) == 1, initial = draw.Choice(2) == 1, sequence = draw.Choice(2) == 1;
        if (bias)
            inputs.Add(draw.Normal([channels]));
        if (initial)
            inputs.Add(draw.Normal([batch, taps - 1, channels]));
        if (sequence)
            inputs.Add(Documents(draw, batch, length));
        return (new CausalConvolution(bias, initial, sequence, draw.Choice(2) == 1), inputs);
    }

    /// <summary>The numbers of packed documents, I32 [batch, length]: neighbours mostly share one.</summary>
    private static Input Documents(Draw draw, int batch, int length)
    {
        int document = 0;
        return draw.Values([batch, length], random => random.Next(5) == 0 ? ++document : document) with { IsInteger = true };
    }
}
