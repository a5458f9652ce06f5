using System.Buffers;
using System.Numerics;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// <see cref="MixerStep"/> on the CPU: first all channels are convolved, a part being some of them of one sequence; then each head of each sequence takes its step.
/// </summary>
internal unsafe struct MixerStepBody<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <summary>The channels of a part.</summary>
    public const int Together = 128;

    public bool IsConvolving, IsGated;
    public int Heads, Width, States, Groups, TapCount, SkipsPerHead;
    public T Low, High;
    public T* Projected, Convolution, Taps, ConvolutionBias, StepBias, DecayLog, Skip, Y, NextConvolution, Convolved;

    /// <summary>The states, of T or of 16 bits.</summary>
    public byte* Recurrent, NextRecurrent;
    public DType HeldIn;

    private readonly int Inner => Heads * Width;

    public readonly int Channels => Inner + 2 * Groups * States;

    private readonly long ProjectionWidth => Inner + Channels + Heads;

    public readonly void Invoke(int index)
    {
        if (IsConvolving)
        {
            int parts = (Channels + Together - 1) / Together, channel = index % parts * Together;
            Convolve(index / parts, channel, Math.Min(Together, Channels - channel));
            return;
        }
        int batch = index / Heads, head = index % Heads, group = head / (Heads / Groups);
        T* projected = Projected + batch * ProjectionWidth, convolved = Convolved + (long)batch * Channels;
        T* x = convolved + head * Width, b = convolved + Inner + group * States, c = b + Groups * States;
        var y = new Span<T>(Y + (long)index * Width, Width);
        if (IsGated)
            VectorMath.Map<Silu, T>(new ReadOnlySpan<T>(projected + head * Width, Width), y);

        T step = projected[Inner + Channels + head] + StepBias[head];
        VectorMath.Map<Softplus, T>(new ReadOnlySpan<T>(ref step), new Span<T>(ref step));
        step = T.Min(T.Max(step, Low), High);
        T decay = T.Exp(-step * T.Exp(DecayLog[head]));
        float[] widened = HeldIn.IsNarrow() ? ArrayPool<float>.Shared.Rent(States) : [];
        fixed (float* wide = widened)
        {
            for (int p = 0; p < Width; p++)
            {
                long at = ((long)index * Width + p) * States;
                T sum = HeldIn.IsNarrow() ? NarrowRow((nint)at, wide, decay, step * x[p], b, c) : Row((T*)Recurrent + at, (T*)NextRecurrent + at, decay, step * x[p], b, c);
                T value = sum + x[p] * Skip[SkipsPerHead == 1 ? head : head * Width + p];
                y[p] = IsGated ? value * y[p] : value;
            }
        }
        if (HeldIn.IsNarrow())
            ArrayPool<float>.Shared.Return(widened);
    }

    /// <summary>The same of a row of 16 bits, where T is float.</summary>
    private readonly T NarrowRow(nint at, float* wide, T decay, T scale, T* b, T* c)
    {
        new NarrowMatrix(HeldIn, Recurrent).Widen(at, wide, States);
        T sum = Row((T*)wide, (T*)wide, decay, scale, b, c);
        NarrowMatrix.Round(HeldIn, new ReadOnlySpan<float>(wide, States), NextRecurrent + 2 * at);
        return sum;
    }

    /// <summary>h′ = decay · h + scale · B, and C · h′.</summary>
    private readonly T Row(T* h, T* next, T decay, T scale, T* b, T* c)
    {
        Vector<T> sums = default, scales = new(scale), decays = new(decay);
        int n = 0;
        for (; n + Vector<T>.Count <= States; n += Vector<T>.Count)
        {
            Vector<T> value = VectorMath.MultiplyAdd(Vector.Load(h + n), decays, scales * Vector.Load(b + n));
            Vector.Store(value, next + n);
            sums = VectorMath.MultiplyAdd(value, Vector.Load(c + n), sums);
        }
        T sum = Vector.Sum(sums);
        for (; n < States; n++)
        {
            next[n] = h[n] * decay + scale * b[n];
            sum += next[n] * c[n];
        }
        return sum;
    }

    /// <summary>Adjacent channels of the convolution with SiLU, and the inputs of theirs that the next token needs.</summary>
    private readonly void Convolve(int batch, int channel, int count)
    {
        int carried = TapCount - 1;
        T* current = Projected + batch * ProjectionWidth + Inner + channel, y = Convolved + (long)batch * Channels + channel;
        long state = (long)batch * carried * Channels + channel;
        T* before = Convolution + state, taps = Taps + (long)channel * TapCount;
        for (int i = 0; i < count; i++)
        {
            T sum = ConvolutionBias is null ? T.Zero : ConvolutionBias[channel + i];
            for (int k = 0; k < carried; k++)
                sum += taps[(long)i * TapCount + k] * before[(long)k * Channels + i];
            y[i] = sum + taps[(long)i * TapCount + carried] * current[i];
        }
        var values = new Span<T>(y, count);
        VectorMath.Map<Silu, T>(values, values);
        for (int k = 0; k < carried; k++)
        {
            T* from = k + 1 < carried ? before + (long)(k + 1) * Channels : current;
            new ReadOnlySpan<T>(from, count).CopyTo(new Span<T>(NextConvolution + state + (long)k * Channels, count));
        }
    }
}
