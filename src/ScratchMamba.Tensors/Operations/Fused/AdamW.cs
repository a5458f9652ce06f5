using System.Numerics;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// One step of Adam with decoupled weight decay, in place: changes a parameter and its two moments. The formulae are those of <see cref="AdamW"/>.
    /// </summary>
    /// <param name="step">The constants of the optimiser.</param>
    /// <param name="parameter">θ, of any shape.</param>
    /// <param name="gradient">The gradient of the loss.</param>
    /// <param name="firstMoment">m; zeros before the first step.</param>
    /// <param name="secondMoment">v; zeros before the first step.</param>
    /// <param name="settings">What changes from step to step; see <see cref="AdamW.Settings"/>.</param>
    public static void Apply(this AdamW step, Tensor parameter, Tensor gradient, Tensor firstMoment, Tensor secondMoment, Tensor settings) =>
        Tensor.Overwrite(step, [parameter, gradient, firstMoment, secondMoment, settings], parameter, firstMoment, secondMoment);
}

/// <summary>
/// One step of Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101):
/// <c>g ← s·g; θ ← θ − η·λ·θ; m ← β₁·m + (1−β₁)·g; v ← β₂·v + (1−β₂)·g²; θ ← θ − η · (m / c₁) / (√v / √c₂ + ε)</c>;
/// where s is 0, which says that g is of no use (<see cref="ClipByGlobalNorm"/>), nothing changes, whatever g is.
/// The inputs are θ, g, m, v of one shape and the vector (η, c₁, c₂, s); the outputs are the new θ, m, v, which may replace the old.
/// </summary>
/// <param name="Beta1">β₁, the share of the first moment that remains.</param>
/// <param name="Beta2">β₂, the share of the second moment that remains.</param>
/// <param name="Epsilon">ε, which bounds the step where the second moment is small.</param>
/// <param name="WeightDecay">λ, the share of a parameter that decays in a step of learning rate 1.</param>
public readonly record struct AdamW(double Beta1 = 0.9, double Beta2 = 0.999, double Epsilon = 1e-8, double WeightDecay = 0.01) : IPrimitive
{
    private const int Block = 4096;

    private readonly record struct Scalars(uint Count, float Beta1, float Share1, float Beta2, float Share2, float Epsilon, float WeightDecay);

    /// <summary>
    /// The settings of step number <paramref name="step"/>, from 1 on: the learning rate η, the bias corrections c₁ = 1 − β₁ᵗ and c₂ = 1 − β₂ᵗ,
    /// and the factor s that gradients are multiplied with first (to clip them).
    /// </summary>
    public double[] Settings(long step, double learningRate, double gradientScale = 1)
    {
        var values = new double[4];
        Fill(values, step, learningRate, gradientScale);
        return values;
    }

    /// <summary>Writes those settings to a tensor of four elements.</summary>
    public void Write(Tensor settings, long step, double learningRate, double gradientScale = 1)
    {
        Span<double> values = stackalloc double[4];
        Fill(values, step, learningRate, gradientScale);
        settings.WriteDoubles(values);
    }

    private void Fill(Span<double> settings, long step, double learningRate, double gradientScale) =>
        (settings[0], settings[1], settings[2], settings[3]) = (learningRate, 1 - Math.Pow(Beta1, step), 1 - Math.Pow(Beta2, step), gradientScale);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(AdamW), inputs, 5);
        Rules.RequireFloating(nameof(AdamW), inputs);
        TensorType type = inputs[0];
        ShapeException.ThrowUnless(
            inputs[1] == type && inputs[2] == type && inputs[3] == type, nameof(AdamW), "parameter, gradient and moments must have one shape", inputs);
        ShapeException.ThrowUnless(
            inputs[4].Shape == [4], nameof(AdamW), "the settings must be four numbers: learning rate, 1 − β₁ᵗ, 1 − β₂ᵗ, gradient scale", inputs);
        return [type, type, type];
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
        const int workgroup = 256;
        if (call.Outputs[0].DType != DType.F32)
            return null;
        long count = call.Outputs[0].Count;
        return count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "adam_w", (count + 4 * workgroup - 1) / (4 * workgroup),
            [Slot.In(0), Slot.In(1), Slot.In(2), Slot.In(3), Slot.In(4), Slot.Out(0), Slot.Out(1), Slot.Out(2)],
            new Scalars((uint)count, (float)Beta1, (float)(1 - Beta1), (float)Beta2, (float)(1 - Beta2), (float)Epsilon, (float)WeightDecay), workgroup);
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor settings = inputs[4], zero = settings.Backend.Scalar(0, settings.DType);
        Tensor rate = Setting(0), g = inputs[1] * Setting(3);
        Tensor m = inputs[2] * Beta1 + g * (1 - Beta1);
        Tensor v = inputs[3] * Beta2 + g.Square() * (1 - Beta2);
        Tensor denominator = Root(v) / Root(Setting(2)) + Epsilon;
        Tensor isUseful = Setting(3).Square().Greater(zero);
        return [isUseful.Where(inputs[0] * (1 - rate * WeightDecay) - rate / Setting(1) * (m / denominator), inputs[0]), isUseful.Where(m, inputs[2]), isUseful.Where(v, inputs[3])];

        Tensor Setting(int index) => settings.Slice(0, index, 1).Reshape([]);
        Tensor Root(Tensor x) => x.Greater(zero).Where(x * x.ReciprocalSqrt(), zero);
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        ReadOnlySpan<T> settings = call.Input<T>(4);
        long count = call.OutputType(0).Count;
        if (settings[3] == T.Zero)
        {
            call.Input<T>(0).CopyTo(call.Output<T>(0));
            call.Input<T>(2).CopyTo(call.Output<T>(1));
            call.Input<T>(3).CopyTo(call.Output<T>(2));
            return;
        }
        var body = new Body<T>
        {
            P = call.InputAddress<T>(0), G = call.InputAddress<T>(1), M = call.InputAddress<T>(2), V = call.InputAddress<T>(3),
            NewP = call.OutputAddress<T>(0), NewM = call.OutputAddress<T>(1), NewV = call.OutputAddress<T>(2), Count = count,
            Scale = settings[3],
            Keep = T.One - settings[0] * T.CreateChecked(WeightDecay),
            Beta1 = T.CreateChecked(Beta1),
            Share1 = T.CreateChecked(1 - Beta1),
            Beta2 = T.CreateChecked(Beta2),
            Share2 = T.CreateChecked(1 - Beta2),
            Rate = settings[0] / settings[1],
            RootCorrection = T.Sqrt(settings[2]),
            Epsilon = T.CreateChecked(Epsilon),
        };
        CpuParallel.For(call.Threads, (int)((count + Block - 1) / Block), 4 * Math.Min(count, Block), body);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* P, G, M, V, NewP, NewM, NewV;
        public long Count;
        public T Scale, Keep, Beta1, Share1, Beta2, Share2, Rate, RootCorrection, Epsilon;

        public readonly void Invoke(int index)
        {
            long i = (long)index * Block, end = Math.Min(Count, i + Block);
            // The same roundings as for single elements: no fused multiply-add, so that an element's place does not matter.
            for (; i <= end - Vector<T>.Count; i += Vector<T>.Count)
            {
                Vector<T> g = Vector.Load(G + i) * Scale;
                Vector<T> m = Vector.Load(M + i) * Beta1 + g * Share1;
                Vector<T> v = Vector.Load(V + i) * Beta2 + g * g * Share2;
                Vector<T> denominator = Vector.SquareRoot(v) / new Vector<T>(RootCorrection) + new Vector<T>(Epsilon);
                (Vector.Load(P + i) * Keep - m / denominator * Rate).Store(NewP + i);
                m.Store(NewM + i);
                v.Store(NewV + i);
            }
            for (; i < end; i++)
            {
                T g = G[i] * Scale;
                T m = M[i] * Beta1 + g * Share1;
                T v = V[i] * Beta2 + g * g * Share2;
                NewP[i] = P[i] * Keep - m / (T.Sqrt(v) / RootCorrection + Epsilon) * Rate;
                NewM[i] = m;
                NewV[i] = v;
            }
        }
    }
}
