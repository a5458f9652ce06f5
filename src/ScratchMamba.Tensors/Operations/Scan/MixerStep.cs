using System.Buffers;
using System.Numerics;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// What <see cref="MixerStep"/> says, in memory of its own but for the recurrent state, which is overwritten with the next one. Nothing is recorded.
    /// </summary>
    /// <param name="operation">The operation.</param>
    /// <param name="inputs">Its inputs.</param>
    /// <returns>y and the convolution's next state.</returns>
    public static (Tensor Y, Tensor Convolution) InPlace(this MixerStep operation, params ReadOnlySpan<Tensor> inputs)
    {
        TensorType[] types = operation.Infer(Tensor.TypesOf(inputs));
        Tensor y = Tensor.Allocate(inputs[0].Backend, types[0]), convolution = Tensor.Allocate(inputs[0].Backend, types[1]);
        Tensor.Overwrite(operation, inputs, y, convolution, inputs[MixerStep.Recurrent]);
        return (y, convolution);
    }
}

/// <summary>
/// What a Mamba-2 layer does to one token of each sequence between its two projections: the convolution with SiLU, the step size, and the step of the recurrence.
/// <c>[x, B, C] = SiLU(conv(x̂, B̂, Ĉ)), dt = clamp(softplus(dt̂ + dt_bias)), h′ = exp(−dt · exp(A_log)) · h + dt · x ⊗ B, y = C h′ + D · x</c>, with a gate times <c>SiLU(z)</c>.
/// Inputs: [z | x̂ | B̂ | Ĉ | dt̂] as one tensor [B, 2E + 2GN + H] with E = H · P; the convolution's last K − 1 inputs [B, K − 1, E + 2GN], oldest first; h [B, H, P, N]; taps
/// [E + 2GN, K], of which tap K − 1 is the current token's; if said so, their bias [E + 2GN]; dt_bias [H]; A_log [H]; D, [H] or [H, P].
/// Outputs: y [B, E], the convolution's next K − 1 inputs, and h′. h′ may overwrite h; the convolution's inputs must not be overwritten.
/// Beside F32, h may be held in 16 bits: it is widened, and h′ is rounded to the nearest after y has been computed from it.
/// </summary>
/// <param name="Groups">G, which divides H: head h uses group h / (H / G) of B and C.</param>
/// <param name="TimeStepLow">The least dt.</param>
/// <param name="TimeStepHigh">The largest dt.</param>
/// <param name="HasConvolutionBias">Whether the convolution has a bias.</param>
/// <param name="IsGated">Whether y is multiplied by SiLU(z).</param>
public readonly record struct MixerStep(int Groups, double TimeStepLow, double TimeStepHigh, bool HasConvolutionBias, bool IsGated) : IPrimitive
{
    internal const int Recurrent = 2;

    // What keeps a large device busy, and how many heads' channels of x a workgroup holds.
    private const int BusyGroups = 256, MostTogether = 8;

    private const int Projected = 0, Convolution = 1, Taps = 3, ConvolutionBias = 4;

    private readonly record struct Scalars(uint Count, float Low, float High);

    private int StepBias => HasConvolutionBias ? 5 : 4;

    private int DecayLog => StepBias + 1;

    private int Skip => StepBias + 2;

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(MixerStep), inputs, Skip + 1);
        Rules.RequireFloating(nameof(MixerStep), inputs[Recurrent].DType.IsNarrow() && inputs[0].DType == DType.F32 ? [.. inputs[..Recurrent], .. inputs[(Recurrent + 1)..]] : inputs);
        Shape state = inputs[Recurrent].Shape, taps = inputs[Taps].Shape;
        ShapeException.ThrowUnless(state.Rank == 4, nameof(MixerStep), "the recurrent state must be [batch, heads, width, state]", inputs);
        (int batch, int heads, int width) = (state[0], state[1], state[2]);
        ShapeException.ThrowUnless(heads > 0 && Groups > 0 && heads % Groups == 0, nameof(MixerStep), $"the {Groups} groups must divide the heads", inputs);
        ShapeException.ThrowUnless(TimeStepLow <= TimeStepHigh, nameof(MixerStep), $"the least step {TimeStepLow} must not exceed the largest {TimeStepHigh}", inputs);
        int inner = heads * width, channels = inner + 2 * Groups * state[3];
        ShapeException.ThrowUnless(
            inputs[Projected].Shape == [batch, inner + channels + heads], nameof(MixerStep), "the projection must be [batch, z + x + B + C + dt]", inputs);
        ShapeException.ThrowUnless(
            taps.Rank == 2 && taps[0] == channels && taps[1] >= 1, nameof(MixerStep), "the taps must be [channels of x, B and C, taps] with at least one tap", inputs);
        ShapeException.ThrowUnless(
            inputs[Convolution].Shape == [batch, taps[1] - 1, channels], nameof(MixerStep), "the convolution's state must be [batch, taps − 1, channels]", inputs);
        ShapeException.ThrowUnless(!HasConvolutionBias || inputs[ConvolutionBias].Shape == [channels], nameof(MixerStep), "the convolution's bias must be [channels]", inputs);
        ShapeException.ThrowUnless(inputs[StepBias].Shape == [heads], nameof(MixerStep), "dt_bias must be [heads]", inputs);
        ShapeException.ThrowUnless(inputs[DecayLog].Shape == [heads], nameof(MixerStep), "A_log must be [heads]", inputs);
        Rules.RequireSkip(nameof(MixerStep), inputs, Skip, heads, width);
        return [new TensorType(inputs[0].DType, [batch, inner]), inputs[Convolution], inputs[Recurrent]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape state = call.Inputs[Recurrent].Shape;
        (int heads, int width, int states, int taps) = (state[1], state[2], state[3], call.Inputs[Taps].Shape[1]);
        long sequencesAndHeads = (long)state[0] * heads;
        if (sequencesAndHeads == 0)
            return Tensors.Launch.Nothing;
        // A row of the state belongs to so many invocations of a subgroup as have a load of it, or to the whole subgroup. Loads of 16 bytes of 16-bit states make a step of batch 8 7 % faster, and one of 64, where
        // workgroups have whole heads, 3 % slower.
        bool isNarrow = call.Inputs[Recurrent].DType.IsNarrow();
        int quads = Math.Max(1, (states + 3) / 4), loads = isNarrow && states > 0 && states % 8 == 0 && sequencesAndHeads < BusyGroups ? quads / 2 : quads;
        int lanes = Math.Min(call.Device.SubgroupSize, (int)BitOperations.RoundUpToPowerOf2((uint)loads)), steps = (loads + lanes - 1) / lanes;
        // While there are not enough heads to fill the device, the rows of a head are spread over several workgroups, which all convolve B and C.
        int workgroup = call.Device.IsCpu ? 64 : Math.Min(512, call.Device.WorkgroupInvocations), teams = workgroup / lanes;
        int rows = Math.Max(1, Math.Min(width, sequencesAndHeads >= BusyGroups || call.Device.IsCpu ? width : teams)), each = Math.Clamp((isNarrow && loads == quads ? 4 : 2) / steps, 1, (rows + teams - 1) / teams);
        // Where there are many, a workgroup takes several heads of a group one after the other, and convolves B and C once for them.
        int together = 1;
        while (!call.Device.IsCpu && rows == width && together < MostTogether && heads / Groups % (2 * together) == 0 && sequencesAndHeads / (2 * together) >= BusyGroups)
            together *= 2;
        long slices = Math.Max(1, (width + rows - 1) / rows), sharedBytes = sizeof(float) * (8L * (quads + 1) + 3 * together * rows + 2 * together), groups = sequencesAndHeads / together * slices;
        if (call.Inputs[0].DType != DType.F32 || sharedBytes > call.Device.SharedMemoryBytes || Elements.Codes(states, call.Inputs[Recurrent].DType) is not [uint type])
            return null;
        return Dispatch.Linear(
            "mixer_step", groups,
            [
                Slot.In(Projected), Slot.In(Convolution), Slot.In(Recurrent), Slot.In(Taps), Slot.In(HasConvolutionBias ? ConvolutionBias : Projected),
                Slot.In(StepBias), Slot.In(DecayLog), Slot.In(Skip), Slot.Out(0), Slot.Out(1), Slot.Out(2),
            ],
            new Scalars((uint)groups, (float)TimeStepLow, (float)TimeStepHigh),
            (uint)workgroup, (uint)taps, (uint)states, (uint)rows, (uint)lanes, (uint)each, HasConvolutionBias ? 1u : 0, (uint)call.Inputs[Skip].Shape.Rank, IsGated ? 1u : 0,
            (uint)heads, (uint)width, (uint)Groups, type, (uint)together, (uint)(quads / loads));
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => call.ThroughDefinition();

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Shape state = inputs[Recurrent].Shape;
        (int batch, int heads, int width, int states) = (state[0], state[1], state[2], state[3]);
        int inner = heads * width, group = Groups * states, channels = inner + 2 * group, taps = inputs[Taps].Shape[1];
        Tensor[] parts = inputs[Projected].Split(-1, inner, channels, heads);
        Tensor token = parts[1].Reshape([batch, 1, channels]);
        Tensor carried = token.ConvolutionState(taps, inputs[Convolution]);
        Tensor mixed = token.CausalConvolution(inputs[Taps], HasConvolutionBias ? inputs[ConvolutionBias] : null, inputs[Convolution], silu: true);
        Tensor[] xBC = mixed.Split(-1, inner, group, group);
        Shape grouped = [batch, Groups, states];
        Tensor step = (parts[2] + inputs[StepBias]).Softplus();
        if (TimeStepLow > 0 || TimeStepHigh < double.PositiveInfinity)
            step = step.Clamp(TimeStepLow, TimeStepHigh);
        (Tensor y, Tensor after) = xBC[0].Reshape([batch, heads, width]).StateSpaceStep(
            step, -inputs[DecayLog].Exp(), xBC[1].Reshape(grouped), xBC[2].Reshape(grouped), inputs[Recurrent].Cast(inputs[Projected].DType), inputs[Skip]);
        y = y.Reshape([batch, inner]);
        return [IsGated ? y * parts[0].Silu() : y, carried, after.Cast(inputs[Recurrent].DType)];
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape state = call.InputType(Recurrent).Shape;
        var body = new MixerStepBody<T>
        {
            Heads = state[1],
            Width = state[2],
            States = state[3],
            Groups = Groups,
            TapCount = call.InputType(Taps).Shape[1],
            SkipsPerHead = call.InputType(Skip).Shape.Rank == 2 ? state[2] : 1,
            Low = T.CreateChecked(TimeStepLow),
            High = T.CreateChecked(TimeStepHigh),
            Projected = call.InputAddress<T>(Projected),
            Convolution = call.InputAddress<T>(Convolution),
            HeldIn = call.InputType(Recurrent).DType,
            Recurrent = call.InputBytes(Recurrent),
            Taps = call.InputAddress<T>(Taps),
            ConvolutionBias = HasConvolutionBias ? call.InputAddress<T>(ConvolutionBias) : null,
            StepBias = call.InputAddress<T>(StepBias),
            DecayLog = call.InputAddress<T>(DecayLog),
            Skip = call.InputAddress<T>(Skip),
            Y = call.OutputAddress<T>(0),
            IsGated = IsGated,
            NextConvolution = call.OutputAddress<T>(1),
            NextRecurrent = call.OutputBytes(2),
        };
        T[] convolved = ArrayPool<T>.Shared.Rent(checked(state[0] * body.Channels));
        fixed (T* first = convolved)
        {
            body.Convolved = first;
            int parts = (body.Channels + MixerStepBody<T>.Together - 1) / MixerStepBody<T>.Together;
            CpuParallel.For(call.Threads, checked(state[0] * parts), MixerStepBody<T>.Together * (body.TapCount + 8), body with { IsConvolving = true });
            CpuParallel.For(call.Threads, checked(state[0] * state[1]), (long)state[2] * state[3] / 2, body);
        }
        ArrayPool<T>.Shared.Return(convolved);
    }
}
