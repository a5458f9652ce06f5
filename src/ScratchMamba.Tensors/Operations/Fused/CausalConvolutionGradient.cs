using System.Buffers;
using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// The derivative of <see cref="CausalConvolution"/>: with p the sum before SiLU and dp = dy · silu′(p), <c>dx[j] = Σₖ w[k] · dp[j + K − 1 − k]</c>, the same for
/// the initial inputs, <c>dw[k] = Σ dp[t] · x[t − (K − 1) + k]</c> and <c>dbias = Σ dp</c>. Inputs those of the convolution, then dy; outputs dx, dw, dbias?, dinitial?.
/// </summary>
public readonly record struct CausalConvolutionGradient(bool HasBias, bool HasInitial, bool HasSequence, bool Silu) : IPrimitive
{
    private readonly record struct Scalars(uint Batches, uint Length, uint Channels, uint Runs, uint Run, ConvolutionColumns Columns);

    private CausalConvolution Forward => new(HasBias, HasInitial, HasSequence, Silu);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        CausalConvolution forward = Forward;
        Rules.RequireCount(nameof(CausalConvolutionGradient), inputs, forward.InputCount + 1);
        forward.Check(nameof(CausalConvolutionGradient), inputs[..^1]);
        ShapeException.ThrowUnless(inputs[^1] == inputs[0], nameof(CausalConvolutionGradient), "the gradient must have the type of x", inputs);
        return inputs[..(HasSequence ? ^2 : ^1)].ToArray();
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        ConvolutionColumns columns = ConvolutionColumns.All(call.InputType(0).Shape[2]);
        if (call.DType == DType.F64)
            Compute<double>(call, columns);
        else
            Compute<float>(call, columns);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        CausalConvolution forward = Forward;
        Shape x = call.Inputs[0].Shape;
        if (forward.Code(call.Inputs, x[2]) is not { } code || call.Inputs[1].Shape[1] > CausalConvolution.MostTaps)
            return null;
        if (x[2] == 0)
            return Tensors.Launch.Nothing;
        Slot dy = Slot.In(forward.InputCount);
        return Planned(call.Device, x[0], x[1], call.Inputs[1].Shape, code, ConvolutionColumns.All(x[2]), dy, dy, dy, Slot.Out(0));
    }

    /// <summary>The launch, from three parts of dy to columns of the first output.</summary>
    internal Launch Planned(DeviceTraits device, int batches, int length, Shape weight, uint code, ConvolutionColumns columns, Slot first, Slot second, Slot third, Slot dx)
    {
        // Positions that an invocation computes at a time, TIME in the shader, and
        const int positions = 8;
        // positions that share one partial sum of dw: few enough that the sums are small beside x, and that the invocations are many.
        const int run = 8 * positions;
        int channels = weight[0], taps = weight[1];
        CausalConvolution forward = Forward;
        // One run even where there is no position, to write the gradients that are zero then.
        long runs = Math.Max(1, (length + run - 1) / run), parts = batches * runs, sums = (taps + 1L) * channels;
        var dispatches = new List<Dispatch>();
        if (parts > 0)
        {
            dispatches.Add(Dispatch.Linear(
                "causal_convolution_gradient", (parts * ((channels + 3) / 4) + CausalConvolution.Workgroup - 1) / CausalConvolution.Workgroup,
                [.. forward.InputSlots(), first, second, third, dx, Slot.Out(HasInitial ? forward.InitialIndex : 0), Slot.ScratchOut(0)],
                new Scalars((uint)batches, (uint)length, (uint)channels, (uint)runs, run, columns), forward.Constants(taps, code, columns, positions)));
        }
        dispatches.Add(RowLaunch.ColumnSums(device, Slot.ScratchIn(0), Slot.Out(1), parts, sums, 0, (long)taps * channels, channels));
        if (HasBias)
            dispatches.Add(RowLaunch.ColumnSums(device, Slot.ScratchIn(0), Slot.Out(2), parts, sums, (long)taps * channels, channels, channels));
        return new Launch(dispatches, Math.Max(1, parts * sums) * sizeof(float));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs) =>
        Differentiation.DefinitionOfGradient(Forward, inputs[..^1], inputs[^1..], count: HasSequence ? inputs.Length - 2 : inputs.Length - 1);

    /// <summary>From the gradients of the results, which are the inputs behind the convolution's own, to columns of the first output.</summary>
    internal unsafe void Compute<T>(CpuCall call, ConvolutionColumns columns) where T : unmanaged, IFloatingPointIeee754<T>
    {
        CausalConvolution forward = Forward;
        Shape x = call.InputType(0).Shape, weight = call.InputType(1).Shape;
        int channels = weight[0], taps = weight[1], timeBlocks = ConvolutionPart.TimeBlocks(x[1]);
        // The taps, transposed; the sum of what the parts found for them and for the bias; what each found.
        int sums = checked((taps + 1) * channels);
        T[] scratch = ArrayPool<T>.Shared.Rent(checked((int)(weight.Count + sums + (long)x[0] * timeBlocks * sums)));
        fixed (T* transposed = scratch)
        {
            T* total = transposed + weight.Count, partial = total + sums;
            var body = new Body<T>
            {
                Signal = ConvolutionSignal<T>.Of(call, forward, columns, transposed),
                Bias = HasBias ? call.InputAddress<T>(2) : null,
                Dy = new(Dy<T>(call, 0), Dy<T>(call, 1), Dy<T>(call, 2), columns, channels),
                Dx = call.OutputAddress<T>(0),
                Dinitial = HasInitial ? call.OutputAddress<T>(forward.InitialIndex) : null,
                Partial = partial,
                Silu = Silu,
            };
            CpuParallel.For(call.Threads, body.Signal.Parts, (long)body.Signal.PartElements * (3 * taps + (Silu ? 10 : 0)), body);
            PartialSums.Add(call.Threads, partial, x[0] * timeBlocks, sums, total);
            T* dw = call.OutputAddress<T>(1);
            for (int c = 0; c < channels; c++)
            {
                for (int k = 0; k < taps; k++)
                    dw[(long)c * taps + k] = total[(long)k * channels + c];
            }
            if (HasBias)
                new ReadOnlySpan<T>(total + (long)taps * channels, channels).CopyTo(new Span<T>(call.OutputAddress<T>(2), channels));
        }
        ArrayPool<T>.Shared.Return(scratch);
    }

    private unsafe T* Dy<T>(CpuCall call, int piece) where T : unmanaged
    {
        int index = Forward.InputCount + piece;
        return index < call.InputCount ? call.InputAddress<T>(index) : null;
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public ConvolutionSignal<T> Signal;
        public ConvolutionPieces<T> Dy;
        public T* Bias, Dx, Dinitial, Partial;
        public bool Silu;

        public readonly void Invoke(int index)
        {
            ConvolutionPart part = Signal.Part(index);
            Span<ConvolutionTerm<T>> room = Signal.Taps <= ConvolutionPart.TermsOnStack
                ? stackalloc ConvolutionTerm<T>[ConvolutionPart.TermsOnStack]
                : new ConvolutionTerm<T>[Signal.Taps];
            if (!Silu)
            {
                Gradients(part, Dy.Row(part, Signal.Row(part.Batch, part.Start)), Dy.Pitch(part), room);
                return;
            }
            // An input reaches Taps − 1 positions further than itself, so those of the next block are computed here as well.
            int reach = Math.Min(Signal.Length, part.End + Signal.Taps - 1);
            T[] scratch = ArrayPool<T>.Shared.Rent(checked((reach - part.Start) * part.Count));
            fixed (T* dp = scratch)
            {
                for (int t = part.Start; t < reach; t++)
                    BeforeSilu(part, t, new Span<T>(dp + (long)(t - part.Start) * part.Count, part.Count), room);
                Gradients(part, dp, part.Count, room);
            }
            ArrayPool<T>.Shared.Return(scratch);
        }

        /// <summary>dp = dy · silu′(p).</summary>
        private readonly void BeforeSilu(in ConvolutionPart part, int t, Span<T> dp, Span<ConvolutionTerm<T>> room)
        {
            ConvolutionLoops.WeightedSum(Signal.Sources(part, t, room), Bias is null ? null : Bias + part.Channel, dp);
            VectorMath.Map<SiluGradient, T>(new ReadOnlySpan<T>(Dy.Row(part, Signal.Row(part.Batch, t)), part.Count), dp, dp);
        }

        private readonly void Gradients(in ConvolutionPart part, T* dp, int pitch, Span<ConvolutionTerm<T>> room)
        {
            for (int j = part.Start; j < part.End; j++)
            {
                ReadOnlySpan<ConvolutionTerm<T>> terms = Signal.Destinations(part, j, dp, pitch, room);
                ConvolutionLoops.WeightedSum(terms, null, new Span<T>(Dx + Signal.Offset(part.Batch, j) + part.Channel, part.Count));
            }
            if (part.Start == 0 && Dinitial is not null)
            {
                for (int j = 1 - Signal.Taps; j < 0; j++)
                {
                    ReadOnlySpan<ConvolutionTerm<T>> terms = Signal.Destinations(part, j, dp, pitch, room);
                    ConvolutionLoops.WeightedSum(terms, null, new Span<T>(Dinitial + Signal.InitialOffset(part.Batch, j) + part.Channel, part.Count));
                }
            }

            T* sums = Partial + (long)part.Row * (Signal.Taps + 1) * Signal.Channels + part.Channel;
            for (int k = 0; k < Signal.Taps; k++)
                ConvolutionLoops.TapGradient(Signal, part, k, dp, pitch, sums + (long)k * Signal.Channels);
            ConvolutionLoops.SumRows(part, dp, pitch, sums + (long)Signal.Taps * Signal.Channels);
        }
    }
}
