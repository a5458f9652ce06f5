using System.Numerics;
using System.Numerics.Tensors;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// The negative log-likelihood of each label, <c>ℓ = log Σᵥ exp(xᵥ) − x[label]</c>, and 0 where the label is negative (such a position is ignored; −100 by custom).
    /// Logits [..., V] and I32 labels [...] give losses [...].
    /// </summary>
    /// <exception cref="ShapeException">The labels do not have the logits' shape without its last axis, or are not integers.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A label is not less than V; thrown by the CPU backend.</exception>
    public static Tensor CrossEntropy(this Tensor logits, Tensor labels) => Tensor.ApplyAll(new CrossEntropy(), logits, labels)[0];

    /// <summary>
    /// The mean of <see cref="CrossEntropy(Tensor, Tensor)"/> over the positions whose label is not negative, a scalar; 0 where every label is.
    /// </summary>
    public static Tensor CrossEntropyMean(this Tensor logits, Tensor labels) => logits.CrossEntropy(labels).MeanOverLabels(labels);

    /// <summary>The mean of losses over the positions whose label is not negative, a scalar; 0 where every label is.</summary>
    public static Tensor MeanOverLabels(this Tensor losses, Tensor labels)
    {
        Tensor counted = labels.Cast(losses.DType).GreaterOrEqual(losses.Backend.Scalar(0, losses.DType)).Sum();
        return losses.Sum() / counted.Clamp(1, double.PositiveInfinity);
    }
}

/// <summary>
/// Negative log-likelihood of a label under the softmax of logits, <c>ℓ = log Σᵥ exp(xᵥ) − x[label]</c>, or 0 where the label is negative.
/// The outputs are the losses and <c>log Σᵥ exp(xᵥ)</c>, from which the derivative gets the softmax without another pass.
/// </summary>
public readonly record struct CrossEntropy : IPrimitive
{
    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs | Saved.Output(1);

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(CrossEntropy), inputs, 2);
        CheckLabels(nameof(CrossEntropy), inputs);
        // Losses and totals of logits of 16 bits are F32.
        TensorType losses = new(inputs[0].DType.IsNarrow() ? DType.F32 : inputs[0].DType, inputs[1].Shape);
        return [losses, losses];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    private readonly record struct Scalars(uint Rows, uint Classes);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape logits = call.Inputs[0].Shape;
        if (Elements.Codes(logits.Columns, call.Inputs[0].DType) is not [var code])
            return null;
        return logits.Count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "cross_entropy", logits.Rows, [Slot.In(0), Slot.In(1), Slot.Out(0), Slot.Out(1)], new Scalars((uint)logits.Rows, (uint)logits.Columns),
            RowLaunch.Workgroup(call.Device, logits.Columns), code, Pack(call.Inputs[0]));
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call)
    {
        Tensor logits = call.Input(0), total = call.Output(1);
        if (call.MayOverwrite(0) && !call.HasGradient(1))
        {
            Tensor.Overwrite(new CrossEntropyGradient(), [logits, call.Input(1), total, call.Gradient(0)], logits);
            return [new Tensor(logits.Type, logits.Storage), null];
        }
        Tensor gradient = Tensor.Apply(new CrossEntropyGradient(), logits, call.Input(1), total, call.Gradient(0));
        // Few have a use for the second output, but who differentiates it gets its derivative, the softmax.
        if (call.HasGradient(1))
            gradient = (gradient.Cast(total.DType) + (logits.Cast(total.DType) - Column(total)).Exp() * Column(call.Gradient(1))).Cast(logits.DType);
        return [gradient, null];
    }

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor logits = inputs[0], labels = inputs[1], zero = logits.Backend.Scalar(0, logits.DType);
        Tensor total = logits.LogSumExp(-1);
        Tensor chosen = IsLabel(logits, labels).Where(logits, zero).Sum(-1);
        return [IsCounted(logits, labels).Where(total - chosen, zero), total];
    }

    /// <summary>Logits that the shaders read at once.</summary>
    internal static uint Pack(TensorType logits) => logits.DType.IsNarrow() && logits.Shape.Columns % 8 == 0 ? 8u : 4;

    /// <summary>1 where an element of the logits is the one that the label names.</summary>
    internal static Tensor IsLabel(Tensor logits, Tensor labels)
    {
        var numbers = new double[logits.Shape.Columns];
        for (int i = 0; i < numbers.Length; i++)
            numbers[i] = i;
        Tensor classes = logits.Backend.Tensor(new TensorType(logits.DType, [numbers.Length]), numbers);
        return Column(labels.Cast(logits.DType)).Equal(classes);
    }

    /// <summary>1 where a label is not negative.</summary>
    internal static Tensor IsCounted(Tensor logits, Tensor labels) => labels.Cast(logits.DType).GreaterOrEqual(logits.Backend.Scalar(0, logits.DType));

    /// <summary>A value for each row, so that it broadcasts along the row.</summary>
    internal static Tensor Column(Tensor x) => x.Reshape([.. x.Shape, 1]);

    internal static void CheckLabels(string operation, ReadOnlySpan<TensorType> inputs)
    {
        Shape logits = inputs[0].Shape;
        ShapeException.ThrowUnless(inputs[0].DType.CarriesGradient(), operation, "logits must be of a floating-point type", inputs);
        ShapeException.ThrowUnless(logits.Rank > 0 && logits.Columns > 0, operation, "logits must have a last axis with at least one class", inputs);
        ShapeException.ThrowUnless(inputs[1].DType == DType.I32, operation, "labels must be I32", inputs);
        ShapeException.ThrowUnless(inputs[1].Shape == logits.Without(logits.Rank - 1), operation, "there must be one label for each row of logits", inputs);
    }

    private static unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int classes = call.InputType(0).Shape.Columns;
        RequireClasses(call.Input<int>(1), classes);
        var body = new Body<T>
        {
            Logits = call.InputAddress<T>(0), Labels = call.InputAddress<int>(1), Losses = call.OutputAddress<T>(0), Totals = call.OutputAddress<T>(1), Classes = classes,
        };
        CpuParallel.For(call.Threads, checked((int)call.InputType(1).Count), 8L * classes, body);
    }

    private static void RequireClasses(ReadOnlySpan<int> labels, int classes)
    {
        for (int i = 0; i < labels.Length; i++)
        {
            if (labels[i] >= classes)
                throw new ArgumentOutOfRangeException(nameof(labels), labels[i], $"CrossEntropy: label {labels[i]} at position {i} is not one of {classes} classes.");
        }
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        private const int Block = 1024;

        public T* Logits, Losses, Totals;
        public int* Labels;
        public int Classes;

        public readonly void Invoke(int index)
        {
            T* row = Logits + (long)index * Classes;
            T largest = TensorPrimitives.Max(new ReadOnlySpan<T>(row, Classes)), sum = T.Zero;
            // An infinite maximum would make x − max a NaN for every element that equals it.
            T offset = T.IsInfinity(largest) ? T.Zero : largest;
            // By blocks, so that no sum gets so long that it loses digits.
            for (int start = 0; start < Classes; start += Block)
                sum += SumOfExp(Math.Min(Block, Classes - start), row + start, offset);
            T logarithm = T.Log(sum);
            Totals[index] = offset + logarithm;
            int label = Labels[index];
            // Not total − x: where logits are large, their difference is still small and exact.
            Losses[index] = label < 0 ? T.Zero : logarithm - (row[label] - offset);
        }

        /// <summary>Σ exp(xᵥ − offset).</summary>
        private static T SumOfExp(int count, T* x, T offset)
        {
            Vector<T> sums = default, offsets = new(offset);
            int v = 0;
            for (; v <= count - Vector<T>.Count; v += Vector<T>.Count)
                sums += VectorMath.Exp(Vector.Load(x + v) - offsets);
            T sum = Vector.Sum(sums);
            Vector<T> last = VectorMath.Exp(VectorMath.LoadPart(new ReadOnlySpan<T>(x + v, count - v)) - offsets);
            for (int i = 0; i < count - v; i++)
                sum += last[i];
            return sum;
        }
    }
}

/// <summary>
/// Derivative of <see cref="CrossEntropy"/>: <c>dxᵥ = dℓ · (exp(xᵥ − log Σ exp) − [v = label])</c>, and 0 in rows whose label is negative.
/// The inputs are logits, labels, their log Σ exp, and dℓ.
/// </summary>
public readonly record struct CrossEntropyGradient : IPrimitive
{
    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(CrossEntropyGradient), inputs, 4);
        CrossEntropy.CheckLabels(nameof(CrossEntropyGradient), inputs);
        TensorType perRow = new(inputs[0].DType.IsNarrow() ? DType.F32 : inputs[0].DType, inputs[1].Shape);
        ShapeException.ThrowUnless(
            inputs[2] == perRow && inputs[3] == perRow, nameof(CrossEntropyGradient), "there must be one logarithm and one gradient for each row, in the logits' type or F32", inputs);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public void Compute(CpuCall call)
    {
        if (call.DType == DType.F64)
            Compute<double>(call);
        else
            Compute<float>(call);
    }

    private readonly record struct Scalars(uint Rows, uint Classes, uint Shares);

    /// <inheritdoc/>
    public Launch? Launch(LaunchCall call)
    {
        Shape logits = call.Inputs[0].Shape;
        if (Elements.Codes(logits.Columns, call.Inputs[0].DType) is not [var code])
            return null;
        uint workgroup = RowLaunch.Workgroup(call.Device, logits.Columns), pack = CrossEntropy.Pack(call.Inputs[0]);
        const uint each = 2;
        long share = pack * each * workgroup, shares = (logits.Columns + share - 1) / share;
        return logits.Count == 0 ? Tensors.Launch.Nothing : Dispatch.Linear(
            "cross_entropy_gradient", logits.Rows * shares, [Slot.In(0), Slot.In(1), Slot.In(2), Slot.In(3), Slot.Out(0)],
            new Scalars((uint)logits.Rows, (uint)logits.Columns, (uint)shares), workgroup, code, each, pack);
    }

    /// <inheritdoc/>
    public IPrimitive? Wide(ReadOnlySpan<TensorType> inputs) => Rules.IsAnyNarrow(inputs) ? this : null;

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor logits = inputs[0], labels = inputs[1], total = inputs[2], gradient = inputs[3];
        Tensor counted = CrossEntropy.IsCounted(logits, labels).Where(gradient, logits.Backend.Scalar(0, logits.DType));
        Tensor softmax = (logits - CrossEntropy.Column(total)).Exp();
        return [(softmax - CrossEntropy.IsLabel(logits, labels)) * CrossEntropy.Column(counted)];
    }

    private static unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        int classes = call.InputType(0).Shape.Columns;
        var body = new Body<T>
        {
            Logits = call.InputAddress<T>(0), Labels = call.InputAddress<int>(1), Totals = call.InputAddress<T>(2),
            Gradients = call.InputAddress<T>(3), Result = call.OutputAddress<T>(0), Classes = classes,
        };
        CpuParallel.For(call.Threads, checked((int)call.InputType(1).Count), 8L * classes, body);
    }

    private unsafe struct Body<T> : IParallelBody where T : unmanaged, IFloatingPointIeee754<T>
    {
        public T* Logits, Totals, Gradients, Result;
        public int* Labels;
        public int Classes;

        public readonly void Invoke(int index)
        {
            var result = new Span<T>(Result + (long)index * Classes, Classes);
            int label = Labels[index];
            if (label < 0)
            {
                result.Clear();
                return;
            }
            T* logits = Logits + (long)index * Classes, to = Result + (long)index * Classes;
            // The result may lie where the logits are.
            T chosen = logits[label];
            Vector<T> total = new(Totals[index]), gradient = new(Gradients[index]);
            int v = 0;
            for (; v <= Classes - Vector<T>.Count; v += Vector<T>.Count)
                (VectorMath.Exp(Vector.Load(logits + v) - total) * gradient).Store(to + v);
            VectorMath.StorePart(VectorMath.Exp(VectorMath.LoadPart(new ReadOnlySpan<T>(logits + v, Classes - v)) - total) * gradient, result[v..]);
            // exp(x − total) − 1 rather than the product's difference: where the label is near certain, that is tiny.
            result[label] = (VectorMath.Exp(new Vector<T>(chosen) - total)[0] - T.One) * Gradients[index];
        }
    }
}
