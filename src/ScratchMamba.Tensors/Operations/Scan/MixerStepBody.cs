using System.Numerics;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

/// <summary>
/// <see cref="MixerStep"/> on the CPU. A part is one head of one sequence, which convolves its own channels of x and its group's B and C; the group's first head carries the
/// latter's inputs on.
/// </summary>
internal unsafe struct MixerStepBody<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
{
    public int Heads, Width, States, Groups, TapCount, SkipsPerHead;
    public T Low, High;
    public T* Projected, Convolution, Recurrent, Taps, ConvolutionBias, StepBias, DecayLog, Skip, Y, Z, NextConvolution, NextRecurrent;

    private readonly int Inner => Heads * Width;

    private readonly int Channels => Inner + 2 * Groups * States;

    private readonly long ProjectionWidth => Inner + Channels + Heads;

    public readonly void Invoke(int index)
    {
        int batch = index / Heads, head = index % Heads, headsOfGroup = Heads / Groups, group = head / headsOfGroup;
        T* projected = Projected + batch * ProjectionWidth;
        var scratch = new CpuScratch();
        T* x = scratch.Take<T>(Width), b = scratch.Take<T>(States), c = scratch.Take<T>(States);
        bool isFirst = head % headsOfGroup == 0;
        Convolve(batch, head * Width, Width, x, carries: true);
        Convolve(batch, Inner + group * States, States, b, isFirst);
        Convolve(batch, Inner + (Groups + group) * States, States, c, isFirst);
        new Span<T>(projected + head * Width, Width).CopyTo(new Span<T>(Z + (long)index * Width, Width));

        T step = projected[Inner + Channels + head] + StepBias[head];
        VectorMath.Map<Softplus, T>(new ReadOnlySpan<T>(ref step), new Span<T>(ref step));
        step = T.Min(T.Max(step, Low), High);
        T decay = T.Exp(-step * T.Exp(DecayLog[head]));
        for (int p = 0; p < Width; p++)
        {
            long row = (long)index * Width + p;
            Y[row] = Row(Recurrent + row * States, NextRecurrent + row * States, decay, step * x[p], b, c) + x[p] * Skip[SkipsPerHead == 1 ? head : head * Width + p];
        }
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

    /// <summary>Adjacent channels of the convolution with SiLU, and where <paramref name="carries"/> says so the inputs that the next token needs.</summary>
    private readonly void Convolve(int batch, int channel, int count, T* y, bool carries)
    {
        int carried = TapCount - 1;
        T* current = Projected + batch * ProjectionWidth + Inner + channel;
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
        if (!carries)
            return;
        for (int k = 0; k < carried; k++)
        {
            T* from = k + 1 < carried ? before + (long)(k + 1) * Channels : current;
            new ReadOnlySpan<T>(from, count).CopyTo(new Span<T>(NextConvolution + state + (long)k * Channels, count));
        }
    }
}
