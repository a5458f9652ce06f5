using System.Buffers;
using System.Numerics;
using System.Numerics.Tensors;
using ScratchMamba.Tensors.Autograd;
using ScratchMamba.Tensors.Cpu;

namespace ScratchMamba.Tensors.Operations;

public static partial class TensorOperations
{
    /// <summary>
    /// A linear layer of normalised rows: <c>y = W (w · x / √(mean(x²) + ε)) + residual</c>.
    /// One operation in decoding, where rows are few and each operation costs what its launch costs.
    /// </summary>
    /// <param name="x">[…, K].</param>
    /// <param name="norm">w, [K].</param>
    /// <param name="weight">W, [N, K]; beside F32 it may be held in few bits, as in <see cref="MatMul(Tensor, Tensor, bool, bool, MatMulPrecision, DType?, Tensor?)"/>.</param>
    /// <param name="epsilon">ε, which keeps a row of zeros finite.</param>
    /// <param name="residual">[…, N]; null for none.</param>
    /// <param name="precision">How exactly the product has to be computed; with <see cref="MatMulPrecision.Bfloat16"/> matrix units, where more rows than a few are for them, multiply numbers rounded to it.</param>
    /// <returns>[…, N].</returns>
    /// <exception cref="ShapeException">Shapes do not fit each other.</exception>
    public static Tensor NormLinear(this Tensor x, Tensor norm, Tensor weight, double epsilon = 1e-5, Tensor? residual = null, MatMulPrecision precision = MatMulPrecision.Full) => residual is null
        ? Tensor.Apply(new NormLinear(epsilon, HasResidual: false, precision), x, norm, weight)
        : Tensor.Apply(new NormLinear(epsilon, HasResidual: true, precision), x, norm, weight, residual);
}

/// <summary>
/// A linear layer of normalised rows: <c>y = W (w · x / √(mean(x²) + ε)) + residual</c>.
/// Inputs x […, K], w [K], W [N, K] and, if said so, the residual […, N]; output […, N].
/// </summary>
/// <param name="Epsilon">ε.</param>
/// <param name="HasResidual">Whether there is a residual.</param>
/// <param name="Precision">How exactly the product has to be computed.</param>
public readonly record struct NormLinear(double Epsilon, bool HasResidual, MatMulPrecision Precision = MatMulPrecision.Full) : IPrimitive
{
    private const int Residual = 3;

    /// <inheritdoc/>
    public Saved Saves => Saved.AllInputs;

    /// <inheritdoc/>
    public TensorType[] Infer(ReadOnlySpan<TensorType> inputs)
    {
        Rules.RequireCount(nameof(NormLinear), inputs, 3 + (HasResidual ? 1 : 0));
        // Weights in few bits are widened as they are read.
        bool isNarrow = inputs[2].DType.IsCompact() && inputs[0].DType == DType.F32;
        TensorType[] exact = isNarrow ? [.. inputs[..2], .. inputs[3..]] : inputs.ToArray();
        Rules.RequireFloating(nameof(NormLinear), exact);
        RmsNorm.CheckRow(nameof(NormLinear), exact, inputs[1]);
        Shape x = inputs[0].Shape, weight = inputs[2].Shape;
        ShapeException.ThrowUnless(weight.Rank == 2 && weight[1] == x.Columns, nameof(NormLinear), "the matrix must be [N, K] for rows of K", inputs);
        Shape y = [.. x.AsSpan()[..^1], weight[0]];
        ShapeException.ThrowUnless(!HasResidual || inputs[Residual].Shape == y, nameof(NormLinear), $"the residual must be {y}", inputs);
        return [new TensorType(inputs[0].DType, y)];
    }

    /// <inheritdoc/>
    IReadOnlyList<SelfTest> IPrimitive.SelfTests => [Tested(MatMulPrecision.Full), Tested(MatMulPrecision.Bfloat16)];

    private static SelfTest Tested(MatMulPrecision precision) => new(
        new NormLinear(1e-5, true, precision), (new(DType.F32, [40, 512]), 1), (new(DType.F32, [512]), 1), (new(DType.BF16, [136, 512]), 0.05), (new(DType.F32, [40, 136]), 1));

    /// <inheritdoc/>
    public Work CountWork(ReadOnlySpan<TensorType> inputs) => new(2.0 * inputs[0].Shape.Count * inputs[2].Shape[0], 0);

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
        Shape x = call.Inputs[0].Shape, y = call.Outputs[0].Shape;
        if (y.Count == 0)
            return Tensors.Launch.Nothing;
        DType type = call.Inputs[2].DType;
        if (call.Inputs[0].DType != DType.F32 || call.Device.IsCpu || x.Columns == 0 || x.Columns % FewRowsLaunch.PackLength(type) != 0)
            return null;
        var product = new FewRowsLaunch(Slot.In(0), Slot.In(2), (int)Math.Min(int.MaxValue, x.Rows), y.Columns, x.Columns, type)
        {
            Norm = Slot.In(1),
            Epsilon = Epsilon,
            Residual = HasResidual ? Slot.In(Residual) : null,
            Precision = Precision,
        };
        return product.Plan(call.Device);
    }

    /// <inheritdoc/>
    public Tensor?[] Backward(BackwardCall call) => call.ThroughDefinition();

    /// <inheritdoc/>
    public Tensor[] Definition(ReadOnlySpan<Tensor> inputs)
    {
        Tensor x = inputs[0], norm = inputs[1];
        Tensor y = x.RmsNorm(norm, Epsilon).Reshape([checked((int)x.Shape.Rows), x.Shape.Columns]).MatMul(inputs[2], transposeB: true, precision: Precision).Reshape([.. x.Shape.AsSpan()[..^1], inputs[2].Shape[0]]);
        return [HasResidual ? y + inputs[Residual] : y];
    }

    private unsafe void Compute<T>(CpuCall call) where T : unmanaged, IFloatingPointIeee754<T>
    {
        Shape x = call.InputType(0).Shape, y = call.OutputType(0).Shape;
        if (y.Count == 0)
            return;
        (int rows, int k, int n) = (checked((int)x.Rows), x.Columns, y.Columns);
        T[] normalized = ArrayPool<T>.Shared.Rent(rows * k);
        for (int row = 0; row < rows; row++)
        {
            Span<T> v = normalized.AsSpan(row * k, k);
            ReadOnlySpan<T> values = call.Input<T>(0).Slice(row * k, k);
            TensorPrimitives.Multiply(values, RmsNorm.Scale(TensorPrimitives.SumOfSquares(values), k, Epsilon), v);
            TensorPrimitives.Multiply(v, call.Input<T>(1), v);
        }
        fixed (T* first = normalized)
        {
            var product = new Gemm<T>
            {
                A = first, B = (T*)call.InputBytes(2), C = call.OutputAddress<T>(0), Batches = 1, M = rows, N = n, K = k, ARow = k, AColumn = 1, BRow = 1, BColumn = k,
                PanelsB = call.Panels<T>(2, rows),
                NarrowB = call.InputType(2).DType.IsCompact() ? new(call.InputType(2), call.InputBytes(2)) : null,
            };
            product.Run(call.Threads, call.VectorBits);
        }
        ArrayPool<T>.Shared.Return(normalized);
        if (HasResidual)
            TensorPrimitives.Add(call.Output<T>(0), call.Input<T>(Residual), call.Output<T>(0));
    }
}
